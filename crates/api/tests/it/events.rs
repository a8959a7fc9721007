//! Live status: whoever listens is told what is true, soon, and costs nobody anything.

use std::time::{Duration, Instant};

use domain::{Quantity, SaleId};
use futures_util::future::join_all;
use ledger::NewSale;
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use servers::Signal;
use testkit::{Client, Issuer, TOKEN_SECRET, new_sale, until};
use tokio::net::TcpSocket;
use tokio::time::{interval, timeout};

use crate::fixture::{SOON, Shop, assert_problem, promised};
use crate::identity::{JWT, SECRET};
use crate::wire::Line;

/// How soon a change is told.
const A_MOMENT: Duration = Duration::from_secs(2);
/// Longest that anything may take with a thousand streams, on a machine that does other things too.
const CROWDED: Duration = Duration::from_secs(60);

/// What a stream says next.
#[derive(Debug, PartialEq)]
enum Said {
    Event { kind: String, id: Option<String>, data: Value },
    Retry(u64),
    Alive,
}

/// An open stream.
struct Stream {
    response: Response,
    heard: String,
}

impl Stream {
    async fn of(client: &Client, sale: SaleId) -> Self {
        Self::open(client, &path(sale, ""), None).await
    }

    /// A stream that begins with the snapshot, or where `seen` was the last event.
    async fn open(client: &Client, path: &str, seen: Option<&str>) -> Self {
        let mut request = client.request(Method::GET, path);
        if let Some(seen) = seen {
            request = request.header("last-event-id", seen);
        }
        Self::begin(request).await
    }

    async fn begin(request: RequestBuilder) -> Self {
        let response = timeout(SOON, request.send()).await.expect("an answer in time").expect("an answer");
        assert_eq!(response.status(), 200);
        for (name, value) in
            [("content-type", "text/event-stream"), ("cache-control", "no-store"), ("x-accel-buffering", "no")]
        {
            assert_eq!(response.headers()[name], value);
        }
        let mut stream = Self { response, heard: String::new() };
        let retry = stream.next().await;
        assert!(matches!(retry, Some(Said::Retry(1_000..3_000))), "{retry:?}");
        stream
    }

    /// What is said next; `None` at the end of the stream, however it comes.
    async fn next(&mut self) -> Option<Said> {
        let end = loop {
            if let Some(end) = self.heard.find("\n\n") {
                break end;
            }
            let chunk = timeout(SOON, self.response.chunk()).await.expect("something is said in time").ok()??;
            self.heard += std::str::from_utf8(&chunk).unwrap();
        };
        let block: String = self.heard.drain(..end + 2).collect();
        let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        Some(match (field("event: "), field("retry: ")) {
            (Some(kind), None) => {
                let data = serde_json::from_str(&field("data: ").expect("data")).unwrap();
                Said::Event { kind, id: field("id: "), data }
            }
            (None, Some(retry)) => Said::Retry(retry.parse().unwrap()),
            (None, None) => {
                assert_eq!(block, ":\n\n");
                Said::Alive
            }
            both => panic!("{both:?}"),
        })
    }

    /// The next event of this kind: its id and its data.
    async fn event(&mut self, wanted: &str) -> (Option<String>, Value) {
        loop {
            match self.next().await.expect("the stream goes on") {
                Said::Event { kind, id, data } if kind == wanted => return (id, data),
                _ => {}
            }
        }
    }

    /// Listens until the sale is as wanted; the id of that state.
    async fn until(&mut self, what: &str, is_so: impl Fn(&Value) -> bool) -> String {
        let listen = async {
            loop {
                let (id, data) = self.event("sale").await;
                if is_so(&data) {
                    return id.expect("a state of the sale has an id");
                }
            }
        };
        timeout(SOON, listen).await.unwrap_or_else(|_| panic!("never told: {what}"))
    }

    /// Listens to the end of the stream.
    async fn end(&mut self) {
        while self.next().await.is_some() {}
    }
}

fn path(sale: SaleId, query: &str) -> String {
    format!("/api/v1/sale/{sale}/events{query}")
}

/// What the one API that this test has started has in memory, in MiB, where the system tells.
fn resident_mib() -> Option<usize> {
    let (parent, mut found) = (std::process::id().to_string(), None);
    for process in std::fs::read_dir("/proc").ok()?.flatten() {
        let read = |name| std::fs::read_to_string(process.path().join(name)).unwrap_or_default();
        let stat = read("stat");
        // Number, (name), state, parent.
        if stat.contains("(flashsale-api)") && stat.split(' ').nth(3) == Some(&parent) {
            let status = read("status");
            let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
            found = line.split_whitespace().nth(1)?.parse::<usize>().ok();
        }
    }
    found.map(|kib| kib / 1_024)
}

