//! More than can be served, and servers that hang: every request is answered within a bound, most at once.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use inventory::MAX_BATCH;
use reqwest::Method;
use secrecy::ExposeSecret;
use serde_json::json;
use testkit::{Answer, Api, Client, Proxy, Stack, Wire, until};
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};
use uuid::Uuid;

use crate::fixture::{PURCHASE, SOON, Shop, assert_problem, promised};
use crate::wire::Line;

/// One HTTP thread, so that all attempts of a test wait in the same line.
const ONE_THREAD: (&str, &str) = ("FLASHSALE__API__HTTP_WORKERS", "1");
/// What the batcher promises with the default settings: a wait, a call to Redis and a confirm, each at its longest, and
/// some for a busy machine. Whoever the API keeps for 10 s is told something else than these tests expect.
const BOUND: Duration = Duration::from_secs(12);

/// An API with these settings whose way to the server of this variable leads through a proxy.
async fn api_behind_a_proxy(stack: &Stack, variable: &str, changes: &[(&str, &str)]) -> (Api, Proxy) {
    let variables = stack.variables();
    let (_, url) = variables.iter().find(|(name, _)| name == variable).expect("a setting of the stack");
    let proxy = Proxy::before(url).await;
    let url = proxy.url_of(url);
    let api = stack.api_with(&[&[(variable, &*url), ONE_THREAD], changes].concat()).await;
    (api, proxy)
}

/// Clicks of so many buyers at once; each answer with the time it took.
async fn crowd(client: &Client, shop: &Shop, name: &str, buyers: usize) -> Vec<(String, Answer, Duration)> {
    let clicks = (0..buyers).map(async |number| {
        let (user, asked) = (format!("{name}-{number}"), Instant::now());
        let answer = client.purchase(shop.sale, &user).await;
        (user, answer, asked.elapsed())
    });
    let answers = timeout(Duration::from_secs(60), join_all(clicks)).await.expect("nobody hangs");
    for (user, answer, _) in &answers {
        let told = (answer.status.as_u16(), answer.outcome());
        assert!(told == (200, "SUCCESS") || told == (503, "TRY_AGAIN"), "{user}: {answer:?}");
        assert!(told.0 == 200 || answer.headers["retry-after"] == "1", "{user}: {answer:?}");
    }
    answers
}

fn longest(answers: &[(String, Answer, Duration)]) -> Duration {
    answers.iter().map(|(_, _, took)| *took).max().expect("somebody asked")
}

fn told(answers: Vec<(String, Answer, Duration)>) -> Vec<(String, Answer)> {
    answers.into_iter().map(|(user, answer, _)| (user, answer)).collect()
}

#[tokio::test]
async fn while_redis_is_a_black_hole_a_crowd_is_told_to_try_again_within_its_bound_and_newcomers_at_once() {
    let shop = Shop::with_stock(10_000).await;
    let (api, redis) = api_behind_a_proxy(&shop.stack, "FLASHSALE__REDIS__URL", &[]).await;
    let workers = [shop.stack.persister(), shop.stack.keeper()];
    let first = crowd(&api.client, &shop, "first", 1).await;
    redis.set(Wire::Silent);
    // The call that is out takes two timeouts of a second; whoever waits behind it is sent away before that. One after
    // the other, these batches would take 16 s and more.
    let answers = crowd(&api.client, &shop, "crowd", 2_000).await;
    assert!(longest(&answers) < BOUND, "{:?}", longest(&answers));
    assert!(answers.iter().all(|(_, answer, _)| answer.outcome() == "TRY_AGAIN"));
    let unknown = answers.iter().filter(|(_, answer, _)| answer.order_id().is_some()).count();
    assert!(unknown <= 2 * MAX_BATCH, "only what was sent may have won: {unknown}");

    // Some find out whether Redis is back; whoever comes meanwhile learns at once that it is not.
    let (mut pace, mut newcomers) = (interval(Duration::from_millis(100)), JoinSet::new());
    for number in 0..40 {
        pace.tick().await;
        let (client, sale) = (api.client.clone(), shop.sale);
        newcomers.spawn(async move {
            let asked = Instant::now();
            let answer = client.purchase(sale, &format!("newcomer-{number}")).await;
            assert_eq!(answer.outcome(), "TRY_AGAIN");
            asked.elapsed() < Duration::from_millis(500) && answer.order_id().is_none()
        });
    }
    let at_once = newcomers.join_all().await.into_iter().filter(|at_once| *at_once).count();
    assert!(at_once >= 8, "{at_once} of 40 were refused at once");

    redis.set(Wire::Open);
    let order = until("it sells again", SOON, async || {
        let answer = api.client.purchase(shop.sale, "last").await;
        answer.order_id().filter(|_| answer.outcome() != "TRY_AGAIN").map(str::to_owned)
    });
    let mut promised = promised(&told(first));
    promised.push(("last".to_owned(), order.await));
    shop.stack.settled(&api.client, shop.sale).await;
    assert!(shop.stack.lost(shop.sale, &promised).await.is_empty());
    drop(api);
    shop.close(workers).await;
}

