//! What all answers have in common: the request's id, and one shape for every problem.

use std::collections::HashSet;
use std::time::Duration;

use domain::SaleId;
use futures_util::future::join_all;
use reqwest::Method;
use reqwest::header::HeaderValue;
use serde_json::json;
use testkit::{Answer, Client, Stack};
use tokio::time::timeout;
use uuid::Uuid;

use crate::fixture::{Shop, assert_problem};

async fn get_with_id(client: &Client, path: &str, id: &[u8]) -> Answer {
    let id = HeaderValue::from_bytes(id).unwrap();
    client.send(client.request(Method::GET, path).header("x-request-id", id)).await
}

#[tokio::test]
async fn a_sane_request_id_is_taken_over_and_any_other_is_replaced() {
    let shop = Shop::with_stock(1).await;
    let longest = "x".repeat(128);
    for id in ["1", "0b9f7c1e-27a4-4f4c-8f5a-5a3e9b0d8c11", "a:b/c=", &longest] {
        for path in ["/livez", "/nothing/here"] {
            assert_eq!(get_with_id(shop.client(), path, id.as_bytes()).await.headers["x-request-id"], id);
        }
    }
    let too_long = "x".repeat(129);
    for id in [b"".as_slice(), b"two words", b"tab\tbed", b"\xff\xfe", "ü".as_bytes(), too_long.as_bytes()] {
        for path in ["/livez", "/nothing/here"] {
            let answer = get_with_id(shop.client(), path, id).await;
            let ours = answer.headers["x-request-id"].to_str().unwrap();
            assert!(ours.len() == 32 && ours.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id:?}: {ours}");
        }
    }
    shop.close([]).await;
}

#[tokio::test]
async fn every_answer_has_a_request_id_of_its_own() {
    let shop = Shop::with_stock(1).await;
    let mut ids = HashSet::new();
    for _ in 0..10 {
        let status = format!("/api/v1/sale/{}/status", shop.sale);
        for path in ["/livez", "/readyz", "/health", "/api/v1/sales", &status, "/nothing", "/api/v1/admin/reset"] {
            let answer = shop.client().get(path).await;
            assert!(ids.insert(answer.headers["x-request-id"].clone()), "{path}: {answer:?}");
        }
        let answer = shop.click("ann").await;
        assert!(ids.insert(answer.headers["x-request-id"].clone()), "{answer:?}");
    }
    shop.close([]).await;
}

#[tokio::test]
async fn a_problem_names_the_path_it_is_about_and_the_reason_in_old_and_new_words() {
    let shop = Shop::with_stock(1).await;
    let answer = get_with_id(shop.client(), "/api/v1/sale/7/status?a=b", b"the-id").await;
    let expected = json!({
        "type": "about:blank", "title": "A field is missing or has a wrong value", "status": 400,
        "detail": "saleId must be a UUID", "instance": "/api/v1/sale/7/status", "code": "INVALID_FIELD",
        "requestId": "the-id", "statusCode": 400, "message": "saleId must be a UUID", "error": "Bad Request",
    });
    assert_problem(&answer, 400, "INVALID_FIELD");
    assert_eq!(answer.body, expected);
    shop.close([]).await;
}

#[tokio::test]
async fn an_api_without_its_database_says_unavailable_and_nothing_of_the_database() {
    let stack = Stack::new().await;
    let nowhere = "postgres://secret-user:secret-password@127.0.0.1:9/secret-database";
    let away = [("FLASHSALE__POSTGRES__URL", nowhere), ("FLASHSALE__POSTGRES__ACQUIRE_TIMEOUT_MS", "500")];
    let api = stack.listening_api(&away).await;
    let sale = Uuid::new_v4();
    for path in [
        "/api/v1/sales".to_owned(),
        format!("/api/v1/sale/{sale}/status"),
        format!("/api/v1/sale/{sale}/user/ann/purchase"),
        format!("/api/v1/admin/sales/{sale}/verify"),
    ] {
        let answer = api.client.get_as_operator(&path).await;
        assert_problem(&answer, 503, "UNAVAILABLE");
        assert_eq!(answer.headers["retry-after"], "1");
        assert_eq!(answer.body["message"], "Try again in a moment");
    }
    // Many who ask at once share one attempt: nobody waits for the timeouts of the others, half a second each.
    let crowd = join_all((0..40).map(|_| api.client.purchase(SaleId(Uuid::new_v4()), "ann")));
    for answer in timeout(Duration::from_secs(10), crowd).await.expect("nobody waits in a line") {
        assert_problem(&answer, 503, "UNAVAILABLE");
    }
    drop(api);
    stack.close().await;
}
