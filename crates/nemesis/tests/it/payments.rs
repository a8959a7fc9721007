//! Row 26: holds expire while they are paid for, and what the provider says comes late, twice, reversed or not at all.
//!
//! What must hold in the end: the provider has the money of exactly the confirmed orders, and has let go of all other.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::Terms;
use failpoints::Point;
use futures_util::{StreamExt, future, stream};
use ledger::NewSale;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use testkit::{Cast, Client, Own, Post, Postman, Scene, Stripe, Weather, new_sale, rush, until};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::worker::dies_at;
use crate::{PATIENCE, seed};

/// Payments whose time ends while they are decided, and how long after each other.
const PAYMENTS: u16 = 1_000;
const APART_MS: f64 = 10.0;
/// How far from the end of its time a payment is decided, either way.
const AROUND_MS: i64 = 5;
/// Orders that everybody wants something of when their hold ends, how long after each other, and how close to it.
const RACES: u16 = 100;
const RACES_APART_MS: f64 = 40.0;
const AROUND_RACE_MS: i64 = 60;
/// Most requests of one kind that are open at a time.
const AT_ONCE: usize = 32;
/// Buyers who take what others give up, and how often each of them looks.
const WAITING: usize = 4;
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How often a buyer who is told to try again does so.
const TRY_EVERY: Duration = Duration::from_millis(50);

/// A sale that is paid for at a Stripe of its own.
struct Market {
    scene: Scene,
    stripe: Stripe,
}

/// A payment that was begun.
#[derive(sqlx::FromRow)]
struct Begun {
    provider_ref: String,
    pay_until: DateTime<Utc>,
}

/// About `around_ms` from then, at random, in milliseconds.
fn around(then: DateTime<Utc>, around_ms: i64, random: &mut SmallRng) -> i64 {
    then.timestamp_millis() + random.random_range(-around_ms..=around_ms)
}

/// Waits until then.
async fn comes(at_ms: i64) {
    let left = at_ms.saturating_sub(i64::try_from(boot::clock::now_ms()).unwrap());
    tokio::time::sleep_until(Instant::now() + Duration::from_millis(left.max(0).unsigned_abs())).await;
}

/// Begins to pay for an order. The payment's name; `None` where the order is over, or a provider that fails has outlasted
/// the buyer's patience: it answers a failure again for as long as its key lives.
async fn begin(client: &Client, order: &str) -> Option<String> {
    let (deadline, mut tries) = (Instant::now() + PATIENCE, tokio::time::interval(TRY_EVERY));
    while tries.tick().await < deadline {
        let Ok(answer) = client.try_pay(order).await else { continue };
        match (answer.status.as_u16(), answer.body["code"].as_str()) {
            (200, _) => return answer.body["payment"]["providerRef"].as_str().map(str::to_owned),
            (409, Some("ORDER_STATE_FORBIDS")) => return None,
            (409, Some("ORDER_PENDING")) | (503, _) => {}
            _ => panic!("{answer:?}"),
        }
    }
    None
}

impl Market {
    async fn open(stock: u16, hold_seconds: u32, cast: Cast) -> Self {
        let stripe = Stripe::start().await;
        let sale = new_sale(stock.into());
        let sale = NewSale { terms: Terms { hold_seconds, ..sale.terms }, ..sale };
        let changes = [stripe.settings().as_slice(), &[("FLASHSALE__KEEPER__LATE_PAYMENT_SECONDS", "5")]].concat();
        let scene = Scene::with(Own::NONE, &sale, cast, &changes).await;
        Self { scene, stripe }
    }

    /// Sells everything and has everybody begin to pay. Their time ends one after the other, from two seconds from now on.
    async fn all_are_paying(&self) -> Vec<Begun> {
        let promised = rush(self.scene.client(), self.scene.sale, "early", 0..PAYMENTS.into()).await.promised;
        assert_eq!(promised.len(), usize::from(PAYMENTS));
        let begin = |(n, (_, order)): (usize, (String, String))| async move {
            begin(&self.scene.clients[n % self.scene.clients.len()], &order).await.expect("it is held for ten minutes");
        };
        stream::iter(promised.into_iter().enumerate()).for_each_concurrent(AT_ONCE, begin).await;
        sqlx::query_as(
            "UPDATE payments p SET pay_until = clock_timestamp() + interval '2 s' + n * $2 * interval '1 ms'
             FROM (SELECT order_id, row_number() OVER (ORDER BY order_id) AS n FROM payments WHERE sale_id = $1) AS r
             WHERE p.order_id = r.order_id RETURNING p.provider_ref, p.pay_until",
        )
        .bind(self.scene.sale.0)
        .bind(APART_MS)
        .fetch_all(&mut self.scene.stack.database.connect().await)
        .await
        .unwrap()
    }

