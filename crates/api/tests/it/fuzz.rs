//! Arbitrary requests: never a 5xx but the one that asks to try again, never a hang, never a panic, always a problem document, and the books stay right.
//!
//! Each run draws other requests; one that fails is made as small as possible and printed.

use std::cell::RefCell;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use testkit::{ADMIN_TOKEN, Answer};
use tokio::io::AsyncWriteExt;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use crate::fixture::{PURCHASE, Shop, assert_problem};
use crate::wire::Line;

/// Nothing that is asked here needs longer, on a busy machine either.
const BOUND: Duration = Duration::from_secs(4);

/// A shop to attack, and the orders it promised meanwhile.
struct Range {
    runtime: Runtime,
    shop: Shop,
    promised: RefCell<Vec<(String, String)>>,
}

impl Range {
    fn open() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let shop = runtime.block_on(Shop::with_stock(100_000));
        Self { runtime, shop, promised: RefCell::default() }
    }

    /// Has `attack` face so many of these requests.
    fn fire<S: Strategy>(&self, cases: u32, requests: &S, attack: &impl AsyncFn(&Self, S::Value)) {
        let settings = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
        let result = TestRunner::new(settings).run(requests, |request| {
            let attack = async { timeout(BOUND, attack(self, request)).await.expect("no request hangs") };
            self.runtime.block_on(attack);
            Ok(())
        });
        result.unwrap();
    }

    /// Whatever came before: the API has not panicked, a good purchase works, and the books are right.
    fn close(self) {
        self.runtime.block_on(async {
            let persister = self.shop.stack.persister();
            let order = self.shop.buy("a buyer with good manners").await;
            let mut promised = self.promised.into_inner();
            promised.push(("a buyer with good manners".to_owned(), order));
            self.shop.check_books(&promised).await;
            let log = self.shop.api.process.log();
            for word in ["panicked", "Internal server error", r#""level":"ERROR""#] {
                assert!(!log.contains(word), "{log}");
            }
            self.shop.close([persister]).await;
        });
    }
}

/// A number that a computer may get wrong.
fn edge() -> BoxedStrategy<String> {
    let known = ["0", "-0", "-1", "1.0", "1e0", "0.1e1", "65535", "65536", "4294967295", "4294967296", "4294967297"];
    let huge = ["9223372036854775808", "18446744073709551616", "1e400", "-1e400", "1E-999", "00", "01", "+1", "NaN"];
    prop_oneof![
        prop::sample::select([known.as_slice(), &huge].concat()).prop_map(str::to_owned),
        any::<f64>().prop_map(|n| n.to_string())
    ]
    .boxed()
}

/// Texts that someone takes for more than text.
const NASTY: &[&str] = &[
    "",
    " ",
    "\0",
    "a\0b",
    "a\r\nb: c",
    "{",
    "}",
    "{}",
    "{0}",
    "a:b",
    "sale:{x}:1:gate",
    "%00",
    "%2e%2e",
    "../..",
    "'; DROP TABLE orders; --",
    "\"",
    "\\",
    "\u{feff}",
    "\u{202e}",
    "\u{200b}",
    "\u{7f}",
    "\u{ffff}",
    "e\u{301}",
    "🛒",
    "true",
    "null",
    "-1",
    "*",
    "$1",
    "${jndi:x}",
];

/// What a string may hold.
fn text() -> BoxedStrategy<String> {
    prop_oneof![
        3 => prop::sample::select(NASTY).prop_map(str::to_owned),
        2 => any::<String>(),
        1 => (any::<char>(), 120..140_usize).prop_map(|(c, n)| c.to_string().repeat(n)),
    ]
    .boxed()
}

fn any_json() -> BoxedStrategy<String> {
    let quoted = text().prop_map(|text| Value::from(text).to_string()).boxed();
    let leaf = prop_oneof![
        edge(),
        quoted.clone(),
        prop::sample::select(["null", "true", "{}", "[]"].as_slice()).prop_map(str::to_owned)
    ];
    leaf.prop_recursive(5, 40, 5, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(|all| format!("[{}]", all.join(","))),
            vec((quoted.clone(), inner.clone()), 0..5).prop_map(|all| format!(
                "{{{}}}",
                all.iter().map(|(k, v)| format!("{k}:{v}")).collect::<Vec<_>>().join(",")
            )),
            (inner, 1..200_usize)
                .prop_map(|(inner, deep): (String, usize)| "[".repeat(deep) + &inner + &"]".repeat(deep)),
        ]
    })
    .boxed()
}

