//! HTTP that no sane client speaks: what decides where a request ends must never be in doubt.

use serde_json::{Value, json};

use crate::fixture::{PURCHASE, SOON, Shop};
use crate::wire::{Line, click_head};

/// The statuses of all answers in what was said.
fn statuses(said: &str) -> Vec<&str> {
    said.match_indices("HTTP/1.").map(|(at, _)| said[at..].split(' ').nth(1).unwrap()).collect()
}

/// What the API says to these bytes until it closes the connection, or to the end of this many answers.
async fn said_to(shop: &Shop, request: impl AsRef<[u8]>) -> String {
    let mut line = Line::to(shop.client()).await;
    line.say(request).await;
    line.hear_out(SOON).await
}

#[tokio::test]
async fn a_request_whose_end_is_in_doubt_is_refused_and_nothing_behind_it_is_read() {
    let shop = Shop::with_stock(5).await;
    let click = json!({ "saleId": shop.sale, "userId": "smuggler" }).to_string();
    let hidden = format!("{}connection: close\r\n\r\n{click}", click_head(Some(click.len())));
    let head = format!("POST {PURCHASE} HTTP/1.1\r\nhost: shop\r\n");
    let both = "content-length: 5\r\ntransfer-encoding: chunked\r\n";
    for doubt in [
        format!("{both}\r\n0\r\n\r\n"),
        "transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n".to_owned(),
        "content-length: 0\r\ncontent-length: 500\r\n\r\n".to_owned(),
        "content-length: 5, 5\r\n\r\nhello".to_owned(),
        "content-length: +5\r\n\r\nhello".to_owned(),
        "content-length: -5\r\n\r\n".to_owned(),
        "content-length: 0x5\r\n\r\nhello".to_owned(),
        "content-length: 5 5\r\n\r\nhello".to_owned(),
        "content-length: \r\n\r\n".to_owned(),
        "content-length: 18446744073709551616\r\n\r\n".to_owned(),
        "transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n".to_owned(),
        "transfer-encoding: xchunked\r\n\r\n0\r\n\r\n".to_owned(),
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
        "transfer-encoding : chunked\r\n\r\n0\r\n\r\n".to_owned(),
        " transfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
        "transfer-encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n".to_owned(),
        "transfer-encoding: chunked\r\n\r\n-1\r\n".to_owned(),
        "transfer-encoding: chunked\r\n\r\n5\nhello\n0\n\n".to_owned(),
    ] {
        let said = said_to(&shop, format!("{head}{doubt}{hidden}")).await;
        assert_eq!(statuses(&said), ["400"], "{doubt:?}: {said}");
    }
    let books = shop.client().verify(shop.sale).await;
    assert_eq!((&books.body["books"]["available"], &books.body["ok"]), (&json!(5), &json!(true)), "nothing was sold");
    shop.close([]).await;
}

#[tokio::test]
async fn a_head_that_is_no_http_1_or_too_large_is_refused_and_the_connection_closes() {
    let shop = Shop::with_stock(1).await;
    let long = "a".repeat(200_000);
    let many: String = (0..200).map(|n| format!("x-{n}: y\r\n")).collect();
    for (request, status) in [
        ("GET /livez\r\n\r\n".to_owned(), "400"),
        ("GET /livez HTTP/9.9\r\n\r\n".to_owned(), "400"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), "400"),
        ("\x16\x03\x01\x02\x00\x01\x00\x01\u{fc}\x03\x03".to_owned(), "400"),
        ("GET /livez HTTP/1.1\r\nhost: shop\r\nx: a\r\n b\r\n\r\n".to_owned(), "400"),
        ("GET /livez HTTP/1.1\r\nhost: shop\r\nx: a\0b\r\n\r\n".to_owned(), "400"),
        (format!("GET /livez HTTP/1.1\r\nhost: shop\r\n{many}\r\n"), "431"),
        (format!("GET /livez?{long} HTTP/1.1\r\nhost: shop\r\n\r\n"), "431"),
        (format!("GET /livez HTTP/1.1\r\nhost: shop\r\nx: {long}\r\n\r\n"), "431"),
    ] {
        let said = said_to(&shop, &request).await;
        assert_eq!(statuses(&said), [status], "{}: {said}", &request[..request.len().min(60)].escape_debug());
    }
    shop.close([]).await;
}

#[tokio::test]
async fn requests_in_a_row_are_answered_in_a_row_and_http_1_0_is_understood() {
    let shop = Shop::with_stock(50).await;
    let body = |n: usize| json!({ "saleId": shop.sale, "userId": format!("user-{n}") }).to_string();
    let click = |n: usize| format!("{}x-request-id: id-{n}\r\n\r\n{}", click_head(Some(body(n).len())), body(n));
    let last = "GET /livez HTTP/1.1\r\nhost: shop\r\nx-request-id: id-50\r\nconnection: close\r\n\r\n";
    let said = said_to(&shop, (0..50).map(click).collect::<String>() + last).await;
    assert_eq!(statuses(&said), ["200"; 51], "{said}");
    let ids: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("x-request-id: ")).collect();
    assert_eq!(ids, (0..=50).map(|n| format!("id-{n}")).collect::<Vec<_>>());
    assert_eq!(said.matches(r#""status":"SUCCESS""#).count(), 50);

    let said = said_to(&shop, "GET /livez HTTP/1.0\r\n\r\n").await;
    assert_eq!(statuses(&said), ["200"], "{said}");
    let old = format!("POST {PURCHASE} HTTP/1.0\r\ncontent-length: {}\r\n\r\n{}", body(0).len(), body(0));
    assert!(said_to(&shop, old).await.contains("ALREADY_PURCHASED"));
    shop.close([]).await;
}

#[tokio::test]
async fn a_compressed_body_is_not_unpacked() {
    let shop = Shop::with_stock(1).await;
    // A gigabyte of spaces begins like this; unpacked, it would pass the limit of a body many times over.
    let bomb = [&b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03"[..], &[0xed, 0xc1, 0x01, 0x0d], &[0; 900]].concat();
    for encoding in ["gzip", "br", "deflate", "zstd", "gzip, gzip"] {
        let request = shop.client().request(reqwest::Method::POST, PURCHASE).header("content-encoding", encoding);
        let answer = shop.client().send(request.body(bomb.clone())).await;
        crate::fixture::assert_problem(&answer, 400, "INVALID_BODY");
    }
    shop.close([]).await;
}

#[tokio::test]
async fn every_answer_forbids_guessing_its_type_and_keeping_it_and_names_no_server() {
    let shop = Shop::with_stock(1).await;
    let status = format!("/api/v1/sale/{}/status", shop.sale);
    let verify = format!("/api/v1/admin/sales/{}/verify", shop.sale);
    let mut answers = vec![shop.click("ann").await, shop.click("bob").await, shop.post("{").await];
    for path in ["/livez", "/readyz", "/health", "/api/v1/sales", "/nothing", "/api/v1/admin/reset", &status] {
        answers.push(shop.client().get(path).await);
    }
    answers.push(shop.client().get_as_operator(&verify).await);
    for answer in answers {
        assert_eq!(answer.headers["x-content-type-options"], "nosniff", "{answer:?}");
        assert_eq!(answer.headers["cache-control"], "no-store", "{answer:?}");
        assert_ne!(answer.body, Value::Null, "JSON: {answer:?}");
        for tells in ["server", "x-powered-by", "via"] {
            assert!(!answer.headers.contains_key(tells), "{answer:?}");
        }
    }
    shop.close([]).await;
}
