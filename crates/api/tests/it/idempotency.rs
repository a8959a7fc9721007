//! The header `Idempotency-Key`: a retry after any lost or unknown answer is answered as the first attempt was.

use domain::Quantity;
use failpoints::Point;
use futures_util::future::join_all;
use ledger::NewSale;
use reqwest::Method;
use serde_json::{Value, json};
use testkit::{Answer, Client, Own, Proxy, Stack, Wire, new_sale, until};
use uuid::Uuid;

use crate::fixture::{PURCHASE, SOON, Shop, assert_problem};

/// A click with a key; an error where no answer came.
async fn try_keyed(client: &Client, body: &Value, key: &str) -> Result<Answer, reqwest::Error> {
    client.try_send(client.request(Method::POST, PURCHASE).header("idempotency-key", key).json(body)).await
}

async fn keyed(client: &Client, body: &Value, key: &str) -> Answer {
    try_keyed(client, body, key).await.expect("an answer")
}

fn click(shop: &Shop, user: &str, quantity: u32) -> Value {
    json!({ "saleId": shop.sale, "userId": user, "quantity": quantity })
}

fn is_replay(answer: &Answer) -> bool {
    answer.headers.get("idempotency-replayed").is_some_and(|value| value == "true")
}

/// Asserts a SUCCESS of this order that says it was one before.
fn assert_replayed(answer: &Answer, order: &str) {
    assert_eq!((answer.status.as_u16(), answer.outcome()), (200, "SUCCESS"), "{answer:?}");
    assert_eq!(answer.order_id(), Some(order), "{answer:?}");
    assert!(is_replay(answer), "{answer:?}");
}

fn bought(user: &str, order: &str) -> (String, String) {
    (user.to_owned(), order.to_owned())
}

fn of_two(stock: u32) -> NewSale {
    NewSale { per_user_limit: Quantity::try_from(2).unwrap(), ..new_sale(stock) }
}

#[tokio::test]
async fn the_same_key_is_the_same_order_another_key_is_told_of_it_and_another_quantity_is_refused() {
    let shop = Shop::with(&of_two(5)).await;
    let (client, two) = (shop.client(), click(&shop, "ann", 2));
    let first = keyed(client, &two, "key-1").await;
    assert_eq!((first.outcome(), is_replay(&first)), ("SUCCESS", false), "{first:?}");
    let order = first.order_id().unwrap().to_owned();
    assert_eq!(order.parse::<Uuid>().unwrap().get_version_num(), 8);

    // Bare or as a string of a structured header, it is the same key.
    for key in ["key-1", "\"key-1\""] {
        let again = keyed(client, &two, key).await;
        assert_replayed(&again, &order);
        assert_eq!(again.body, first.body, "the same answer");
    }
    assert_problem(&keyed(client, &click(&shop, "ann", 1), "key-1").await, 422, "IDEMPOTENCY_KEY_REUSED");
    for other in [keyed(client, &two, "key-2").await, shop.click("ann").await] {
        assert_eq!((other.outcome(), other.order_id()), ("ALREADY_PURCHASED", Some(&*order)), "{other:?}");
        assert!(!is_replay(&other));
    }
    // A key is its buyer's.
    let bob = keyed(client, &click(&shop, "bob", 2), "key-1").await;
    assert_eq!((bob.outcome(), is_replay(&bob)), ("SUCCESS", false), "{bob:?}");
    let bob = bob.order_id().unwrap().to_owned();
    assert_ne!(bob, order);
    // A refusal is not remembered, and neither is it a replay.
    for _ in 0..2 {
        let refused = keyed(client, &click(&shop, "cid", 2), "key-1").await;
        assert_eq!((refused.outcome(), is_replay(&refused)), ("SOLD_OUT", false), "{refused:?}");
        assert_problem(&keyed(client, &click(&shop, "cid", 3), "key-1").await, 400, "QUANTITY_NOT_ALLOWED");
    }

    let persister = shop.stack.persister();
    shop.persisted("ann").await;
    assert_replayed(&keyed(client, &two, "key-1").await, &order);
    let books = shop.stack.settled(client, shop.sale).await;
    assert_eq!(books.body["books"]["sold"], 4, "two orders of two units: {:?}", books.body);
    assert!(shop.stack.lost(shop.sale, &[bought("ann", &order), bought("bob", &bob)]).await.is_empty());
    shop.close([persister]).await;
}

