//! Rate limits: of attempts, which `lua/reserve.lua` counts, and of anything else, which `lua/limit.lua` counts.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use domain::ReservationId;
use inventory::{Attempt, Decision, Error, Inventory, LimitedBy, Limiter, Loss, Rate, Rates};
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use uuid::Uuid;

use crate::own_redis::OwnRedis;
use crate::sale::{ALWAYS, EPOCH, Sale, attempt, is_new_win, redis_now_us, shared_inventory};

fn rate(text: &str) -> Rate {
    text.parse().unwrap()
}

fn counting(inventory: Inventory, per_user: &str, per_address: &str) -> Inventory {
    let rate = |text: &str| (!text.is_empty()).then(|| rate(text));
    inventory.counting(Rates { per_user: rate(per_user), per_address: rate(per_address) })
}

fn from(user: &str, address: u8) -> Attempt {
    Attempt { address: Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, address))), ..attempt(user, 1) }
}

/// What is known of a client whose requests were decided at some time between two readings of Redis's clock.
#[derive(Default)]
struct Reference {
    /// Until when it has paid, at the earliest and at the latest.
    paid: (u64, u64),
}

impl Reference {
    /// Holds one decision against what a limit allows; `None`: admitted.
    fn check(&mut self, rate: Rate, asked: (u64, u64), retry: Option<Duration>) {
        let ahead = rate.burst_us() - rate.cost_us();
        let paid = (self.paid.0.max(asked.0), self.paid.1.max(asked.1));
        match retry {
            None => {
                assert!(paid.0 <= asked.1 + ahead, "admitted too early: {asked:?} {paid:?}");
                self.paid = (paid.0 + rate.cost_us(), paid.1 + rate.cost_us());
            }
            Some(retry) => {
                assert!(paid.1 > asked.0 + ahead, "refused without need: {asked:?} {paid:?}");
                let wait = u64::try_from(retry.as_micros()).unwrap();
                assert!(wait + asked.1 + ahead >= paid.0, "told to come back too early: {retry:?}");
                assert!(wait + asked.0 + ahead <= paid.1 + 1_000, "told to come back too late: {retry:?}");
            }
        }
    }
}

/// Asks every few milliseconds for so many periods of a second and holds every answer against the reference; returns how
/// many were admitted.
async fn checked_for(periods: u64, rate: Rate, mut ask: impl AsyncFnMut() -> Option<Duration>) -> u64 {
    let (mut reference, mut admitted) = (Reference::default(), 0);
    let began = redis_now_us().await;
    let mut tick = tokio::time::interval(Duration::from_millis(7));
    loop {
        tick.tick().await;
        let before = redis_now_us().await;
        if before >= began + periods * 1_000_000 {
            return admitted;
        }
        let retry = ask().await;
        admitted += u64::from(retry.is_none());
        reference.check(rate, (before, redis_now_us().await), retry);
    }
}

#[tokio::test]
async fn attempts_are_admitted_and_refused_as_the_reference_says_across_periods() {
    let sale = Sale::open_at(&counting(shared_inventory(), "7/1", ""), 1_000, ALWAYS).await;
    let ask = async || match sale.decide(&attempt("ann", 1)).await {
        Decision::TooOften { by, retry } => {
            assert_eq!(by, LimitedBy::User);
            Some(retry)
        }
        _ => None,
    };
    let admitted = checked_for(4, rate("7/1"), ask).await;
    assert!((4 * 7..=5 * 7).contains(&admitted), "a burst, and what came back meanwhile: {admitted}");
    sale.check_books(1_000, 0, 0).await;
}

#[tokio::test]
async fn other_requests_are_admitted_and_refused_as_the_reference_says() {
    let limiter = Limiter::new(shared_inventory());
    let client = Uuid::new_v4().to_string();
    let ask = async || limiter.ask("a test", &client, rate("7/1")).await.unwrap();
    let admitted = checked_for(3, rate("7/1"), ask).await;
    assert!((3 * 7..=4 * 7).contains(&admitted), "a burst, and what came back meanwhile: {admitted}");
}

