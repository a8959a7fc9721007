//! SIGTERM: who was let in is served, then the process ends.

use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use servers::Signal;
use testkit::{Answer, Client, Proxy, Wire, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::fixture::{PURCHASE, SOON, Shop, promised};

/// A purchase that the API has begun to serve: it has read the head and asked for the body.
struct LetIn {
    user: String,
    body: String,
    connection: TcpStream,
}

impl LetIn {
    async fn knock(shop: &Shop, user: String) -> Self {
        let address = shop.client().url().strip_prefix("http://").unwrap();
        let mut connection = TcpStream::connect(address).await.unwrap();
        let body = json!({ "saleId": shop.sale, "userId": user }).to_string();
        let head = format!(
            "POST {PURCHASE} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\nexpect: 100-continue\r\n\r\n",
            body.len()
        );
        connection.write_all(head.as_bytes()).await.unwrap();
        let expected = b"HTTP/1.1 100 Continue\r\n\r\n";
        let mut answer = vec![0; expected.len()];
        timeout(SOON, connection.read_exact(&mut answer)).await.expect("the API asks for the body").unwrap();
        assert_eq!(answer, expected);
        Self { user, body, connection }
    }

    /// Sends the body and reads the answer to the end of the connection: its head and its JSON.
    async fn go_on(mut self) -> (String, String, Value) {
        self.connection.write_all(self.body.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(SOON, self.connection.read_to_string(&mut answer)).await.expect("an answer in time").expect("no reset");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{:?} got {answer:?}", self.user));
        (self.user, head.to_owned(), serde_json::from_str(body).unwrap())
    }
}

/// Clicks as new user after new user until the API is gone; all that was answered.
async fn click_until_it_is_gone(shop: &Shop, number: usize) -> Vec<(String, Answer)> {
    let mut answers = Vec::new();
    loop {
        let user = format!("load-{number}-{}", answers.len());
        match shop.client().try_purchase(shop.sale, &user).await {
            Ok(answer) => answers.push((user, answer)),
            Err(_) => return answers,
        }
    }
}

/// Whether nothing listens at the API's address any more.
async fn is_closed(client: &Client) -> bool {
    TcpStream::connect(client.url().strip_prefix("http://").unwrap()).await.is_err()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_every_request_that_was_let_in_is_answered_and_every_promise_is_kept() {
    let mut shop = Shop::with_stock(1_000_000).await;
    let persister = shop.stack.persister();
    let other = shop.stack.api().await;
    let let_in: Vec<LetIn> = stream::iter(0..40).then(|n| LetIn::knock(&shop, format!("let-in-{n}"))).collect().await;

    let load = (0..8).map(|n| click_until_it_is_gone(&shop, n));
    let stop = async {
        let selling = async || {
            (other.client.verify(shop.sale).await.body["books"]["available"].as_i64()? < 999_900).then_some(())
        };
        until("the load is on", SOON, selling).await;
        shop.api.process.signal(Signal::TERM);
        until("nobody is let in any more", SOON, async || is_closed(shop.client()).await.then_some(())).await;
        join_all(let_in.into_iter().map(LetIn::go_on)).await
    };
    let (load, let_in) = tokio::join!(join_all(load), stop);
    let mut promises: Vec<_> = load.iter().flat_map(|answers| promised(answers)).collect();
    for (user, head, body) in let_in {
        assert!(head.starts_with("HTTP/1.1 200 OK"), "{user}: {head}");
        assert_eq!(body["status"], "SUCCESS", "{user}: {body}");
        promises.push((user, body["orderId"].as_str().unwrap().to_owned()));
    }
    assert!(shop.api.process.ended().await.success());
    assert!(shop.api.process.log().contains(r#""message":"stopped""#));
    // A click whose answer was lost with its idle connection may have an order that nobody was promised, not the reverse.
    shop.stack.settled(&other.client, shop.sale).await;
    assert_eq!(shop.stack.lost(shop.sale, &promises).await, Vec::<String>::new());
    drop(other);
    shop.close([persister]).await;
}

#[tokio::test]
async fn an_idle_api_stops_at_once_although_a_client_keeps_its_connection() {
    let mut shop = Shop::with_stock(1).await;
    assert_eq!(shop.client().get("/livez").await.status, 200);
    shop.api.process.signal(Signal::TERM);
    let ended = timeout(Duration::from_secs(10), shop.api.process.ended()).await;
    assert!(ended.expect("it does not wait for the idle connection").success());
    shop.close([]).await;
}

#[tokio::test]
async fn a_second_sigterm_or_sigint_does_no_harm() {
    let mut shop = Shop::with_stock(1).await;
    let let_in = LetIn::knock(&shop, "ann".to_owned()).await;
    for signal in [Signal::TERM, Signal::TERM, Signal::INT, Signal::TERM] {
        shop.api.process.signal(signal);
        until("nobody is let in any more", SOON, async || is_closed(shop.client()).await.then_some(())).await;
    }
    let (_, head, body) = let_in.go_on().await;
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    assert_eq!(body["status"], "SUCCESS", "{body}");
    assert!(shop.api.process.ended().await.success());
    assert!(shop.api.process.log().contains(r#""message":"stopped""#));
    shop.close([]).await;
}

#[tokio::test]
async fn a_client_that_never_goes_on_holds_the_stop_no_longer_than_stop_seconds() {
    let mut shop = Shop::with_stock(1).await;
    shop.api = shop.stack.api_with(&[("FLASHSALE__API__STOP_SECONDS", "2")]).await;
    let mut never_goes_on = LetIn::knock(&shop, "ann".to_owned()).await;
    shop.api.process.signal(Signal::TERM);
    assert!(shop.api.process.ended().await.success());
    assert!(shop.api.process.log().contains(r#""message":"stopped""#));
    let mut said = Vec::new();
    let _ = never_goes_on.connection.read_to_end(&mut said).await;
    assert_eq!(said, b"", "after 5 s it would have been told that its body came in too slowly");
    shop.close([]).await;
}

#[tokio::test]
async fn an_http_thread_that_is_stuck_does_not_keep_the_process() {
    let mut shop = Shop::with_stock(1).await;
    let stuck = [("FLASHSALE_FAILPOINT", "api.reserved=freeze"), ("FLASHSALE__API__STOP_SECONDS", "1")];
    shop.api = shop.stack.api_with(&stuck).await;
    let (client, sale) = (shop.client().clone(), shop.sale);
    let click = tokio::spawn(async move { client.try_purchase(sale, "ann").await });
    shop.api.process.wait_for_log("failpoint api.reserved fired").await;
    shop.api.process.signal(Signal::TERM);
    let ended = timeout(SOON, shop.api.process.ended()).await;
    assert!(ended.expect("it does not wait for the thread").success());
    assert!(click.await.unwrap().is_err(), "nobody was told anything");
    shop.close([]).await;
}

#[tokio::test]
async fn servers_that_do_not_answer_hold_the_stop_for_a_few_seconds_only() {
    let mut shop = Shop::with_stock(1).await;
    let settings = shop.stack.variables();
    let mut wires = Vec::new();
    for (name, url) in settings.iter().filter(|(name, _)| name.ends_with("__URL")) {
        let proxy = Proxy::before(url).await;
        wires.push((name.as_str(), proxy.url_of(url), proxy));
    }
    let through: Vec<_> = wires.iter().map(|(name, url, _)| (*name, url.as_str())).collect();
    shop.api = shop.stack.api_with(&through).await;
    shop.buy("ann").await;
    assert_eq!(shop.click("bob").await.outcome(), "SOLD_OUT", "there is a count to be written");
    for (_, _, proxy) in &wires {
        proxy.set(Wire::Silent);
    }
    shop.api.process.signal(Signal::TERM);
    let ended = timeout(SOON, shop.api.process.ended()).await;
    assert!(ended.expect("within 20 s").success());
    drop(wires);
    shop.close([]).await;
}