/// A body: bytes, or JSON, or something that is nearly a click for this sale.
fn body(sale: &str) -> impl Strategy<Value = Vec<u8>> + use<> {
    let right = json!({ "saleId": sale, "userId": "ann", "quantity": 1 }).to_string().into_bytes();
    let sale = Value::from(sale).to_string();
    let value = prop_oneof![any_json(), edge(), text().prop_map(|text| Value::from(text).to_string())];
    let key = prop::sample::select(["saleId", "userId", "quantity", "saleid", "force", "__proto__", ""].as_slice());
    let fields = vec((key, value.clone()), 0..4);
    let nearly = (value, fields).prop_map(move |(user, more)| {
        let more: String = more.iter().map(|(key, value)| format!(r#","{key}":{value}"#)).collect();
        format!(r#"{{"saleId":{sale},"userId":{user}{more}}}"#).into_bytes()
    });
    let bent = (vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)).prop_map(move |changes| {
        let mut bent = right.clone();
        changes.iter().for_each(|(place, byte)| *place.get_mut(&mut bent) = *byte);
        bent
    });
    prop_oneof![
        4 => nearly,
        2 => bent,
        2 => any_json().prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 0..6_000),
        1 => (any::<u8>(), 4_000..1_100_000_usize).prop_map(|(byte, length)| vec![byte; length]),
    ]
}

/// What is read of a body that bought.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Click {
    user_id: String,
}

/// Asserts that an answer is one that anybody may get for a click, and keeps what it promises.
fn judge_click(range: &Range, body: &[u8], answer: &Answer) {
    match answer.status.as_u16() {
        200 if answer.outcome() == "SUCCESS" => {
            let click: Click = serde_json::from_slice(body).expect("what buys names its buyer");
            range.promised.borrow_mut().push((click.user_id, answer.order_id().expect("an order").to_owned()));
        }
        200 => assert_eq!(answer.outcome(), "ALREADY_PURCHASED", "{answer:?}"),
        // A machine that is busy elsewhere for a moment.
        503 if answer.outcome() == "TRY_AGAIN" => assert_eq!(answer.headers["retry-after"], "1", "{answer:?}"),
        status => {
            assert!([400, 404, 413].contains(&status), "{answer:?}");
            assert_problem(answer, status, answer.body["code"].as_str().unwrap_or_default());
        }
    }
}

#[test]
fn no_body_and_no_header_of_a_click_breaks_anything() {
    let range = Range::open();
    let sale = range.shop.sale.to_string();
    let names = ["content-type", "content-encoding", "accept", "accept-encoding", "idempotency-key", "x-request-id"];
    let more = ["traceparent", "origin", "cookie", "if-match", "range", "te", "x-forwarded-for", "authorization"];
    let name = prop::sample::select([names.as_slice(), &more].concat());
    let value = prop_oneof![
        vec(prop_oneof![Just(b'\t'), b' '..=b'~', 0x80..=0xff_u8], 0..200),
        prop::sample::select(
            ["gzip", "br, gzip", "application/xml", "text/plain; charset=utf-16", "trailers"].as_slice()
        )
        .prop_map(|value| value.as_bytes().to_vec()),
    ];
    let requests = (body(&sale), vec((name, value), 0..4));
    range.fire(400, &requests, &async |range, (body, headers)| {
        let mut request = range.shop.client().request(Method::POST, PURCHASE).body(body.clone());
        for (name, value) in headers {
            request = request.header(name, value);
        }
        judge_click(range, &body, &range.shop.client().send(request).await);
    });
    range.close();
}

/// What the API says to these bytes, after which nothing more comes.
async fn say(range: &Range, request: &[u8]) -> String {
    let mut line = Line::to(range.shop.client()).await;
    // Where the API has heard enough it does not read on.
    let _ = line.0.write_all(request).await;
    let _ = line.0.shutdown().await;
    line.hear_out(BOUND).await
}

/// Whether this is the head of the answer that a busy machine may give.
fn asks_to_try_again(head: &str) -> bool {
    head.starts_with("HTTP/1.1 503 ") && head.to_lowercase().contains("\r\nretry-after: 1")
}