/// So long that nothing comes back while a test runs.
const COUNTS: (u32, u32) = (3, 5);

/// Users, addresses; the same one may be in a batch several times.
fn batches() -> impl Strategy<Value = Vec<Vec<(u8, u8)>>> {
    prop::collection::vec(prop::collection::vec((0..4_u8, 0..3_u8), 1..9), 1..6)
}

/// How often each client was admitted.
#[derive(Default)]
struct Counts(HashMap<String, u32>);

impl Counts {
    fn of(&self, client: &str) -> u32 {
        self.0.get(client).copied().unwrap_or(0)
    }

    fn admit(&mut self, user: &str, address: &str) -> bool {
        let admitted = self.of(user) < COUNTS.0 && self.of(address) < COUNTS.1;
        for client in [user, address] {
            *self.0.entry(client.to_owned()).or_default() += u32::from(admitted);
        }
        admitted
    }
}

async fn matches_counts(batches: Vec<Vec<(u8, u8)>>) {
    let (per_user, per_address) = (format!("{}/86400", COUNTS.0), format!("{}/86400", COUNTS.1));
    let sale = Sale::open_at(&counting(shared_inventory(), &per_user, &per_address), 100, ALWAYS).await;
    let (mut counts, mut holders) = (Counts::default(), HashMap::<String, ReservationId>::new());
    for batch in batches {
        let attempts: Vec<Attempt> = batch.iter().map(|(user, address)| from(&format!("u{user}"), *address)).collect();
        let decisions = sale.reserve(&attempts).await.decisions;
        for (attempt, decision) in attempts.iter().zip(decisions) {
            let (user, address) = (attempt.user_id.as_str(), attempt.address.unwrap().to_string());
            let limit = (counts.of(user) >= COUNTS.0, counts.of(&address) >= COUNTS.1);
            if counts.admit(user, &address) {
                match holders.get(user) {
                    Some(held) => assert_eq!(decision, Decision::Holds(*held)),
                    None => assert!(is_new_win(&decision), "{decision:?}"),
                }
                holders.entry(user.to_owned()).or_insert(attempt.id);
            } else {
                let Decision::TooOften { by, .. } = decision else { panic!("{attempt:?} was let in: {decision:?}") };
                match limit {
                    (true, false) => assert_eq!(by, LimitedBy::User),
                    (false, true) => assert_eq!(by, LimitedBy::Address),
                    // A share of the day is longer for the user, of whom fewer are allowed.
                    _ => {}
                }
            }
        }
    }
    sale.check_books(100, 0, 0).await;
}

#[test]
fn in_whatever_batches_they_come_each_client_is_admitted_as_often_as_it_may_and_a_refused_attempt_counts_for_nobody() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let config = ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let run = |batches| {
        runtime.block_on(matches_counts(batches));
        Ok(())
    };
    TestRunner::new_with_rng(config, rng).run(&batches(), run).unwrap();
}

#[tokio::test]
async fn callers_of_any_number_share_one_limit_and_an_attempt_without_an_address_counts_for_none() {
    let one = counting(shared_inventory(), "", "4/86400");
    let sale = Sale::open_at(&one, 100, ALWAYS).await;
    let other = counting(shared_inventory(), "", "4/86400");
    let mut admitted = 0;
    for n in 0..10 {
        let caller = [&one, &other][n % 2];
        let attempts = [from(&format!("user {n}"), 1)];
        let reserved = caller.reserve(sale.id, EPOCH, &sale.installation.scripts, &attempts).await.unwrap();
        admitted += usize::from(is_new_win(&reserved.decisions[0]));
    }
    assert_eq!(admitted, 4);
    for n in 10..20 {
        assert!(is_new_win(&sale.decide(&attempt(&format!("user {n}"), 1)).await));
    }
    sale.check_books(100, 0, 0).await;
}