#[tokio::test]
async fn a_key_that_is_none_is_refused_and_buys_nothing() {
    let shop = Shop::with_stock(1).await;
    let body = click(&shop, "ann", 1);
    for key in ["", "\"", "two words", &"k".repeat(256)] {
        assert_problem(&keyed(shop.client(), &body, key).await, 400, "INVALID_IDEMPOTENCY_KEY");
    }
    let twice = shop.client().request(Method::POST, PURCHASE).json(&body);
    let twice = twice.header("idempotency-key", "a").header("idempotency-key", "a");
    assert_problem(&shop.client().send(twice).await, 400, "INVALID_IDEMPOTENCY_KEY");
    assert_eq!(shop.client().verify(shop.sale).await.body["books"]["available"], 1);
    shop.close([]).await;
}

#[tokio::test]
async fn of_many_clicks_with_one_key_at_once_on_two_replicas_each_is_answered_with_the_one_order() {
    let shop = Shop::with(&of_two(10)).await;
    let other = shop.stack.api().await;
    let body = click(&shop, "ann", 2);
    let clients = [shop.client(), &other.client];
    let answers = join_all((0..40).map(|n| keyed(clients[n % 2], &body, "key"))).await;
    let order = answers[0].order_id().unwrap();
    for answer in &answers {
        assert_eq!((answer.outcome(), answer.order_id()), ("SUCCESS", Some(order)), "{answer:?}");
    }
    assert!(answers.iter().filter(|answer| !is_replay(answer)).count() <= 1, "one of them was the first");

    let workers = [shop.stack.persister(), shop.stack.keeper()];
    let books = shop.stack.settled(shop.client(), shop.sale).await;
    assert_eq!((&books.body["books"]["sold"], &books.body["books"]["available"]), (&json!(2), &json!(8)));
    assert!(shop.stack.lost(shop.sale, &[bought("ann", order)]).await.is_empty());
    drop(other);
    shop.close(workers).await;
}

/// The API dies at `point` in the middle of a click. Whoever clicks again with the same key, on another replica, is
/// answered as if nothing had happened, however often.
async fn the_api_dies_at(point: Point) {
    let shop = Shop::with(&of_two(5)).await;
    let failpoint = format!("{}=crash", point.name());
    let mut dying = shop.stack.api_with(&[("FLASHSALE_FAILPOINT", &failpoint)]).await;
    let body = click(&shop, "ann", 2);
    assert!(try_keyed(&dying.client, &body, "key").await.is_err(), "nobody is left to answer");
    dying.process.ended().await;
    assert!(dying.process.log().contains(&point.last_words()), "{}", dying.process.log());

    let again = keyed(shop.client(), &body, "key").await;
    let order = again.order_id().expect("an order").to_owned();
    assert_replayed(&again, &order);
    assert_eq!(again.body["remainingStock"], 3);
    assert_eq!(shop.click("ann").await.order_id(), Some(&*order));

    let workers = [shop.stack.persister(), shop.stack.keeper()];
    assert_replayed(&keyed(shop.client(), &body, "key").await, &order);
    let books = shop.stack.settled(shop.client(), shop.sale).await;
    assert_eq!(books.body["books"]["sold"], 2, "one order: {:?}", books.body);
    assert!(shop.stack.lost(shop.sale, &[bought("ann", &order)]).await.is_empty());
    shop.close(workers).await;
}

#[tokio::test]
async fn a_retry_finds_what_an_api_had_reserved_that_died_before_it_published() {
    the_api_dies_at(Point::ApiReserved).await;
}

#[tokio::test]
async fn a_retry_finds_what_an_api_had_published_that_died_before_the_confirm() {
    the_api_dies_at(Point::BrokerPublished).await;
}

#[tokio::test]
async fn a_retry_finds_what_an_api_had_promised_that_died_before_it_said_so() {
    the_api_dies_at(Point::ApiConfirmed).await;
}

