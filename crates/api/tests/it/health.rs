//! `/livez`, `/readyz`, `/health`: with everything up, and with Redis away.

use reqwest::Method;
use serde_json::json;
use testkit::{Answer, Client, Stack, new_sale, until};

use crate::fixture::{SOON, Shop};

/// Waits until `path` answers with this status.
async fn answers(client: &Client, path: &str, status: u16) -> Answer {
    let what = format!("{path} answers {status}");
    until(&what, SOON, async || Some(client.get(path).await).filter(|answer| answer.status == status)).await
}

/// Asserts that a report of `/health` has the contract's fields and no other.
fn assert_report(report: &Answer, status: &str, redis: &str) {
    let body = &report.body;
    assert_eq!(body["status"], status, "{report:?}");
    body["timestamp"].as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap();
    assert!(body["responseTime"].is_u64(), "{report:?}");
    assert_eq!(body.as_object().unwrap().len(), 4, "{report:?}");
    for (service, expected) in [("database", "up"), ("redis", redis), ("rabbitmq", "up")] {
        assert_eq!(body["services"][service]["status"], expected, "{report:?}");
        assert!(body["services"][service]["message"].as_str().is_some_and(|text| !text.is_empty()), "{report:?}");
    }
    assert_eq!(body["services"].as_object().unwrap().len(), 3, "{report:?}");
}

#[tokio::test]
async fn with_every_server_up_the_api_is_alive_ready_and_healthy() {
    let stack = Stack::new().await;
    let api = stack.api().await;
    assert_eq!(api.client.get("/livez").await.body, json!({ "status": "ok" }));
    assert_eq!(api.client.get("/readyz").await.body, json!({ "status": "ready" }));
    let report = api.client.get("/health").await;
    assert_eq!(report.status, 200);
    assert_report(&report, "healthy", "up");
    drop(api);
    stack.close().await;
}

#[tokio::test]
async fn without_redis_the_api_is_alive_but_neither_ready_nor_healthy_and_buyers_are_asked_to_try_again() {
    let mut shop = Shop::on(Stack::with_own_redis().await, &new_sale(5)).await;
    shop.stack.redis.kill();
    let not_ready = answers(shop.client(), "/readyz", 503).await;
    assert_eq!(not_ready.headers["retry-after"], "1");
    assert_eq!(not_ready.body, json!({ "status": "not ready", "message": "Redis does not answer" }));
    assert_report(&answers(shop.client(), "/health", 503).await, "unhealthy", "down");
    assert_eq!(shop.client().get("/livez").await.status, 200);

    let click = shop.click("ann").await;
    assert_eq!((click.status.as_u16(), click.outcome()), (503, "TRY_AGAIN"));
    assert_eq!(click.headers["retry-after"], "1");
    assert_eq!(shop.client().status(shop.sale).await.status, 200, "the sale can still be looked at");

    shop.stack.redis.start();
    answers(shop.client(), "/readyz", 200).await;
    assert_report(&answers(shop.client(), "/health", 200).await, "healthy", "up");
    shop.stack.reconcile().await;
    let sold = until("the sale goes on", SOON, async || {
        let answer = shop.click("bob").await;
        (answer.outcome() != "TRY_AGAIN").then_some(answer)
    });
    assert_eq!(sold.await.outcome(), "SUCCESS");
    shop.close([]).await;
}

#[tokio::test]
async fn without_the_database_a_running_api_is_ready_but_not_healthy() {
    let shop = Shop::with_stock(5).await;
    shop.stack.database.lock_out().await;
    let report = answers(shop.client(), "/health", 503).await;
    assert_eq!(report.body["services"]["database"]["status"], "down");
    assert_eq!(report.body["services"]["redis"]["status"], "up");
    assert_eq!(shop.client().get("/readyz").await.status, 200);
    assert_eq!(shop.click("ann").await.outcome(), "SUCCESS", "the sale goes on");
    assert_eq!(shop.client().purchase_of(shop.sale, "ann").await.outcome(), "PENDING", "the gate knows the buyer");

    shop.stack.database.let_in().await;
    answers(shop.client(), "/health", 200).await;
    shop.close([]).await;
}

#[tokio::test]
async fn without_rabbitmq_the_api_is_neither_ready_nor_healthy_and_reserves_nothing_that_it_could_not_promise() {
    let shop = Shop::with_stock(5).await;
    let nowhere = [("FLASHSALE__RABBITMQ__URL", "amqp://guest:guest@127.0.0.1:9/%2f")];
    let api = shop.stack.listening_api(&nowhere).await;
    until("the sales were read", SOON, async || {
        (api.client.status(shop.sale).await.body["saleActive"] == true).then_some(())
    })
    .await;
    let not_ready = api.client.get("/readyz").await;
    assert_eq!(not_ready.status, 503);
    assert_eq!(not_ready.body["message"], "RabbitMQ takes no message");
    let report = api.client.get("/health").await;
    assert_eq!((report.status.as_u16(), &report.body["services"]["rabbitmq"]["status"]), (503, &json!("down")));

    let click = api.client.purchase(shop.sale, "ann").await;
    assert_eq!((click.status.as_u16(), click.outcome(), click.order_id()), (503, "TRY_AGAIN", None));
    assert_eq!(shop.client().verify(shop.sale).await.body["books"]["available"], 5);
    drop(api);
    shop.close([]).await;
}

#[tokio::test]
async fn many_who_ask_for_the_health_at_once_are_all_answered() {
    let stack = Stack::new().await;
    let api = stack.api().await;
    let ask = || async { api.client.send(api.client.request(Method::GET, "/health")).await.status };
    let answers = futures_util::future::join_all((0..100).map(|_| ask())).await;
    assert!(answers.iter().all(|status| *status == 200), "{answers:?}");
    drop(api);
    stack.close().await;
}