#[test]
fn no_path_breaks_anything_however_it_is_escaped() {
    let range = Range::open();
    let sale = range.shop.sale.to_string();
    let escaped = |byte: u8, way: u8| match way {
        0 if byte.is_ascii_graphic() && !b"#<>\"\\^`{|}".contains(&byte) => char::from(byte).to_string(),
        1 => format!("%{byte:02x}"),
        2 => format!("%25{byte:02X}"),
        3 => format!("%{:x}", byte & 15),
        _ => format!("%{byte:02X}"),
    };
    let part = (text(), vec(0..5_u8, 1..8))
        .prop_map(move |(text, ways)| {
            text.bytes().zip(ways.iter().cycle()).map(|(byte, way)| escaped(byte, *way)).collect::<String>()
        })
        .boxed();
    let sale_part = prop_oneof![Just(sale), part.clone()];
    let shape = prop::sample::select(
        [
            "/api/v1/sale/A/status",
            "/api/v1/sale/A/user/B/purchase",
            "/api/v1/admin/sales/A/verify",
            "/A",
            "/api/v1/A/B?B=A",
        ]
        .as_slice(),
    );
    let requests = (shape, sale_part, part, any::<bool>());
    range.fire(500, &requests, &async |range, (shape, first, second, operator)| {
        let path = shape.replace('B', "\0").replace('A', &first).replace('\0', &second);
        let token = if operator { format!("authorization: Bearer {ADMIN_TOKEN}\r\n") } else { String::new() };
        let head = format!("GET {path} HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n{token}\r\n");
        let said = say(range, head.as_bytes()).await;
        let (head, body) = said.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{path:?}: {said:?}"));
        let status = head.split(' ').nth(1).unwrap();
        let fine = ["200", "400", "401", "404", "405"].contains(&status) || asks_to_try_again(head);
        assert!(fine, "{path:?}: {said}");
        if status == "200" && head.contains("content-type: text/html") {
            return;
        }
        let body: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error} {path:?}: {said}"));
        assert!(status == "200" || body["statusCode"].as_u64() == status.parse().ok(), "{path:?}: {said}");
    });
    range.close();
}

/// Pieces of HTTP.
const WORDS: &[&str] = &[
    " ",
    "  ",
    "\r\n",
    "\n",
    "\r",
    ":",
    "\0",
    "\u{ff}",
    "\r\n\r\n",
    "0\r\n\r\n",
    "5\r\nhello\r\n",
    "5\r\n",
    "ffffffffffffffff\r\n",
    "hello",
    "{\"a\":",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "GET /livez HTTP/1.1\r\nhost: shop\r\n\r\n",
    "POST /api/v1/sale/purchase HTTP/1.1\r\nhost: shop\r\n",
];
const METHODS: &[&str] = &["GET", "POST", "HEAD", "OPTIONS", "CONNECT", "PUT", "get", "PRI", "A B", ""];
const TARGETS: &[&str] = &[
    "/",
    "/livez",
    PURCHASE,
    "/api/v1/sales",
    "*",
    "http://shop/livez",
    "shop:80",
    "//livez",
    "/livez?%",
    "/livez#a",
    "",
];
const VERSIONS: &[&str] = &["HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/0.9", "http/1.1", ""];
const HEADERS: &[&str] = &[
    "host: shop",
    "host:",
    "content-length: 5",
    "content-length: 0",
    "content-length: 99999999999999999999",
    "content-type: application/json",
    "transfer-encoding: chunked",
    "transfer-encoding: gzip, chunked",
    "expect: 100-continue",
    "expect: 200-ok",
    "connection: close",
    "connection: keep-alive, upgrade",
    "upgrade: websocket",
    "upgrade: h2c",
    "http2-settings: AAMAAABkAAQAAP__",
    "origin: https://evil.example",
    "access-control-request-method: POST",
    "range: bytes=0-0,5-1",
    "x: \u{80}",
    ": nameless",
];

/// Several requests on one connection, each more or less HTTP.
fn conversation() -> impl Strategy<Value = Vec<u8>> {
    let one_of = |words: &'static [&'static str]| prop::sample::select(words);
    let head = (one_of(METHODS), one_of(TARGETS), one_of(VERSIONS), vec(one_of(HEADERS), 0..5));
    let request = (head, vec(one_of(WORDS), 0..4)).prop_map(|((method, target, version, headers), rest)| {
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        format!("{method} {target} {version}\r\n{headers}\r\n{}", rest.concat()).into_bytes()
    });
    prop_oneof![
        3 => vec(request, 1..4).prop_map(|requests| requests.concat()),
        1 => vec(one_of(WORDS), 1..24).prop_map(|words| words.concat().into_bytes()),
        1 => vec(any::<u8>(), 1..300),
    ]
}

#[test]
fn no_bytes_break_anything() {
    let range = Range::open();
    range.fire(500, &conversation(), &async |range, request| {
        let said = say(range, &request).await;
        for head in said.split("\r\n\r\n").filter_map(|part| part.find("HTTP/1.").map(|at| &part[at..])) {
            let status = head.split(' ').nth(1).unwrap();
            let fine = !status.starts_with('5') || asks_to_try_again(head);
            assert!(fine, "{}: {said}", request.escape_ascii());
        }
    });
    range.close();
}