    /// Sells everything, and waits until it is written. The holds end one after the other, from two seconds from now on.
    async fn all_are_held(&self) -> Vec<(Uuid, DateTime<Utc>)> {
        let promised = rush(self.scene.client(), self.scene.sale, "early", 0..RACES.into()).await.promised;
        let written = async || self.scene.stack.lost(self.scene.sale, &promised).await.is_empty().then_some(());
        until("the orders are written", PATIENCE, written).await;
        let orders: Vec<_> = sqlx::query_as(
            "UPDATE orders o SET hold_until = clock_timestamp() + interval '2 s' + n * $2 * interval '1 ms'
             FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM orders WHERE sale_id = $1) AS r
             WHERE o.id = r.id RETURNING o.id, o.hold_until",
        )
        .bind(self.scene.sale.0)
        .bind(RACES_APART_MS)
        .fetch_all(&mut self.scene.stack.database.connect().await)
        .await
        .unwrap();
        assert_eq!(orders.len(), usize::from(RACES));
        orders
    }

    /// Decides each payment around the end of its time: seven of ten are good, two are declined, one is never made.
    fn decide(&self, mut payments: Vec<Begun>, seed: u64) -> JoinSet<()> {
        let (mut decisions, mut random) = (JoinSet::new(), SmallRng::seed_from_u64(seed));
        payments.sort_by_key(|payment| payment.pay_until);
        for Begun { provider_ref, pay_until } in payments {
            let stripe = self.stripe.clone();
            let (at, fate) = (around(pay_until, AROUND_MS, &mut random), random.random_range(0..10));
            decisions.spawn(async move {
                comes(at).await;
                match fate {
                    0..7 => stripe.pay(&provider_ref),
                    7..9 => stripe.decline(&provider_ref),
                    _ => {}
                }
            });
        }
        decisions
    }

    /// Buyers who click until `stop`, and pay at once where they get something.
    fn others_wait(&self, stop: &CancellationToken) -> JoinSet<usize> {
        let mut waiting = JoinSet::new();
        for buyer in 0..WAITING {
            let client = self.scene.clients[buyer % self.scene.clients.len()].clone();
            let (stripe, sale, stop) = (self.stripe.clone(), self.scene.sale, stop.clone());
            waiting.spawn(async move {
                let (mut paid, mut looks) = (0, tokio::time::interval(LOOK_EVERY));
                for n in 0.. {
                    if stop.run_until_cancelled(looks.tick()).await.is_none() {
                        break;
                    }
                    let Ok(answer) = client.try_purchase(sale, &format!("waiting-{buyer}-{n}")).await else { continue };
                    let (true, Some(order)) = (answer.outcome() == "SUCCESS", answer.order_id()) else { continue };
                    match begin(&client, order).await {
                        Some(payment) => {
                            stripe.pay(&payment);
                            paid += 1;
                        }
                        // Who has lost patience gives the unit up.
                        None => drop(client.cancel(order).await),
                    }
                }
                paid
            });
        }
        waiting
    }

    /// Waits until no payment has a step to be taken. The books, whose reading locks the sale, are left alone until then.
    async fn quiet(&self) {
        let (deadline, mut looks) = (Instant::now() + 2 * PATIENCE, tokio::time::interval(LOOK_EVERY));
        let mut connection = self.scene.stack.database.connect().await;
        let sql = "SELECT count(*) FROM payments WHERE due_at IS NOT NULL OR state IN ('pending', 'late', 'claiming')";
        while sqlx::query_scalar::<_, i64>(sql).fetch_one(&mut connection).await.unwrap() > 0 {
            assert!(looks.tick().await < deadline, "payments wait for something");
        }
    }

    /// Waits until everything is settled, and holds the orders against what the provider has (I1, I7).
    async fn judge(self) -> Verdict {
        self.stripe.set_weather(Weather::Fine);
        let settled = self.scene.stack.settled(self.scene.client(), self.scene.sale).await;
        let orders: Vec<(Uuid, String)> = sqlx::query_as("SELECT id, status FROM orders WHERE sale_id = $1")
            .bind(self.scene.sale.0)
            .fetch_all(&mut self.scene.stack.database.connect().await)
            .await
            .unwrap();
        let with = |wanted: &str| -> BTreeSet<String> {
            orders.iter().filter(|(_, status)| status == wanted).map(|(id, _)| id.to_string()).collect()
        };
        let confirmed = with("CONFIRMED");
        let mut captured = BTreeSet::new();
        for intent in self.stripe.intents() {
            if intent.is_captured() {
                assert!(captured.insert(intent.order.clone()), "I7: {} was paid for twice", intent.order);
            } else {
                assert!(intent.is_let_go(), "I7: nobody has let go of {intent:?}");
            }
        }
        assert_eq!(captured, confirmed, "I7: the money of the confirmed orders and no other");
        let (open, expired, cancelled) =
            (with("HELD").len() + with("PAYING").len(), with("EXPIRED").len(), with("CANCELLED").len());
        assert_eq!((open, confirmed.len() + expired + cancelled), (0, orders.len()), "I7: all is decided");
        let books: &Value = &settled.body["books"];
        assert_eq!(books["sold"], confirmed.len(), "I5: {books}");
        assert_eq!(books["available"].as_u64().unwrap() + books["sold"].as_u64().unwrap(), books["total"], "{books}");
        let verdict = Verdict { confirmed: confirmed.len(), expired, cancelled };
        println!("row 26: {verdict:?}");
        self.scene.end().await;
        verdict
    }
}

