//! What no buyer should send: refused with the right code, and nothing is sold by it.

use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use uuid::Uuid;

use crate::fixture::{PURCHASE, SOON, Shop, assert_problem};

/// Bodies that make no sense, with the code each is refused by and a word that the message has.
fn senseless(sale: &str) -> Vec<(Vec<u8>, &'static str, &'static str)> {
    let text = |body: String, code, word| (body.into_bytes(), code, word);
    let user = |id: &str, word| text(json!({ "saleId": sale, "userId": id }).to_string(), "INVALID_FIELD", word);
    let raw = |body: &str, code, word| text(body.replace("SALE", sale), code, word);
    let mut invalid_utf8 = format!(r#"{{"saleId":"{sale}","userId":""#).into_bytes();
    invalid_utf8.extend(b"\xff\xfe\"}");
    vec![
        raw("", "INVALID_BODY", "EOF"),
        raw("null", "INVALID_BODY", "null"),
        raw("[]", "INVALID_BODY", "length"),
        raw("buy", "INVALID_BODY", "expected"),
        raw(r#"{"saleId":"SALE","userId":"ann""#, "INVALID_BODY", "EOF"),
        raw(r#"{"saleId":"SALE","userId":"ann"} {}"#, "INVALID_BODY", "trailing"),
        raw(r#"{"saleId":"SALE","userId":"ann","userId":"bob"}"#, "INVALID_BODY", "duplicate field"),
        raw(r#"{"saleId":7,"userId":"ann"}"#, "INVALID_BODY", "invalid type"),
        raw(r#"{"saleId":"SALE","userId":7}"#, "INVALID_BODY", "invalid type"),
        raw(r#"{"saleId":"SALE","userId":{"id":"ann"}}"#, "INVALID_BODY", "invalid type"),
        raw(r#"{"saleId":"SALE","userId":"\ud800"}"#, "INVALID_BODY", "escape"),
        raw(&"[".repeat(4_000), "INVALID_BODY", ""),
        (invalid_utf8, "INVALID_BODY", "unicode"),
        raw("{}", "INVALID_FIELD", "saleId is missing"),
        raw(r#"{"userId":"ann"}"#, "INVALID_FIELD", "saleId is missing"),
        raw(r#"{"saleId":null,"userId":"ann"}"#, "INVALID_FIELD", "saleId is missing"),
        raw(r#"{"saleId":"","userId":"ann"}"#, "INVALID_FIELD", "saleId must be a UUID"),
        raw(r#"{"saleId":"SALE0","userId":"ann"}"#, "INVALID_FIELD", "saleId must be a UUID"),
        raw(r#"{"saleId":"{SALE}","userId":"ann"}"#, "INVALID_FIELD", "saleId must be a UUID"),
        raw(r#"{"saleId":"urn:uuid:SALE","userId":"ann"}"#, "INVALID_FIELD", "saleId must be a UUID"),
        raw(r#"{"saleId":"SALE"}"#, "INVALID_FIELD", "userId is missing"),
        raw(r#"{"saleId":"SALE","userId":null}"#, "INVALID_FIELD", "userId is missing"),
        user("", "userId must not be empty"),
        user(&"u".repeat(129), "userId must have at most 128 characters"),
        user(&"é".repeat(129), "userId must have at most 128 characters"),
        user("a\0", "userId must not contain control characters"),
        user("ann\r\nX-Admin: yes", "userId must not contain control characters"),
        user("\u{7f}", "userId must not contain control characters"),
        user("\u{85}", "userId must not contain control characters"),
    ]
}

#[tokio::test]
async fn a_body_that_makes_no_sense_is_a_bad_request_that_says_why_and_sells_nothing() {
    let shop = Shop::with_stock(1).await;
    for (body, code, word) in senseless(&shop.sale.to_string()) {
        let shown = String::from_utf8_lossy(&body).into_owned();
        let answer = shop.post(body).await;
        assert_problem(&answer, 400, code);
        assert_eq!(answer.body["instance"], PURCHASE);
        assert!(answer.body["message"].as_str().unwrap().contains(word), "{shown}: {answer:?}");
    }
    let books = shop.client().verify(shop.sale).await;
    assert_eq!((&books.body["books"]["available"], &books.body["ok"]), (&json!(1), &json!(true)));
    shop.close([]).await;
}

#[tokio::test]
async fn odd_but_sensible_input_buys() {
    let shop = Shop::with_stock(10).await;
    let sale = shop.sale;
    for user in ["u".repeat(128), "é".repeat(128), "𝄞".repeat(128), "{a}:b *?[x] 'q' \"q\" \\ %".to_owned()] {
        shop.buy(&user).await;
        assert_eq!(shop.click(&user).await.outcome(), "ALREADY_PURCHASED", "{user}");
    }
    for body in [
        json!({ "saleId": sale, "userId": "more", "coupon": [1, 2], "quantity": null }).to_string(),
        format!(" {{ \"userId\" : \"esc\\u0061ped\" ,\n\"saleId\" : \"{}\" }} ", sale.to_string().to_uppercase()),
    ] {
        assert_eq!(shop.post(body).await.outcome(), "SUCCESS");
    }
    assert_eq!(shop.click("escaped").await.outcome(), "ALREADY_PURCHASED");
    let persister = shop.stack.persister();
    let books = shop.stack.settled(shop.client(), sale).await;
    assert_eq!(books.body["books"]["sold"], 6);
    shop.close([persister]).await;
}

/// Sends a click whose body comes in chunks of no announced number, and gives the raw answer.
async fn post_chunked(shop: &Shop, chunks: &[String]) -> String {
    let address = shop.client().url().strip_prefix("http://").unwrap();
    let mut connection = TcpStream::connect(address).await.unwrap();
    let head = "HTTP/1.1\r\nconnection: close\r\ntransfer-encoding: chunked\r\ncontent-type: application/json";
    let mut request = format!("POST {PURCHASE} {head}\r\nhost: {address}\r\n\r\n");
    for chunk in chunks {
        request += &format!("{:x}\r\n{chunk}\r\n", chunk.len());
    }
    connection.write_all((request + "0\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(SOON, connection.read_to_string(&mut answer)).await.expect("an answer in time").unwrap();
    answer
}

#[tokio::test]
async fn a_body_beyond_4_kib_is_too_large_and_one_just_below_is_read() {
    let shop = Shop::with_stock(1).await;
    let padded = |length: usize| {
        let body = json!({ "saleId": shop.sale, "userId": "ann" }).to_string();
        format!("{body:length$}")
    };
    assert_problem(&shop.post(padded(4_097)).await, 413, "BODY_TOO_LARGE");
    // Without a length in the head: the bytes themselves are counted.
    let answer = post_chunked(&shop, &[padded(4_000), padded(4_000)]).await;
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains(r#""code":"BODY_TOO_LARGE""#), "{answer}");
    let small = json!({ "saleId": shop.sale, "userId": "" }).to_string();
    let answer = post_chunked(&shop, &[small]).await;
    assert!(answer.contains("userId must not be empty"), "chunks are read: {answer}");
    assert_eq!(shop.post(padded(4_096)).await.outcome(), "SUCCESS");
    shop.close([]).await;
}

#[tokio::test]
async fn a_path_or_a_method_that_nothing_answers_is_a_problem_too() {
    let shop = Shop::with_stock(1).await;
    let sale = shop.sale;
    for path in ["/api/v1/sale", "/api/v1/sales/", "/api/v2/sales", "/api/v1/sale/purchase/x", "/%00", "/.env"] {
        let answer = shop.client().get(path).await;
        assert_problem(&answer, 404, "NO_SUCH_ROUTE");
        assert_eq!(answer.body["instance"], path);
    }
    let status = format!("/api/v1/sale/{sale}/status");
    for (method, path) in [
        (Method::GET, PURCHASE),
        (Method::PUT, PURCHASE),
        (Method::DELETE, PURCHASE),
        (Method::POST, "/api/v1/sales"),
        (Method::POST, "/health"),
        (Method::PATCH, &status),
    ] {
        let answer = shop.client().send(shop.client().request(method, path)).await;
        assert_problem(&answer, 405, "METHOD_NOT_ALLOWED");
        assert!(answer.headers.contains_key("allow"), "RFC 9110, 15.5.6: {answer:?}");
    }
    shop.close([]).await;
}

#[tokio::test]
async fn ids_in_paths_are_checked_as_those_in_bodies_are() {
    let shop = Shop::with_stock(1).await;
    let (sale, unknown) = (shop.sale, Uuid::new_v4());
    let long = "u".repeat(129);
    for (path, status, code) in [
        ("/api/v1/sale/7/status".to_owned(), 400, "INVALID_FIELD"),
        ("/api/v1/sale/7/user/ann/purchase".to_owned(), 400, "INVALID_FIELD"),
        (format!("/api/v1/sale/{unknown}/status"), 404, "SALE_NOT_FOUND"),
        (format!("/api/v1/sale/{unknown}/user/ann/purchase"), 404, "SALE_NOT_FOUND"),
        (format!("/api/v1/sale/{sale}/user/{long}/purchase"), 400, "INVALID_FIELD"),
        (format!("/api/v1/sale/{sale}/user/a%0Ab/purchase"), 400, "INVALID_FIELD"),
        (format!("/api/v1/sale/{sale}/user/%C2%85/purchase"), 400, "INVALID_FIELD"),
        (format!("/api/v1/sale/{sale}/user//purchase"), 404, "NO_SUCH_ROUTE"),
    ] {
        assert_problem(&shop.client().get(&path).await, status, code);
    }
    shop.close([]).await;
}
