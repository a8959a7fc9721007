//! Logs: JSON where nobody watches, one line per request at debug, every error once, and never a secret.

use reqwest::Method;
use serde_json::Value;
use testkit::{ADMIN_TOKEN, Process, REDIS_PASSWORD, Stack, new_sale, until};

use crate::fixture::{SOON, Shop};

const EVERYTHING: (&str, &str) = ("FLASHSALE__LOG__FILTER", "debug");
const PLANTED: &str = "planted-and-never-to-be-seen";

/// Every line of a log, which must be an object with the fields that log collectors look for.
fn lines(process: &Process) -> Vec<Value> {
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
    shop.stack.kill_redis();
    for n in 0..20 {
        assert_eq!(api.client.purchase(shop.sale, &format!("user-{n}")).await.outcome(), "TRY_AGAIN");
    }
    let failing = "reservations cannot be decided, buyers are asked to try again";
    assert_eq!(count(&lines(&api.process), failing), 1, "{}", api.process.log());
    shop.stack.start_redis();
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

#[tokio::test]
async fn no_secret_shows_in_a_log_when_all_is_well() {
    let shop = Shop::on(Stack::with_own_redis().await, &new_sale(1)).await;
    let api = shop.stack.api_with(&[EVERYTHING]).await;
    let persister = shop.stack.start_with("flashsale-persister", &[], &[EVERYTHING]);
    let keeper = shop.stack.start_with("flashsale-keeper", &[], &[EVERYTHING]);
    assert_eq!(api.client.purchase(shop.sale, "ann").await.outcome(), "SUCCESS");
    shop.stack.settled(&api.client, shop.sale).await;
    assert_eq!(api.client.reset(shop.sale, false).await.status, 200);
    let request = api.client.request(Method::GET, "/api/v1/admin/sales/7/verify").bearer_auth(PLANTED);
    assert_eq!(api.client.send(request).await.status, 401);

    let urls = shop.stack.variables().into_iter().filter(|(name, _)| name.ends_with("URL"));
    let accounts: Vec<String> =
        urls.filter_map(|(_, url)| Some(url.split_once("//")?.1.split_once('@')?.0.to_owned())).collect();
    let accounts = accounts.iter().map(String::as_str).filter(|account| account.contains(':'));
    let secrets: Vec<&str> = accounts.chain([ADMIN_TOKEN, REDIS_PASSWORD, PLANTED]).collect();
    for process in [&api.process, &persister, &keeper] {
        assert!(!lines(process).is_empty());
        for secret in &secrets {
            assert!(!process.log().contains(secret), "{secret} is in a log");
        }
    }
    drop(api);
    shop.close([persister, keeper]).await;
}

#[tokio::test]
async fn no_secret_shows_in_a_log_or_an_answer_when_no_server_can_be_reached() {
    let stack = Stack::new().await;
    let at = |scheme: &str| format!("{scheme}://user:{PLANTED}@127.0.0.1:9/0");
    let (postgres, redis, rabbitmq) = (at("postgres"), at("redis"), at("amqp"));
    let nowhere = [
        ("FLASHSALE__POSTGRES__URL", postgres.as_str()),
        ("FLASHSALE__REDIS__URL", &redis),
        ("FLASHSALE__RABBITMQ__URL", &rabbitmq),
        ("FLASHSALE__POSTGRES__ACQUIRE_TIMEOUT_MS", "500"),
        EVERYTHING,
    ];
    let api = stack.listening_api(&nowhere).await;
    let workers = ["flashsale-persister", "flashsale-keeper"].map(|name| stack.start_with(name, &[], &nowhere));
    for path in ["/health", "/readyz", "/api/v1/sales"] {
        let answer = api.client.get(path).await;
        assert_eq!(answer.status, 503);
        assert!(!format!("{answer:?}").contains("127.0.0.1"), "{answer:?}");
    }
    let mut processes = vec![api.process];
    processes.extend(workers);
    for process in &processes {
        process.wait_for_log("WARN").await;
        assert!(!process.log().contains(PLANTED), "{}", process.log());
        lines(process);
    }
    drop(processes);
    stack.close().await;
}
