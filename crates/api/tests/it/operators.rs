//! Every operator's route is closed to everyone without the operator's token. Which routes there are is asked of the
//! API itself, so that a new one is in here without anybody's doing.

use domain::{Epoch, Quantity, Reservation, ReservationBatch, ReservationId};
use ledger::DeadLetter;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use testkit::{ADMIN_TOKEN, Answer, Client};

use crate::fixture::{Shop, assert_problem};
use crate::routes::{NO_LETTER, Route, listed};
use crate::wire::Line;

/// A user's token as an identity provider signs it: not the operator's, however valid.
const JWT: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbm4iLCJyb2xlIjoiYWRtaW4iLCJhZG1pbiI6dHJ1ZX0.\
                   5mhBHqs5_DTLdINd9p5m7ZJ6XD0Xc55kIaCRY5r6HRA";

/// Sends an operator's request, which would reset the sale, with these headers.
async fn ask(client: &Client, method: &Method, path: &str, sale: &str, headers: HeaderMap) -> Answer {
    let body = json!({ "saleId": sale, "force": true, "reason": "a test" });
    client.send(client.request(method.clone(), path).headers(headers).json(&body)).await
}

/// Headers of these names and values; a name may come twice.
fn headers<'a>(all: impl IntoIterator<Item = (&'a str, &'a str)>) -> HeaderMap {
    let parse = |(name, value): (&'a str, &'a str)| {
        (name.parse::<HeaderName>().unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap())
    };
    all.into_iter().fold(HeaderMap::new(), |mut map, header| {
        let (name, value) = parse(header);
        map.append(name, value);
        map
    })
}

/// Every way not to be the operator, in headers.
fn strangers() -> Vec<HeaderMap> {
    let (prefix, right) = (&ADMIN_TOKEN[..ADMIN_TOKEN.len() - 1], format!("Bearer {ADMIN_TOKEN}"));
    let mut wrong = vec![HeaderMap::new()];
    for value in [
        "",
        "Bearer",
        "Bearer ",
        ADMIN_TOKEN,
        &format!("Basic {ADMIN_TOKEN}"),
        &format!("Token {ADMIN_TOKEN}"),
        &format!("Bearer{ADMIN_TOKEN}"),
        &format!("Bearer  {ADMIN_TOKEN}"),
        &format!("Bearer\t{ADMIN_TOKEN}"),
        &format!("Bearer {prefix}"),
        &format!("{right}s"),
        &format!("{right},"),
        &format!("{right}, {right}"),
        &format!("{right} {ADMIN_TOKEN}"),
        &format!("{right}\u{a0}"),
        &format!("Bearer {}", ADMIN_TOKEN.to_uppercase()),
        &format!("Bearer \"{ADMIN_TOKEN}\""),
        &format!("Bearer {}", "x".repeat(ADMIN_TOKEN.len())),
        &format!("Bearer {}", "x".repeat(10_000)),
        &format!("Bearer {JWT}"),
        &format!("Bearer {}.{JWT}", ADMIN_TOKEN),
    ] {
        wrong.push(headers([("authorization", value)]));
    }
    let twice = |first, second| headers([("authorization", first), ("authorization", second)]);
    wrong.extend([twice(&right, "Bearer nobody"), twice("Bearer nobody", &right), twice(&right, &right)]);
    for name in ["proxy-authorization", "x-authorization", "x-admin-token", "x-api-key", "x-forwarded-authorization"] {
        wrong.push(headers([(name, right.as_str()), ("x-forwarded-for", "127.0.0.1"), ("x-original-url", "/livez")]));
    }
    wrong.push(headers([("cookie", &*format!("authorization={right}; token={ADMIN_TOKEN}"))]));
    wrong
}

/// The operators' routes of this API, filled in for a sale, and some paths below theirs that nothing answers: whoever
/// has no token learns nothing of which there are.
async fn operators_routes(shop: &Shop) -> Vec<Route> {
    let listed = listed(&shop.stack).await;
    let mut routes: Vec<Route> = listed.into_iter().filter(|route| route.access == "operators").collect();
    assert!(routes.iter().any(|route| route.path == "/api/v1/admin/reset"), "they are listed");
    for (method, path) in [
        (Method::GET, "/api/v1/admin/nothing/here"),
        (Method::GET, "/api/v1/admin/reset"),
        (Method::GET, "/api/v1/admin/sales/7/verify"),
        (Method::DELETE, "/api/v1/admin/"),
    ] {
        routes.push(Route { method, path: path.to_owned(), access: "operators".to_owned() });
    }
    routes
}

/// The body of a refusal without what tells one request from another.
fn refusal(answer: &Answer) -> Value {
    assert_problem(answer, 401, "UNAUTHORIZED");
    assert_eq!(answer.headers["www-authenticate"], "Bearer");
    let mut body = answer.body.clone();
    for field in ["instance", "requestId"] {
        body.as_object_mut().unwrap().remove(field);
    }
    body
}

/// Buries a reservation of a unit; the letter's id. It can be discarded and redriven.
async fn bury(shop: &Shop) -> String {
    let id = ReservationId::new_v7(boot::clock::now_ms(), &[7; 10]);
    let user_id = "cid".parse().unwrap();
    let reservation = Reservation { id, user_id, quantity: Quantity::ONE, reserved_at: 0, outbox_id: None };
    let terms = shop.stack.sale(shop.sale).await.terms;
    let batch = ReservationBatch { sale_id: shop.sale, epoch: Epoch(1), terms, reservations: vec![reservation] };
    let letter = DeadLetter::of(&batch, &batch.reservations[0], "a test".to_owned());
    shop.stack.ledger.bury(&letter).await.unwrap();
    shop.stack.ledger.dead_letter_of(id).await.unwrap().expect("it is buried").id.to_string()
}