#[tokio::test]
async fn a_retry_after_an_unknown_outcome_is_answered_with_the_order_that_was_named() {
    let shop = Shop::with_stock(5).await;
    let variables = shop.stack.settings();
    let url = |secret: &secrecy::SecretString| secrecy::ExposeSecret::expose_secret(secret).to_owned();
    let (redis_url, rabbitmq_url) = (url(&variables.redis.url), url(&variables.rabbitmq.url));
    let (redis, rabbitmq) = (Proxy::before(&redis_url).await, Proxy::before(&rabbitmq_url).await);
    let behind = [
        ("FLASHSALE__REDIS__URL", redis.url_of(&redis_url)),
        ("FLASHSALE__RABBITMQ__URL", rabbitmq.url_of(&rabbitmq_url)),
        ("FLASHSALE__REDIS__RESPONSE_TIMEOUT_MS", "300".to_owned()),
        ("FLASHSALE__RABBITMQ__CONFIRM_TIMEOUT_MS", "500".to_owned()),
        ("FLASHSALE__API__HTTP_WORKERS", "1".to_owned()),
    ];
    let behind: Vec<(&str, &str)> = behind.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let api = shop.stack.api_with(&behind).await;
    // Connects the one batcher there is.
    let cid = api.client.purchase(shop.sale, "cid").await;
    let mut promised = vec![bought("cid", cid.order_id().expect("a success"))];
    // The gate and the queue hear everything and are not heard.
    for (user, wire) in [("ann", &redis), ("bob", &rabbitmq)] {
        let body = click(&shop, user, 1);
        wire.set(Wire::ServerMute);
        let lost = keyed(&api.client, &body, "key").await;
        assert_eq!((lost.status.as_u16(), lost.outcome()), (503, "TRY_AGAIN"), "{user}: {lost:?}");
        let order = lost.order_id().expect("it may have won").to_owned();
        wire.set(Wire::Cut);
        wire.set(Wire::Open);
        let again = until("the servers are back", SOON, async || {
            let answer = keyed(&api.client, &body, "key").await;
            (answer.outcome() != "TRY_AGAIN").then_some(answer)
        });
        assert_replayed(&again.await, &order);
        promised.push(bought(user, &order));
    }
    let workers = [shop.stack.persister(), shop.stack.keeper()];
    shop.check_books(&promised).await;
    drop(api);
    shop.close(workers).await;
}

#[tokio::test]
async fn a_retry_is_answered_by_a_rebuilt_gate_and_after_the_order_has_moved_on() {
    let mut stack = Stack::with_own(Own::REDIS).await;
    let sale = new_sale(5);
    stack.create(&sale).await;
    stack.reconcile().await;
    let api = stack.api().await;
    let body = json!({ "saleId": sale.id, "userId": "ann" });
    let first = keyed(&api.client, &body, "key").await;
    let order = first.order_id().expect("a success").to_owned();
    let workers = [stack.persister(), stack.keeper()];
    stack.settled(&api.client, sale.id).await;

    stack.restart_redis(true);
    let again = until("the gate is rebuilt", SOON, async || {
        let answer = keyed(&api.client, &body, "key").await;
        (answer.outcome() != "TRY_AGAIN").then_some(answer)
    });
    assert_replayed(&again.await, &order);

    stack.expire(sale.id, &["ann"]).await;
    assert_replayed(&keyed(&api.client, &body, "key").await, &order);
    let books = stack.settled(&api.client, sale.id).await;
    assert_eq!((&books.body["books"]["sold"], &books.body["books"]["available"]), (&json!(0), &json!(5)));
    drop((workers, api));
    stack.close().await;
}

