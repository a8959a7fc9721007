//! Clients that take their time: each costs a connection for a while, and nobody else anything.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::Client;
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;

use crate::fixture::{Shop, promised};
use crate::wire::{Line, click_head};

/// Longest that a slow client may hold its connection: 5 s, and some for a busy machine.
const ENDS: Duration = Duration::from_secs(20);
const DROP: Duration = Duration::from_millis(100);

/// An API that gives up a connection soon after its last answer.
const BRIEF: [(&str, &str); 1] = [("FLASHSALE__API__KEEP_ALIVE_SECONDS", "2")];

/// Asserts that an answer is the problem of a request that came in too slowly, on a connection that ends.
fn assert_too_slow(said: &str) {
    let (head, body) = said.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {said:?}"));
    assert!(head.starts_with("HTTP/1.1 408 Request Timeout"), "{said}");
    assert!(head.contains("connection: close"), "{said}");
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!((&body["code"], &body["status"]), (&json!("REQUEST_TIMEOUT"), &json!(408)), "{said}");
}

#[tokio::test]
async fn a_body_that_trickles_in_is_ended_with_a_problem_and_the_connection_closes() {
    let shop = Shop::with_stock(1).await;
    for (head, drops) in [(click_head(Some(4_000)), " "), (click_head(None), "1\r\n \r\n")] {
        let mut line = Line::to(shop.client()).await;
        line.say(head + "\r\n").await;
        let began = Instant::now();
        assert_too_slow(&line.drip(drops, DROP, ENDS).await);
        assert!(began.elapsed() >= Duration::from_secs(4), "a slow phone is given its time");
    }
    shop.buy("ann").await;
    shop.close([]).await;
}

#[tokio::test]
async fn a_first_head_that_trickles_in_is_ended() {
    let shop = Shop::with_stock(1).await;
    let mut line = Line::to(shop.client()).await;
    let said = line.drip("GET /livez HTTP/1.1\r\nx-a: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n", DROP, ENDS).await;
    assert!(said.starts_with("HTTP/1.1 408 Request Timeout"), "{said}");
    shop.close([]).await;
}

#[tokio::test]
async fn a_connection_ends_some_time_after_its_last_answer_whatever_its_client_still_sends() {
    let shop = Shop::with_stock(1).await;
    let api = shop.stack.api_with(&BRIEF).await;
    let get = "GET /livez HTTP/1.1\r\nhost: shop\r\n";
    // A second head without an end, a body that nobody reads, and one that a refusal has not waited for.
    let refused = "POST /api/v1/admin/reset HTTP/1.1\r\nhost: shop\r\ntransfer-encoding: chunked\r\n\r\n";
    for (first, drops, status) in [
        (format!("{get}\r\n{get}"), "x-a: aaaaaa\r\n", "200 OK"),
        (format!("{get}transfer-encoding: chunked\r\n\r\n"), "1\r\na\r\n", "200 OK"),
        (refused.to_owned(), "1\r\na\r\n", "401 Unauthorized"),
    ] {
        let mut line = Line::to(&api.client).await;
        line.say(&first).await;
        let said = line.drip(drops, DROP, ENDS).await;
        assert!(said.starts_with(&format!("HTTP/1.1 {status}")), "{first}: {said}");
        assert_eq!(said.matches("HTTP/1.1").count(), 1, "{said}");
    }
    drop(api);
    shop.close([]).await;
}

#[tokio::test]
async fn a_client_that_never_takes_its_answers_loses_its_connection() {
    let shop = Shop::with_stock(1).await;
    let api = shop.stack.api_with(&BRIEF).await;
    let mut line = Line::to(&api.client).await;
    let ask = "GET /api/v1/sales HTTP/1.1\r\nhost: shop\r\n\r\n".repeat(100);
    // As much as the API takes until it has to wait for us; then the wire breaks.
    let asked = tokio::time::timeout(ENDS, async { while line.0.write_all(ask.as_bytes()).await.is_ok() {} });
    asked.await.expect("the connection ends");
    shop.buy("ann").await;
    drop(api);
    shop.close([]).await;
}

/// Takes a connection as a slow attacker does, again and again, until the end of the test.
async fn attack(client: Client, number: usize) {
    loop {
        let mut line = Line::to(&client).await;
        let head = if number.is_multiple_of(2) { click_head(None) + "\r\n" } else { "GET / HTTP/1.1\r\n".to_owned() };
        let drops = if number.is_multiple_of(2) { "1\r\n \r\n" } else { "x-a: b\r\n" };
        line.say(head).await;
        line.drip(drops, Duration::from_millis(500), ENDS).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_500_slow_clients_hang_on_buyers_are_served_as_ever() {
    let shop = Shop::with_stock(10_000).await;
    let persister = shop.stack.persister();
    let mut attackers = JoinSet::new();
    for number in 0..500 {
        attackers.spawn(attack(shop.client().clone(), number));
    }
    let began = Instant::now();
    let (mut answers, mut took) = (Vec::new(), Vec::new());
    // Past the moment at which the first attackers are thrown out and come again.
    let mut pace = tokio::time::interval(Duration::from_millis(5));
    for number in 0.. {
        pace.tick().await;
        let (user, asked) = (format!("user-{number}"), Instant::now());
        let answer = shop.click(&user).await;
        took.push(asked.elapsed());
        answers.push((user, answer));
        if began.elapsed() > Duration::from_secs(8) {
            break;
        }
    }
    took.sort_unstable();
    let p99 = took[took.len() * 99 / 100];
    println!("{} clicks, p99 {p99:?}, longest {:?}", took.len(), took[took.len() - 1]);
    assert!(p99 < Duration::from_secs(1), "{} clicks, p99 {p99:?}", took.len());
    assert!(answers.iter().all(|(_, answer)| answer.outcome() == "SUCCESS"), "some were turned away");
    attackers.shutdown().await;
    shop.check_books(&promised(&answers)).await;
    shop.close([persister]).await;
}