#[tokio::test]
async fn the_keys_of_rates_expire_by_themselves_and_go_with_their_epoch() {
    let sale = Sale::open_at(&counting(shared_inventory(), "2/60", "9/30"), 5, ALWAYS).await;
    sale.decide(&from("ann", 1)).await;
    let mut found = 0;
    for part in ["rates:even", "rates:odd"] {
        let left_ms: i64 = sale.raw(&["PTTL", &sale.key(part)]).await;
        found += usize::from(left_ms > 0);
        assert!(left_ms == -2 || (60_000..=120_000).contains(&left_ms), "{part}: {left_ms}");
    }
    assert_eq!(found, 1);
    let keys = [sale.key("rates:even"), sale.key("rates:odd")];
    let inventory = sale.inventory.clone();
    let id = sale.id;
    sale.check_books(5, 0, 0).await;
    let count = ["EXISTS", &keys[0], &keys[1]];
    let url = std::env::var("FLASHSALE_TEST_REDIS_OPERATOR_URL").unwrap();
    assert_eq!(crate::sale::raw::<i64>(&url, &count).await, 0, "{inventory:?} {id}");
}

#[tokio::test]
async fn without_limits_the_script_asks_redis_for_nothing_more() {
    let redis = OwnRedis::start().await;
    let sale = Sale::open_at(&redis.inventory(), 1, ALWAYS).await;
    sale.decide(&from("ann", 1)).await;
    redis.raw::<()>(&["CONFIG", "RESETSTAT"]).await;
    assert_eq!(sale.decide(&from("bob", 1)).await, Decision::NotEnough { left: 0 });
    let stats: String = redis.raw(&["INFO", "commandstats"]).await;
    let calls = |line: &str| {
        let (command, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        Some((command.to_owned(), rest.split_once(',')?.0.to_owned()))
    };
    let mut calls: Vec<(String, String)> = stats.lines().filter_map(calls).collect();
    calls.retain(|(command, _)| !["config|resetstat", "client|setinfo", "hello"].contains(&command.as_str()));
    calls.sort();
    let expected = [("evalsha", "1"), ("hmget", "2"), ("info", "1"), ("time", "1")];
    assert_eq!(calls, expected.map(|(command, calls)| (command.to_owned(), calls.to_owned())));
}

#[tokio::test]
async fn a_call_that_is_made_again_is_not_counted_again_and_its_win_is_not_refused_for_coming_too_often() {
    let redis = OwnRedis::start().await;
    let inventory = counting(redis.impatient_inventory(300), "1/86400", "");
    let sale = Sale::open_at(&inventory, 5, ALWAYS).await;
    let ann = attempt("ann", 1);
    redis.raw::<()>(&["CLIENT", "PAUSE", "60000", "WRITE"]).await;
    let resume = async {
        redis.wait_for_a_second_script_call().await;
        redis.raw::<()>(&["CLIENT", "UNPAUSE"]).await;
    };
    let (decision, ()) = tokio::join!(sale.decide(&ann), resume);
    assert_eq!(decision, Decision::Won { outbox_id: None }, "the second call found what the first one has won");
    assert!(matches!(sale.decide(&attempt("ann", 1)).await, Decision::TooOften { .. }));
    sale.check_books(5, 0, 0).await;
}

#[tokio::test]
async fn a_redis_that_has_lost_everything_counts_anew() {
    let redis = OwnRedis::start().await;
    let limiter = Limiter::new(redis.inventory());
    let ask = async || limiter.ask("a test", "ann", rate("1/86400")).await.unwrap();
    assert_eq!(ask().await, None);
    assert!(ask().await.is_some());
    redis.raw::<()>(&["FLUSHALL"]).await;
    redis.raw::<()>(&["SCRIPT", "FLUSH"]).await;
    assert_eq!(ask().await, None, "and the script is loaded again");
    assert!(ask().await.is_some());

    // A gate that is lost is lost: its limits load nothing.
    let sale = Sale::open_at(&counting(redis.inventory(), "1/60", ""), 5, ALWAYS).await;
    redis.raw::<()>(&["SCRIPT", "FLUSH"]).await;
    let result = sale.try_reserve(&[attempt("ann", 1)]).await;
    assert!(matches!(result, Err(Error::Lost(Loss::Script))), "{result:?}");
    sale.check_books(5, 0, 0).await;
}