/// How many orders came to what.
#[derive(Debug)]
struct Verdict {
    confirmed: usize,
    expired: usize,
    cancelled: usize,
}

/// Waits until so many more of the payments are decided.
async fn decide_some(decisions: &mut JoinSet<()>, some: u16) {
    for _ in 0..some {
        decisions.join_next().await.expect("there are more").unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_26_a_thousand_payments_are_decided_within_milliseconds_of_the_end_of_their_time() {
    let seed = seed();
    let mut market = Market::open(PAYMENTS, 600, Cast { apis: 2, persisters: 1, keepers: 2 }).await;
    let postman = Postman::start(&market.stripe, &market.scene.clients, Post { lost: 0, doubled: 100, late: 15 }, seed);
    let payments = market.all_are_paying().await;
    let stop = CancellationToken::new();
    let (waiting, mut decisions) = (market.others_wait(&stop), market.decide(payments, seed));
    for n in 0..2 {
        market.scene.keepers[n].kill();
        decide_some(&mut decisions, PAYMENTS / 3).await;
        market.scene.stack.raise(&mut market.scene.keepers[n], &[]);
    }
    decisions.join_all().await;
    market.quiet().await;
    stop.cancel();
    let bought: usize = waiting.join_all().await.into_iter().sum();
    market.quiet().await;
    postman.stop().await;
    let verdict = market.judge().await;
    assert!(verdict.expired > 0 && verdict.cancelled > 0 && bought > 0, "{verdict:?}, {bought} bought by others");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_26_the_provider_fails_its_webhooks_get_lost_and_keepers_die_with_the_money() {
    let seed = seed();
    let mut market = Market::open(PAYMENTS, 600, Cast { apis: 2, persisters: 1, keepers: 2 }).await;
    let postman = Postman::start(&market.stripe, &market.scene.clients, Post { lost: 30, doubled: 30, late: 20 }, seed);
    let payments = market.all_are_paying().await;
    market.stripe.set_weather(Weather::Rough);
    let stop = CancellationToken::new();
    let (waiting, decisions) = (market.others_wait(&stop), market.decide(payments, seed));
    market.scene.keepers[0].stop().await;
    for nth in [3, 1] {
        dies_at(&market.scene.stack, &mut market.scene.keepers[0], Point::KeeperCaptured, nth).await;
    }
    market.scene.raise().await;
    decisions.join_all().await;
    stop.cancel();
    waiting.join_all().await;
    market.stripe.set_weather(Weather::Fine);
    market.quiet().await;
    postman.stop().await;
    let verdict = market.judge().await;
    assert!(verdict.expired > 0 && verdict.cancelled > 0 && verdict.confirmed > 0, "{verdict:?}");
}

/// When everybody wants something of an order, in milliseconds.
struct Race {
    order: String,
    pays_at: i64,
    cancels_at: Option<i64>,
    operator_cancels_at: Option<i64>,
}

impl Race {
    fn of(order: Uuid, hold_until: DateTime<Utc>, random: &mut SmallRng) -> Self {
        let mut moment = || around(hold_until, AROUND_RACE_MS, random);
        let (pays_at, cancels_at, operator_cancels_at) = (moment(), moment(), moment());
        Self {
            order: order.to_string(),
            pays_at,
            cancels_at: random.random_bool(0.5).then_some(cancels_at),
            operator_cancels_at: random.random_bool(0.5).then_some(operator_cancels_at),
        }
    }
}

/// The buyer pays and cancels, and an operator cancels, all at the moment when the hold is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_26_paying_cancelling_and_expiry_meet_in_one_moment() {
    let seed = seed();
    let market = Market::open(RACES, 600, Cast { apis: 2, persisters: 1, keepers: 2 }).await;
    let postman = Postman::start(&market.stripe, &market.scene.clients, Post { lost: 0, doubled: 50, late: 10 }, seed);
    let mut orders = market.all_are_held().await;
    orders.sort_by_key(|(_, hold_until)| *hold_until);
    let (client, other) = (&market.scene.clients[0], &market.scene.clients[1]);
    let mut random = SmallRng::seed_from_u64(seed);
    let races: Vec<Race> = orders.into_iter().map(|(id, hold_until)| Race::of(id, hold_until, &mut random)).collect();
    let race = async |race: &Race| {
        let pay = async {
            comes(race.pays_at).await;
            if let Some(payment) = begin(client, &race.order).await {
                market.stripe.pay(&payment);
            }
        };
        let cancel = async {
            if let Some(at) = race.cancels_at {
                comes(at).await;
                other.cancel(&race.order).await;
            }
        };
        let operator = async {
            if let Some(at) = race.operator_cancels_at {
                comes(at).await;
                other.cancel_as_operator(&race.order, true).await;
            }
        };
        future::join3(pay, cancel, operator).await;
    };
    stream::iter(&races).for_each_concurrent(None, race).await;
    market.quiet().await;
    postman.stop().await;
    let verdict = market.judge().await;
    assert!(verdict.expired > 0 && verdict.cancelled > 0, "{verdict:?}");
}