/// Everything about the sale that a request may change, and the dead letters.
async fn state(shop: &Shop) -> [Value; 4] {
    let client = shop.client();
    [
        format!("{:?}", shop.stack.sale(shop.sale).await).into(),
        client.verify(shop.sale).await.body,
        client.purchase_of(shop.sale, "ann").await.body,
        client.get_as_operator("/api/v1/admin/dead-letters").await.body,
    ]
}

#[tokio::test]
async fn an_operators_route_is_closed_without_the_token_and_with_anything_but_the_token() {
    let shop = Shop::with_stock(2).await;
    shop.buy("ann").await;
    let letter = bury(&shop).await;
    let (before, sale) = (state(&shop).await, shop.sale.to_string());
    assert!(before[3].to_string().contains(&letter), "{before:?}");
    let mut bodies = Vec::new();
    for route in operators_routes(&shop).await {
        let path = route.filled(&sale, &letter);
        for headers in strangers() {
            bodies.push(refusal(&ask(shop.client(), &route.method, &path, &sale, headers).await));
        }
        for query in [format!("?token={ADMIN_TOKEN}"), format!("?authorization=Bearer%20{ADMIN_TOKEN}&access_token=a")]
        {
            let path = path.clone() + &query;
            bodies.push(refusal(&ask(shop.client(), &route.method, &path, &sale, HeaderMap::new()).await));
        }
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "all are refused with the same words: {bodies:#?}");
    assert_eq!(state(&shop).await, before, "no refused request has done anything");
    shop.close([]).await;
}

#[tokio::test]
async fn a_token_with_bytes_that_no_header_may_have_is_refused_before_it_is_read() {
    let shop = Shop::with_stock(1).await;
    for (end, status) in [("\0", "400"), ("\x01", "400"), ("\u{80}", "401"), ("\n\tx", "400")] {
        let mut line = Line::to(shop.client()).await;
        let head = "POST /api/v1/admin/reset HTTP/1.1\r\nhost: shop\r\nconnection: close\r\ncontent-length: 0\r\n";
        line.say(format!("{head}authorization: Bearer {ADMIN_TOKEN}{end}\r\n\r\n")).await;
        let said = line.hear_out(crate::fixture::SOON).await;
        assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{end:?}: {said}");
    }
    shop.close([]).await;
}

#[tokio::test]
async fn with_the_token_every_route_answers_and_the_schemes_case_does_not_matter() {
    let shop = Shop::with_stock(1).await;
    let (sale, routes) = (shop.sale.to_string(), listed(&shop.stack).await);
    for scheme in ["Bearer", "bearer", "BEARER"] {
        // Spaces around a header's value are not part of it: RFC 9110, 5.5.
        let right = format!(" {scheme} {ADMIN_TOKEN} ");
        for route in routes.iter().filter(|route| route.access == "operators") {
            let path = route.filled(&sale, NO_LETTER);
            let answer = ask(shop.client(), &route.method, &path, &sale, headers([("authorization", &*right)])).await;
            let closed = [StatusCode::UNAUTHORIZED, StatusCode::METHOD_NOT_ALLOWED, StatusCode::INTERNAL_SERVER_ERROR];
            assert!(!closed.contains(&answer.status), "{} {path}: {answer:?}", route.method);
        }
        for (path, status) in [("sales/7/verify", 400), ("nothing/here", 404), ("", 404)] {
            let path = format!("/api/v1/admin/{path}");
            let answer = ask(shop.client(), &Method::GET, &path, &sale, headers([("authorization", &*right)])).await;
            assert_eq!(answer.status, status, "{path}: {answer:?}");
        }
    }
    shop.close([]).await;
}

#[tokio::test]
async fn a_path_that_only_looks_like_an_operators_route_reaches_nothing() {
    let shop = Shop::with_stock(1).await;
    shop.buy("ann").await;
    let sale = shop.sale.to_string();
    for path in [
        "/api/v1//admin/reset",
        "/api/v1/ADMIN/reset",
        "/api/v1/sale/%2e%2e/admin/reset",
        "/api/v1/sale/..%2fadmin/reset",
        "/api/v1/%61dmin/reset",
        "/api/v1/admin%2freset",
        "/api/v1/admin;x/reset",
        "/admin/reset",
    ] {
        let answer = ask(shop.client(), &Method::POST, path, &sale, HeaderMap::new()).await;
        assert!([401, 404].contains(&answer.status.as_u16()), "{path}: {answer:?}");
    }
    assert_eq!(shop.click("ann").await.outcome(), "ALREADY_PURCHASED");
    shop.close([]).await;
}

#[tokio::test]
async fn an_api_that_was_told_to_run_without_a_token_refuses_every_operator() {
    let shop = Shop::with_stock(1).await;
    let none = [("FLASHSALE__API__ADMIN_TOKEN", ""), ("FLASHSALE__API__ALLOW_NO_ADMIN_TOKEN", "true")];
    let api = shop.stack.api_with(&none).await;
    let sale = shop.sale.to_string();
    for route in operators_routes(&shop).await {
        for headers in strangers().into_iter().chain([headers([("authorization", &*format!("Bearer {ADMIN_TOKEN}"))])])
        {
            let answer = ask(&api.client, &route.method, &route.filled(&sale, NO_LETTER), &sale, headers).await;
            assert_problem(&answer, 401, "UNAUTHORIZED");
        }
    }
    assert_eq!(api.client.purchase(shop.sale, "ann").await.outcome(), "SUCCESS", "buyers are served");
    drop(api);
    shop.close([]).await;
}