#[tokio::test]
async fn a_retry_is_answered_after_the_sale_has_ended_and_nobody_else_is() {
    let sale = new_sale(5);
    let soon = sale.starts_at + chrono::TimeDelta::seconds(60 + 12);
    let shop = Shop::with(&NewSale { ends_at: soon, ..of_two_like(sale) }).await;
    let (client, body) = (shop.client(), click(&shop, "ann", 1));
    let order = keyed(client, &body, "key").await.order_id().expect("a success").to_owned();
    let workers = [shop.stack.persister(), shop.stack.keeper()];
    shop.persisted("ann").await;
    let ended = async || (shop.stack.sale(shop.sale).await.state == domain::SaleState::Ended).then_some(());
    until("the sale has ended", SOON * 2, ended).await;
    // The API may not have seen it yet: the gate answers the same.
    assert_replayed(&keyed(client, &body, "key").await, &order);
    let seen = async || (shop.click("ann").await.body["code"] == "NOT_ACTIVE").then_some(());
    until("this API has seen it", SOON, seen).await;
    assert_replayed(&keyed(client, &body, "key").await, &order);
    assert_problem(&keyed(client, &click(&shop, "ann", 2), "key").await, 422, "IDEMPOTENCY_KEY_REUSED");
    assert_problem(&keyed(client, &body, "other").await, 400, "NOT_ACTIVE");
    assert_problem(&keyed(client, &click(&shop, "bob", 1), "key").await, 400, "NOT_ACTIVE");

    // Where the orders cannot be read it is not known what became of the first attempt.
    shop.stack.database.lock_out().await;
    let unknown = keyed(client, &body, "key").await;
    assert_eq!((unknown.status.as_u16(), unknown.order_id()), (503, Some(&*order)), "{unknown:?}");
    shop.stack.database.let_in().await;
    shop.check_books(&[bought("ann", &order)]).await;
    shop.close(workers).await;
}

#[tokio::test]
async fn a_retry_is_answered_after_the_end_although_an_operator_has_still_to_decide() {
    let shop = Shop::with_stock(2).await;
    let workers = [shop.stack.persister(), shop.stack.keeper()];
    let (client, body) = (shop.client(), click(&shop, "ann", 1));
    shop.refuse("ann").await;
    let order = keyed(client, &body, "key").await.order_id().expect("a success").to_owned();
    let letter = shop.letter_of(&order).await;
    shop.ends().await;
    let seen = async || (shop.click("ann").await.body["code"] == "NOT_ACTIVE").then_some(());
    until("this API has seen it", SOON, seen).await;
    assert_replayed(&keyed(client, &body, "key").await, &order);
    assert_problem(&keyed(client, &body, "other").await, 400, "NOT_ACTIVE");

    shop.accept("ann").await;
    assert_eq!(shop.decide("redrive", &letter["id"]).await.status, 200);
    assert_replayed(&keyed(client, &body, "key").await, &order);
    shop.check_books(&[bought("ann", &order)]).await;
    shop.close(workers).await;
}

fn of_two_like(sale: NewSale) -> NewSale {
    NewSale { per_user_limit: Quantity::try_from(2).unwrap(), ..sale }
}

#[tokio::test]
async fn a_hold_ends_so_long_after_the_gate_has_decided_and_a_replay_says_the_same_once_the_order_is_written() {
    let mut sale = new_sale(5);
    sale.terms.hold_seconds = 600;
    let shop = Shop::with(&sale).await;
    let body = click(&shop, "ann", 1);
    let now_ms = || i64::try_from(boot::clock::now_ms()).unwrap();
    let expires_ms = |answer: &Answer| {
        let text = answer.body["expiresAt"].as_str()?;
        assert!(text.ends_with('Z'), "{text}");
        Some(chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis())
    };
    let before = now_ms();
    let first = keyed(shop.client(), &body, "key").await;
    let expires = expires_ms(&first).expect("a hold ends");
    assert!((before + 599_000..=now_ms() + 601_000).contains(&expires), "{before} {expires}");
    let order = first.order_id().unwrap().to_owned();
    let early = keyed(shop.client(), &body, "key").await;
    assert_replayed(&early, &order);
    assert_eq!(expires_ms(&early), None, "the order is not written yet");

    let persister = shop.stack.persister();
    shop.persisted("ann").await;
    let replay = keyed(shop.client(), &body, "key").await;
    assert_replayed(&replay, &order);
    let again = expires_ms(&replay).expect("the order knows");
    assert!((again - expires).abs() <= 1, "{again} {expires}");
    shop.check_books(&[bought("ann", &order)]).await;
    shop.close([persister]).await;
}
