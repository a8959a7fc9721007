//! The built-in accounts: from nobody to an order, and every way to be sent away.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use testkit::{Answer, Api, Client, Process, Stack};
use uuid::Uuid;

use crate::fixture::{PURCHASE, Shop, assert_problem};
use crate::identity::{JWT, SECRET};

const ACCOUNTS: &str = "/api/v1/accounts";
const LOGIN: &str = "/api/v1/accounts/login";
const ON: [(&str, &str); 3] = [JWT, SECRET, ("FLASHSALE__AUTH__ACCOUNTS", "true")];

async fn post(client: &Client, path: &str, body: &Value) -> Answer {
    client.send(client.request(Method::POST, path).json(body)).await
}

async fn register(client: &Client, email: &str, password: &str) -> Answer {
    post(client, ACCOUNTS, &json!({ "email": email, "password": password })).await
}

async fn log_in(client: &Client, email: &str, password: &str) -> Answer {
    post(client, LOGIN, &json!({ "email": email, "password": password })).await
}

async fn shop_with_accounts(stock: u32) -> (Shop, Api, Process) {
    let shop = Shop::with_stock(stock).await;
    let api = shop.stack.api_with(&ON).await;
    let worker = shop.stack.persister();
    (shop, api, worker)
}

#[tokio::test]
async fn somebody_registers_logs_in_buys_and_sees_their_order() {
    let (shop, api, worker) = shop_with_accounts(10).await;
    let client = &api.client;
    let registered = register(client, "  Ann@Shop.Example ", "correct horse").await;
    assert_eq!((registered.status.as_u16(), &registered.body["email"]), (201, &json!("ann@shop.example")));
    let user = registered.body["userId"].as_str().unwrap();
    user.parse::<Uuid>().unwrap();

    let logged_in = log_in(client, "ANN@shop.example", "correct horse").await;
    assert_eq!(logged_in.status, 200, "{logged_in:?}");
    assert_eq!(logged_in.body["userId"], user);
    assert_eq!((&logged_in.body["tokenType"], &logged_in.body["expiresIn"]), (&json!("Bearer"), &json!(3_600)));
    assert_eq!(logged_in.headers["cache-control"], "no-store");
    let token = logged_in.body["token"].as_str().unwrap();

    let send = async |method, path: &str, body: Option<Value>| {
        let request = client.request(method, path).bearer_auth(token);
        client.send(body.iter().fold(request, RequestBuilder::json)).await
    };
    let won = send(Method::POST, PURCHASE, Some(json!({ "saleId": shop.sale }))).await;
    assert_eq!(won.outcome(), "SUCCESS", "{won:?}");
    let promised = [(user.to_owned(), won.order_id().unwrap().to_owned())];
    shop.check_books(&promised).await;
    let orders = send(Method::GET, "/api/v1/orders", None).await;
    assert!(orders.body.to_string().contains(won.order_id().unwrap()), "{orders:?}");
    let path = format!("/api/v1/sale/{}/user/{user}/purchase", shop.sale);
    let mine = send(Method::GET, &path, None).await;
    assert_eq!((mine.order_id(), mine.outcome()), (won.order_id(), "CONFIRMED"));

    let again = log_in(client, "ann@shop.example", "correct horse").await;
    assert_ne!(again.body["token"], logged_in.body["token"], "each token has an id of its own");
    drop(api);
    shop.close([worker]).await;
}

#[tokio::test]
async fn an_unknown_address_and_a_wrong_password_are_refused_alike_and_as_slowly() {
    let (shop, api, worker) = shop_with_accounts(1).await;
    let client = &api.client;
    assert_eq!(register(client, "ann@shop.example", "correct horse").await.status, 201);
    let mut took = [Vec::new(), Vec::new()];
    let mut bodies = HashSet::new();
    for _ in 0..8 {
        let tries = [("ann@shop.example", "wrong horse"), ("bob@shop.example", "correct horse")];
        for (took, (email, password)) in took.iter_mut().zip(tries) {
            let asked = Instant::now();
            let answer = log_in(client, email, password).await;
            took.push(asked.elapsed());
            assert_problem(&answer, 401, "INVALID_CREDENTIALS");
            assert_eq!(answer.headers["www-authenticate"], "Bearer");
            let mut body = answer.body;
            body.as_object_mut().unwrap().remove("requestId");
            bodies.insert(body.to_string());
        }
    }
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    // The quickest of each: both have hashed. Without the decoy the unknown one takes no time at all.
    let [wrong, unknown] = took.map(|took| took.into_iter().min().unwrap());
    assert!(unknown * 3 > wrong && wrong * 3 > unknown, "wrong {wrong:?}, unknown {unknown:?}");
    for (email, password) in [("ann@shop.example", "short"), ("no address", "correct horse"), ("", "")] {
        assert_problem(&log_in(client, email, password).await, 401, "INVALID_CREDENTIALS");
    }
    assert_eq!(log_in(client, "ann@shop.example", "correct horse").await.status, 200);
    drop(api);
    shop.close([worker]).await;
}

#[tokio::test]
async fn an_address_has_one_account_however_many_register_it_at_once() {
    let (shop, api, worker) = shop_with_accounts(1).await;
    let client = &api.client;
    let both = ["ann@shop.example", "ANN@shop.example "].map(|email| register(client, email, "correct horse"));
    let answers = join_all(both).await;
    let (made, taken): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 201);
    assert_eq!((made.len(), taken.len()), (1, 1));
    assert_problem(&taken[0], 409, "EMAIL_TAKEN");
    assert_problem(&register(client, "ann@shop.example", "another password").await, 409, "EMAIL_TAKEN");
    assert_problem(&log_in(client, "ann@shop.example", "another password").await, 401, "INVALID_CREDENTIALS");
    let logged_in = log_in(client, "ann@shop.example", "correct horse").await;
    assert_eq!(logged_in.body["userId"], made[0].body["userId"]);
    drop(api);
    shop.close([worker]).await;
}