#[tokio::test]
async fn where_redis_takes_a_second_as_many_are_served_as_can_be_and_the_others_are_sent_away_in_time() {
    let shop = Shop::with_stock(10_000).await;
    // A busy machine makes the second longer: that must not read as a Redis that is away, nor leave time for one call
    // only.
    let patience = [("FLASHSALE__REDIS__RESPONSE_TIMEOUT_MS", "6000"), ("FLASHSALE__API__MAX_WAIT_MS", "3000")];
    let (api, redis) = api_behind_a_proxy(&shop.stack, "FLASHSALE__REDIS__URL", &patience).await;
    let persister = shop.stack.persister();
    let mut answers = crowd(&api.client, &shop, "early", 1).await;
    redis.set(Wire::Slow(Duration::from_millis(500)));
    answers.extend(crowd(&api.client, &shop, "crowd", 3_000).await);
    assert!(longest(&answers) < BOUND, "{:?}", longest(&answers));
    let (served, away): (Vec<_>, Vec<_>) = answers.iter().partition(|(_, answer, _)| answer.outcome() == "SUCCESS");
    assert!(served.len() >= 256 && away.len() >= 256, "{} served, {} sent away", served.len(), away.len());
    // Each of the two is fine by itself: too few to form a line.
    for round in 0..3 {
        let few = crowd(&api.client, &shop, &format!("few-{round}"), 100).await;
        assert!(few.iter().all(|(_, answer, _)| answer.outcome() == "SUCCESS"), "round {round}");
        answers.extend(few);
    }
    redis.set(Wire::Open);
    shop.check_books(&promised(&told(answers))).await;
    drop(api);
    shop.close([persister]).await;
}

#[tokio::test]
async fn where_rabbitmq_confirms_nothing_every_buyer_learns_in_time_that_the_outcome_is_open() {
    let shop = Shop::with_stock(10_000).await;
    let (api, rabbitmq) = api_behind_a_proxy(&shop.stack, "FLASHSALE__RABBITMQ__URL", &[]).await;
    let workers = [shop.stack.persister(), shop.stack.keeper()];
    rabbitmq.set(Wire::ServerMute);
    let answers = crowd(&api.client, &shop, "crowd", 1_000).await;
    assert!(longest(&answers) < BOUND, "{:?}", longest(&answers));
    assert!(answers.iter().all(|(_, answer, _)| answer.outcome() == "TRY_AGAIN"));
    assert!(answers.iter().any(|(_, answer, _)| answer.order_id().is_some()));
    rabbitmq.set(Wire::Open);
    shop.stack.settled(&api.client, shop.sale).await;
    drop(api);
    shop.close(workers).await;
}