#[tokio::test]
async fn a_stream_begins_with_the_sale_as_it_is_and_tells_each_change_on_every_replica() {
    let shop = Shop::with_stock(3).await;
    let other = shop.stack.api().await;
    let mut streams = [Stream::of(shop.client(), shop.sale).await, Stream::of(&other.client, shop.sale).await];
    let status = shop.client().status(shop.sale).await.body;
    for stream in &mut streams {
        let (_, snapshot) = stream.event("sale").await;
        for (name, value) in snapshot.as_object().unwrap() {
            assert_eq!(*value, status[name], "{name} is as in the status");
        }
        assert_eq!((&snapshot["remainingStock"], &snapshot["paused"]), (&json!(3), &json!(false)));
    }
    let order = shop.buy("ann").await;
    let asked = Instant::now();
    for stream in &mut streams {
        stream.until("2 are left", |sale| sale["remainingStock"] == 2 && sale["totalSold"] == 0).await;
    }
    assert!(asked.elapsed() < A_MOMENT, "{:?}", asked.elapsed());
    let persister = shop.stack.persister();
    for stream in &mut streams {
        stream.until("1 is sold", |sale| sale["remainingStock"] == 2 && sale["totalSold"] == 1).await;
    }
    shop.check_books(&[("ann".to_owned(), order)]).await;
    drop((streams, other));
    shop.close([persister]).await;
}

#[tokio::test]
async fn a_client_that_comes_back_is_told_nothing_twice_on_whichever_replica() {
    let shop = Shop::with_stock(3).await;
    let other = shop.stack.api().await;
    let (id, _) = Stream::of(shop.client(), shop.sale).await.event("sale").await;
    let mut back = Stream::open(&other.client, &path(shop.sale, ""), id.as_deref()).await;
    let order = shop.buy("ann").await;
    let (next, sale) = back.event("sale").await;
    assert_eq!(sale["remainingStock"], 2, "the first it hears of is the change");
    drop(back);

    // What it has seen is no longer true: it is told what is, and no more.
    let mut late = Stream::open(&other.client, &path(shop.sale, ""), id.as_deref()).await;
    assert_eq!(late.event("sale").await, (next, sale));
    let mut nonsense = Stream::open(&other.client, &path(shop.sale, ""), Some("no id of ours")).await;
    assert_eq!(nonsense.event("sale").await.1["remainingStock"], 2);
    let persister = shop.stack.persister();
    shop.check_books(&[("ann".to_owned(), order)]).await;
    drop((late, nonsense, other));
    shop.close([persister]).await;
}