#[tokio::test]
async fn what_is_no_address_or_no_password_is_named_and_a_password_is_never_repeated() {
    let (shop, api, worker) = shop_with_accounts(1).await;
    let client = &api.client;
    let (email, password) = ("ann@shop.example", "planted-password");
    for (body, field) in [
        (json!({ "email": email }), "password"),
        (json!({ "password": password }), "email"),
        (json!({ "email": null, "password": password }), "email"),
        (json!({ "email": "ann", "password": password }), "email"),
        (json!({ "email": "a@".to_owned() + &"b".repeat(254), "password": password }), "email"),
        (json!({ "email": email, "password": "planted" }), "password"),
        (json!({ "email": email, "password": "planted-".repeat(17) }), "password"),
    ] {
        let answer = post(client, ACCOUNTS, &body).await;
        assert_problem(&answer, 400, "INVALID_FIELD");
        assert!(answer.body["detail"].as_str().unwrap().starts_with(field), "{answer:?}");
        assert!(!answer.body.to_string().contains("planted"), "{answer:?}");
    }
    for path in [ACCOUNTS, LOGIN] {
        for body in [
            json!({ "email": email, "password": ["planted-password"] }),
            json!({ "email": email, "password": 12_345_678_901_u64 }),
            json!({ "email": { "planted": 1 }, "password": password }),
            json!([email, "planted-password", 3]),
            json!("planted-password"),
        ] {
            let answer = post(client, path, &body).await;
            assert_problem(&answer, 400, "INVALID_BODY");
            assert!(!answer.body.to_string().contains("planted"), "{answer:?}");
            assert!(!answer.body.to_string().contains("12345678901"), "{answer:?}");
        }
    }
    assert!(!api.process.log().contains("planted"));
    drop(api);
    shop.close([worker]).await;
}

#[tokio::test]
async fn a_storm_of_logins_is_sent_away_in_time_and_takes_nothing_from_the_sale() {
    let (shop, api, worker) = shop_with_accounts(10).await;
    let client = &api.client;
    assert_eq!(register(client, "ann@shop.example", "correct horse").await.status, 201);
    let token = log_in(client, "ann@shop.example", "correct horse").await.body["token"].as_str().unwrap().to_owned();
    // At least twice as many as half of the cores can check in two seconds.
    let storm = std::thread::available_parallelism().map_or(1, usize::from).div_ceil(2) * 500;
    let storm = join_all((0..storm).map(|_| async {
        let asked = Instant::now();
        let answer = log_in(client, "ann@shop.example", "wrong horse").await;
        (answer, asked.elapsed())
    }));
    let buy = async {
        let mut slowest = Duration::ZERO;
        for _ in 0..50 {
            let asked = Instant::now();
            let request = client.request(Method::POST, PURCHASE).bearer_auth(&token);
            let answer = client.send(request.json(&json!({ "saleId": shop.sale }))).await;
            assert!(["SUCCESS", "ALREADY_PURCHASED"].contains(&answer.outcome()), "{answer:?}");
            slowest = slowest.max(asked.elapsed());
        }
        slowest
    };
    let (answers, slowest) = tokio::join!(storm, buy);
    let had_no_turn = |answer: &Answer| answer.body["detail"].as_str().is_some_and(|detail| detail.contains("log in"));
    let busy = answers.iter().filter(|(answer, _)| answer.status == 503 && had_no_turn(answer));
    assert!(busy.clone().count() > 0, "more than can be checked in two seconds");
    busy.for_each(|(answer, _)| assert_problem(answer, 503, "UNAVAILABLE"));
    for (answer, took) in &answers {
        assert!([401, 503].contains(&answer.status.as_u16()), "{answer:?}");
        assert!(*took < Duration::from_secs(8), "nobody waits for long: {took:?}");
    }
    assert!(slowest < Duration::from_secs(4), "a click among them took {slowest:?}");
    assert_eq!(log_in(client, "ann@shop.example", "correct horse").await.status, 200, "it is over");
    shop.stack.settled(client, shop.sale).await;
    drop(api);
    shop.close([worker]).await;
}

#[tokio::test]
async fn where_they_are_not_switched_on_there_are_no_accounts() {
    let stack = Stack::new().await;
    for changes in [&[] as &[_], &[JWT, SECRET]] {
        let api = stack.api_with(changes).await;
        for path in [ACCOUNTS, LOGIN] {
            let answer = post(&api.client, path, &json!({ "email": "a@b.example", "password": "correct horse" })).await;
            assert_problem(&answer, 404, "NO_SUCH_ROUTE");
        }
    }
    stack.close().await;
}

#[tokio::test]
async fn while_postgresql_is_away_nobody_registers_or_logs_in() {
    let stack = Stack::new().await;
    let nowhere = ("FLASHSALE__POSTGRES__URL", "postgres://nobody@127.0.0.1:9/nothing");
    let soon = ("FLASHSALE__POSTGRES__ACQUIRE_TIMEOUT_MS", "300");
    let api = stack.listening_api(&[ON[0], ON[1], ON[2], nowhere, soon]).await;
    assert_problem(&register(&api.client, "ann@shop.example", "correct horse").await, 503, "UNAVAILABLE");
    assert_problem(&log_in(&api.client, "ann@shop.example", "correct horse").await, 503, "UNAVAILABLE");
    drop(api);
    stack.close().await;
}