#[tokio::test]
async fn where_postgresql_is_a_black_hole_whoever_needs_it_is_told_so_in_time_and_buyers_are_served() {
    let shop = Shop::with_stock(10).await;
    let (api, postgres) = api_behind_a_proxy(&shop.stack, "FLASHSALE__POSTGRES__URL", &[]).await;
    postgres.set(Wire::Silent);
    let (unknown, known) = (Uuid::new_v4(), shop.sale);
    let paths = [format!("/api/v1/sale/{unknown}/status"), format!("/api/v1/sale/{known}/user/ann/purchase")];
    let asked = Instant::now();
    let answers = timeout(SOON, join_all(paths.iter().map(|path| api.client.get(path)))).await.expect("nobody hangs");
    assert!(asked.elapsed() < Duration::from_secs(15));
    for (answer, path) in answers.iter().zip(&paths) {
        assert_problem(answer, 503, "UNAVAILABLE");
        assert_eq!(
            (&answer.headers["retry-after"], answer.body["instance"].as_str()),
            (&"1".parse().unwrap(), Some(&**path))
        );
        assert_eq!(answer.headers["cache-control"], "no-store");
    }
    assert_eq!(api.client.purchase(shop.sale, "ann").await.outcome(), "SUCCESS");
    postgres.set(Wire::Open);
    drop(api);
    shop.close([]).await;
}

#[tokio::test]
async fn settings_that_allow_more_do_not_let_a_request_wait_beyond_the_deadline() {
    let shop = Shop::with_stock(10).await;
    let url = shop.stack.settings().redis.url.expose_secret().to_owned();
    let redis = Proxy::before(&url).await;
    let url = redis.url_of(&url);
    let page = "https://shop.example";
    let patient = [
        ("FLASHSALE__REDIS__URL", &*url),
        ("FLASHSALE__REDIS__RESPONSE_TIMEOUT_MS", "60000"),
        ("FLASHSALE__API__CORS_ORIGINS", page),
        ONE_THREAD,
    ];
    let api = shop.stack.api_with(&patient).await;
    assert_eq!(api.client.purchase(shop.sale, "ann").await.outcome(), "SUCCESS");
    redis.set(Wire::Silent);
    let click = json!({ "saleId": shop.sale, "userId": "bob" });
    let click = api.client.request(Method::POST, PURCHASE).header("origin", page).json(&click);
    let answer = timeout(SOON, api.client.send(click)).await.expect("nobody hangs");
    assert_problem(&answer, 503, "UNAVAILABLE");
    assert_eq!(answer.headers["access-control-allow-origin"], page, "a page can read it as any other");
    assert_eq!(
        (&answer.headers["retry-after"], &answer.headers["cache-control"]),
        (&"1".parse().unwrap(), &"no-store".parse().unwrap())
    );
    drop(api);
    shop.close([]).await;
}

#[tokio::test]
async fn beyond_the_most_connections_a_new_one_waits_until_another_one_closes() {
    let shop = Shop::with_stock(1).await;
    let most = [ONE_THREAD, ("FLASHSALE__API__MAX_CONNECTIONS", "5")];
    let api = shop.stack.listening_api(&most).await;
    let ask = "GET /livez HTTP/1.1\r\nhost: shop\r\n\r\n";
    let mut lines = Vec::new();
    for _ in 0..5 {
        let mut line = Line::to(&api.client).await;
        line.say(ask).await;
        assert!(line.hear(1).await.starts_with("HTTP/1.1 200 "));
        lines.push(line);
    }
    let mut sixth = Line::to(&api.client).await;
    sixth.say(ask).await;
    assert!(timeout(Duration::from_secs(1), sixth.hear(1)).await.is_err(), "it has to wait");
    lines.pop();
    assert!(sixth.hear(1).await.starts_with("HTTP/1.1 200 "));
    drop(api);
    shop.close([]).await;
}

#[tokio::test]
async fn where_the_limit_of_open_files_allows_fewer_connections_the_api_says_so_and_sells() {
    let shop = Shop::with_stock(1).await;
    let api = shop.stack.api_with(&[("FLASHSALE__API__MAX_CONNECTIONS", "10000000000")]).await;
    let line = api.process.wait_for_log("the limit of open files allows fewer connections").await;
    assert!(line.contains(r#""connections":"#), "{line}");
    assert_eq!(api.client.purchase(shop.sale, "ann").await.outcome(), "SUCCESS");
    drop(api);
    shop.close([]).await;
}