#[tokio::test]
async fn what_is_wrong_is_said_before_the_stream_begins() {
    let shop = Shop::with_stock(1).await;
    let unknown: SaleId = "01890000-0000-7000-8000-000000000000".parse().unwrap();
    assert_problem(&shop.client().get(&path(unknown, "")).await, 404, "SALE_NOT_FOUND");
    assert_problem(&shop.client().get("/api/v1/sale/7/events").await, 400, "INVALID_FIELD");
    for query in ["?orderId=7", "?orderId=", "?order=7", &format!("?orderId={unknown}&orderId={unknown}")] {
        assert_problem(&shop.client().get(&path(shop.sale, query)).await, 400, "INVALID_FIELD");
    }
    shop.close([]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_who_look_on_are_told_that_it_is_sold_out_while_buyers_buy() {
    let shop = Shop::with_stock(500).await;
    let persister = shop.stack.persister();
    // Each on a connection of its own, as a thousand browsers.
    let before = resident_mib();
    let open = (0..1_000).map(|_| Stream::of(shop.client(), shop.sale));
    let mut streams = timeout(CROWDED, join_all(open)).await.expect("all are let in");
    let listen = join_all(streams.iter_mut().map(|stream| async {
        let (mut events, began) = (0, Instant::now());
        loop {
            let (_, sale) = stream.event("sale").await;
            events += 1;
            if sale["remainingStock"] == 0 && sale["totalSold"] == 500 {
                return (events, began.elapsed());
            }
        }
    }));
    // For some seconds: faster than anybody is to be told.
    let buy = async {
        let (mut pace, mut answers) = (interval(Duration::from_millis(5)), Vec::new());
        for user in (0..800).map(|n| format!("user-{n}")) {
            pace.tick().await;
            let answer = shop.click(&user).await;
            answers.push((user, answer));
        }
        answers
    };
    let (told, answers) = timeout(CROWDED, async { tokio::join!(listen, buy) }).await.expect("everybody is told");
    for (events, took) in told {
        // The snapshot, what was just being told, and four a second.
        let most = 2 + 4 * (took.as_millis() / 1_000 + 1);
        assert!(events <= most, "{events} events in {took:?}");
    }
    if cfg!(target_os = "linux") {
        let [before, after] = [before, resident_mib()].map(|mib| mib.expect("Linux tells what the API takes"));
        println!("a thousand streams: from {before} to {after} MiB");
        assert!(after < before + 100, "from {before} to {after} MiB");
    }
    drop(streams);
    shop.check_books(&promised(&answers)).await;
    shop.close([persister]).await;
}

#[tokio::test]
async fn a_process_that_stops_ends_its_streams_at_once() {
    let mut shop = Shop::with_stock(1).await;
    let persister = shop.stack.persister();
    let order = shop.buy("ann").await;
    shop.check_books(&[("ann".to_owned(), order.clone())]).await;
    let order = format!("?orderId={order}");
    let mut streams = Vec::new();
    for query in ["", &order] {
        for _ in 0..50 {
            streams.push(Stream::open(shop.client(), &path(shop.sale, query), None).await);
        }
    }
    let asked = Instant::now();
    shop.api.process.signal(Signal::TERM);
    join_all(streams.iter_mut().map(Stream::end)).await;
    let ended = shop.api.process.ended().await;
    assert!(ended.success() && asked.elapsed() < Duration::from_secs(5), "{ended} after {:?}", asked.elapsed());
    shop.close([persister]).await;
}

#[tokio::test]
async fn a_stream_outlives_every_limit_of_an_answer_and_says_that_it_is_alive() {
    let shop = Shop::with_stock(2).await;
    let brief = [("FLASHSALE__API__KEEP_ALIVE_SECONDS", "1"), ("FLASHSALE__API__HEARTBEAT_MS", "1000")];
    let api = shop.stack.api_with(&brief).await;
    let mut stream = Stream::of(&api.client, shop.sale).await;
    assert_eq!(stream.event("sale").await.1["remainingStock"], 2);
    let began = Instant::now();
    // Longer than any other answer may take.
    while began.elapsed() < Duration::from_secs(11) {
        assert_eq!(stream.next().await, Some(Said::Alive));
    }
    let order = shop.buy("ann").await;
    stream.until("1 is left", |sale| sale["remainingStock"] == 1).await;
    let persister = shop.stack.persister();
    shop.check_books(&[("ann".to_owned(), order)]).await;
    drop((stream, api));
    shop.close([persister]).await;
}

/// A sale whose every event is larger than what is kept for a client that does not read.
fn wordy_sale() -> NewSale {
    NewSale { name: "x".repeat(100_000), per_user_limit: Quantity::ONE, ..new_sale(100) }
}

/// A stream's connection of a client that takes little at a time.
async fn slow_line(client: &Client, sale: SaleId) -> Line {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let address = client.url().strip_prefix("http://").unwrap().parse().unwrap();
    let mut line = Line(socket.connect(address).await.unwrap());
    line.say(format!("GET {} HTTP/1.1\r\nhost: shop\r\n\r\n", path(sale, ""))).await;
    line
}

#[tokio::test]
async fn a_client_that_reads_slowly_misses_states_and_hears_the_newest() {
    let shop = Shop::with(&wordy_sale()).await;
    let persister = shop.stack.persister();
    let mut slow = slow_line(shop.client(), shop.sale).await;
    slow.hear(100).await;
    let mut quick = Stream::of(shop.client(), shop.sale).await;
    let mut promised = Vec::new();
    for left in (0..10).map(|sold| 99 - sold) {
        let user = format!("user-{left}");
        promised.push((user.clone(), shop.buy(&user).await));
        quick.until("one less is left", |sale| sale["remainingStock"] == left).await;
    }
    let mut said = String::new();
    while !said.contains(r#""remainingStock":90"#) {
        said += &slow.hear(1).await;
    }
    // The snapshot, perhaps one that was on its way, and the last ones.
    let states = said.matches("event: sale").count();
    assert!(states <= 4, "it heard {states} states of more than ten");
    drop((slow, quick));
    shop.check_books(&promised).await;
    shop.close([persister]).await;
}

#[tokio::test]
async fn beyond_the_most_streams_a_client_is_sent_away_until_one_of_the_others_is_gone_or_does_not_read() {
    let shop = Shop::with(&wordy_sale()).await;
    let few = [("FLASHSALE__API__MAX_STREAMS", "2"), ("FLASHSALE__API__HEARTBEAT_MS", "3000")];
    let api = shop.stack.api_with(&few).await;
    let reads = Stream::of(&api.client, shop.sale).await;
    let mut never_reads = slow_line(&api.client, shop.sale).await;
    // Its head, and then no more.
    never_reads.hear(100).await;
    let refused = api.client.get(&path(shop.sale, "")).await;
    assert_problem(&refused, 503, "TOO_MANY_STREAMS");
    assert_eq!(refused.headers["retry-after"], "10");
    assert_eq!(api.client.status(shop.sale).await.status, 200, "it can read the status instead");

    let place = async || {
        let answer = api.client.request(Method::GET, &path(shop.sale, "")).send().await.unwrap();
        (answer.status() == 200).then_some(answer)
    };
    // Where nothing is said either: the end of a connection is noticed when it comes.
    drop(reads);
    let asked = Instant::now();
    let taken = until("the place of one who left is free", SOON, place).await;
    assert!(asked.elapsed() < Duration::from_millis(2_500), "before the next heartbeat: {:?}", asked.elapsed());
    drop(until("the place of one who does not read is free", SOON, place).await);
    drop((taken, never_reads, api));
    shop.close([]).await;
}

#[tokio::test]
async fn a_buyer_hears_of_the_order_from_the_click_to_its_end() {
    let mut sale = new_sale(2);
    (sale.terms.hold_seconds, sale.terms.unit_price_minor) = (600, 0);
    let shop = Shop::with(&sale).await;
    let other = shop.stack.api().await;
    let order = shop.buy("ann").await;
    let query = format!("?orderId={order}");
    let mut streams = Vec::new();
    for client in [shop.client(), &other.client] {
        let mut stream = Stream::open(client, &path(shop.sale, &query), None).await;
        let pending = json!({ "orderId": order, "saleId": shop.sale, "status": "PENDING" });
        assert_eq!(stream.event("order").await, (None, pending));
        streams.push(stream);
    }
    let persister = shop.stack.persister();
    for stream in &mut streams {
        let (_, held) = stream.event("order").await;
        assert_eq!((&held["status"], &held["quantity"]), (&json!("HELD"), &json!(1)));
        assert!(held["expiresAt"].as_str().is_some_and(|at| at.ends_with('Z')), "{held}");
    }
    // There is nothing to pay, so its payment is nothing but this.
    let confirm = sqlx::query("UPDATE orders SET status = 'CONFIRMED' WHERE id = $1::uuid").bind(&order);
    confirm.execute(&mut shop.stack.database.connect().await).await.unwrap();
    let confirmed = json!({ "orderId": order, "saleId": shop.sale, "status": "CONFIRMED", "quantity": 1 });
    for stream in &mut streams {
        assert_eq!(stream.event("order").await.1, confirmed);
    }
    // One who comes later, or again, hears how it stands; of an order of another sale nobody hears here.
    let mut late = Stream::open(shop.client(), &path(shop.sale, &query), None).await;
    assert_eq!(late.event("order").await.1, confirmed);
    let elsewhere = shop.stack.create_sale(1).await;
    let answer = shop.client().get(&path(elsewhere, &query)).await;
    assert_problem(&answer, 404, "ORDER_NOT_FOUND");
    let unknown = shop.client().get(&path(shop.sale, "?orderId=01890000-0000-7000-8000-000000000000")).await;
    assert_problem(&unknown, 404, "ORDER_NOT_FOUND");
    shop.check_books(&[("ann".to_owned(), order)]).await;
    drop((streams, late, other));
    shop.close([persister]).await;
}

#[tokio::test]
async fn where_tokens_count_an_order_is_told_to_its_buyer_and_the_sale_to_everybody() {
    let shop = Shop::with_stock(2).await;
    let api = shop.stack.api_with(&[JWT, SECRET]).await;
    let issuer = Issuer::hs256(TOKEN_SECRET.as_bytes());
    let [ann, bob] = ["ann", "bob"].map(|user| issuer.token(user));
    let order = shop.buy("ann").await;
    let path = path(shop.sale, &format!("?orderId={order}"));
    let open = |token: &str| api.client.request(Method::GET, &path).bearer_auth(token);
    let mut stream = Stream::begin(open(&ann)).await;
    assert_eq!(stream.event("order").await.1["status"], "PENDING");
    assert_problem(&api.client.send(open(&bob)).await, 404, "ORDER_NOT_FOUND");
    assert_problem(&api.client.get(&path).await, 401, "TOKEN_NEEDED");

    let persister = shop.stack.persister();
    assert_eq!(stream.event("order").await.1["status"], "CONFIRMED");
    assert_problem(&api.client.send(open(&bob)).await, 404, "ORDER_NOT_FOUND");
    assert_eq!(Stream::of(&api.client, shop.sale).await.event("sale").await.1["remainingStock"], 1);
    shop.check_books(&[("ann".to_owned(), order)]).await;
    drop((stream, api));
    shop.close([persister]).await;
}
