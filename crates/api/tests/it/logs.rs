//! Logs: JSON where nobody watches, one line per request at debug, every error once.

use reqwest::Method;
use serde_json::Value;
use testkit::{Process, Stack, new_sale, until};

use crate::fixture::{SOON, Shop};

const EVERYTHING: (&str, &str) = ("FLASHSALE__LOG__FILTER", "debug");

/// Every line of a log, which must be an object with the fields that log collectors look for.
pub(crate) fn lines(process: &Process) -> Vec<Value> {
    let parse = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        for field in ["timestamp", "level", "target"] {
            assert!(line[field].is_string(), "no {field}: {line}");
        }
        line
    };
    process.log().lines().map(parse).collect()
}

fn count(lines: &[Value], message: &str) -> usize {
    lines.iter().filter(|line| line["message"] == message).count()
}

#[tokio::test]
async fn a_log_that_no_terminal_shows_is_json_with_one_line_per_request_at_debug() {
    let shop = Shop::with_stock(1).await;
    let api = shop.stack.api_with(&[EVERYTHING]).await;
    let before = count(&lines(&api.process), "answered");
    let request = api.client.request(Method::GET, "/api/v1/sales?page=1").header("x-request-id", "the-request");
    let request = request.header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    api.client.send(request).await;
    api.client.get("/nothing/here").await;
    let log = until("both are logged", SOON, async || {
        let log = lines(&api.process);
        (count(&log, "answered") == before + 2).then_some(log)
    })
    .await;
    let line = log.iter().find(|line| line["request_id"] == "the-request").expect("the request's line");
    assert_eq!((&line["level"], &line["method"]), (&"DEBUG".into(), &"GET".into()), "{line}");
    assert_eq!((&line["path"], &line["status"]), (&"/api/v1/sales".into(), &200.into()), "{line}");
    assert_eq!(line["traceparent"], "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    assert!(line["took_us"].is_number(), "{line}");
    assert_eq!(count(&lines(&shop.api.process), "answered"), 0, "at info requests are not logged");
    drop(api);
    shop.close([]).await;
}

#[tokio::test]
async fn an_error_that_lasts_is_logged_once_and_its_end_too() {
    let mut shop = Shop::on(Stack::with_own_redis().await, &new_sale(5)).await;
    let api = shop.stack.api_with(&[("FLASHSALE__API__HTTP_WORKERS", "1")]).await;
    shop.stack.redis.kill();
    for n in 0..20 {
        assert_eq!(api.client.purchase(shop.sale, &format!("user-{n}")).await.outcome(), "TRY_AGAIN");
    }
    let failing = "reservations cannot be decided, buyers are asked to try again";
    assert_eq!(count(&lines(&api.process), failing), 1, "{}", api.process.log());
    shop.stack.redis.start();
    shop.stack.reconcile().await;
    until("the sale goes on", SOON, async || {
        (api.client.purchase(shop.sale, "ann").await.outcome() == "SUCCESS").then_some(())
    })
    .await;
    let log = lines(&api.process);
    assert_eq!(count(&log, failing), 1, "{}", api.process.log());
    assert_eq!(count(&log, &format!("over: {failing}")), 1, "{}", api.process.log());
    drop(api);
    shop.close([]).await;
}
