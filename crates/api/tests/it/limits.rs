//! Rate limits: who comes too often is told so, costs next to nothing, and takes nothing away from others.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::{Refusal, Terms};
use futures_util::future::join_all;
use ledger::NewSale;
use reqwest::Method;
use serde_json::{Value, json};
use testkit::{Answer, Api, Client, Issuer, Own, Proxy, Stack, TOKEN_SECRET, Wire, new_sale, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::fixture::{PURCHASE, SOON, Shop, assert_problem};
use crate::identity::{JWT, SECRET};

const SALES: &str = "/api/v1/sales";
const ACCOUNTS: &str = "/api/v1/accounts";
const LOGIN: &str = "/api/v1/accounts/login";
/// So long that nothing comes back while a test runs.
const HOUR: &str = "3600";

/// Asserts a 429 that tells by which limit and for how long, as clients of the draft read it; returns the seconds.
fn assert_limited(answer: &Answer, policy: &str, count: u32, window: &str) -> u64 {
    assert_problem(answer, 429, "RATE_LIMITED");
    let header = |name: &str| answer.headers[name].to_str().unwrap();
    let seconds: u64 = header("retry-after").parse().unwrap();
    assert!(seconds >= 1, "{answer:?}");
    assert_eq!(header("ratelimit-policy"), format!("\"{policy}\";q={count};w={window}"));
    assert_eq!(header("ratelimit"), format!("\"{policy}\";r=0;t={seconds}"));
    seconds
}

fn limited(answers: &[Answer]) -> usize {
    answers.iter().filter(|answer| answer.status == 429).count()
}

/// An API of the shop with these `[limits]`.
async fn api_with(stack: &Stack, limits: &[(&str, String)]) -> Api {
    let limits: Vec<(String, &String)> =
        limits.iter().map(|(name, value)| (format!("FLASHSALE__LIMITS__{name}"), value)).collect();
    stack.api_with(&limits.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect::<Vec<_>>()).await
}

async fn get_as(client: &Client, path: &str, forwarded: &str) -> Answer {
    client.send(client.request(Method::GET, path).header("x-forwarded-for", forwarded)).await
}

async fn click_as(client: &Client, shop: &Shop, user: &str, forwarded: &str) -> Answer {
    let body = json!({ "saleId": shop.sale, "userId": user });
    client.send(client.request(Method::POST, PURCHASE).header("x-forwarded-for", forwarded).json(&body)).await
}

#[tokio::test]
async fn replicas_share_the_limit_of_a_buyer_exactly_and_the_statistics_count_who_was_refused() {
    let shop = Shop::with_stock(5).await;
    let limits = [("PURCHASE_PER_USER", format!("7/{HOUR}"))];
    let apis = [api_with(&shop.stack, &limits).await, api_with(&shop.stack, &limits).await];
    let answers = join_all((0..60).map(|n| apis[n % 2].client.purchase(shop.sale, "ann"))).await;
    assert_eq!(limited(&answers), 60 - 7, "{answers:?}");
    let won: Vec<&Answer> = answers.iter().filter(|answer| answer.outcome() == "SUCCESS").collect();
    assert_eq!(won.len(), 1);
    let promised = [("ann".to_owned(), won[0].order_id().unwrap().to_owned())];
    for api in &apis {
        // An hour for seven attempts: the next one after a seventh of it.
        let wait = assert_limited(&api.client.purchase(shop.sale, "ann").await, "purchase-per-user", 7, HOUR);
        assert!((3_600 / 7 - 60..=3_600 / 7 + 1).contains(&wait), "{wait}");
        assert_eq!(api.client.purchase_of(shop.sale, "ann").await.outcome(), "PENDING", "reading is not limited");
    }
    assert_eq!(apis[0].client.purchase(shop.sale, "bob").await.outcome(), "SUCCESS", "a buyer's limit is theirs");
    let bob = apis[1].client.purchase(shop.sale, "bob").await;
    let promised = [promised[0].clone(), ("bob".to_owned(), bob.order_id().unwrap().to_owned())];

    let expected = BTreeMap::from([(Refusal::AlreadyPurchased, 6 + 1), (Refusal::RateLimited, 53 + 2)]);
    until("the counts are written", SOON, async || {
        let counts: BTreeMap<_, _> = shop.stack.ledger.refusal_totals(shop.sale).await.ok()?.into_iter().collect();
        (counts == expected).then_some(())
    })
    .await;
    let persister = shop.stack.persister();
    shop.check_books(&promised).await;
    drop(apis);
    shop.close([persister]).await;
}

#[tokio::test]
async fn who_waits_as_long_as_told_may_ask_again() {
    let shop = Shop::with_stock(1).await;
    let api =
        api_with(&shop.stack, &[("PURCHASE_PER_USER", "2/2".to_owned()), ("READ_PER_IP", "2/2".to_owned())]).await;
    let buy = async || api.client.purchase(shop.sale, "ann").await;
    let read = async || api.client.get(SALES).await;
    for n in 0..2 {
        assert_eq!((buy().await.status.as_u16(), read().await.status.as_u16()), (200, 200), "{n}");
    }
    let wait = assert_limited(&buy().await, "purchase-per-user", 2, "2");
    assert_eq!(wait.max(assert_limited(&read().await, "read-per-ip", 2, "2")), 1, "one of two comes back in a second");
    let told = tokio::time::Instant::now();
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    while told.elapsed() < Duration::from_secs(wait) {
        tick.tick().await;
    }
    assert_eq!((buy().await.status.as_u16(), read().await.status.as_u16()), (200, 200));
    let persister = shop.stack.persister();
    assert_eq!(shop.stack.settled(shop.client(), shop.sale).await.body["books"]["sold"], 1);
    drop(api);
    shop.close([persister]).await;
}

#[tokio::test]
async fn an_address_counts_as_the_proxy_says_only_where_the_proxy_is_trusted() {
    let shop = Shop::with_stock(100).await;
    let limit = ("PURCHASE_PER_IP", format!("3/{HOUR}"));
    let trusted = ("TRUSTED_PROXIES", "127.0.0.0/8, 10.0.0.0/8".to_owned());
    let trusting = api_with(&shop.stack, &[limit.clone(), trusted]).await;
    let mut users = 0;
    let mut user = || {
        users += 1;
        format!("user-{users}")
    };
    // Each client behind the proxies has a limit of its own: whatever it forwards itself, IPv6 by the /64.
    for (one, same) in [
        ("198.51.100.1", "203.0.113.9, 198.51.100.1, 10.1.1.1"),
        ("198.51.100.2", "198.51.100.2:4711"),
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2"),
    ] {
        for _ in 0..3 {
            assert_eq!(click_as(&trusting.client, &shop, &user(), one).await.outcome(), "SUCCESS", "{one}");
        }
        for forwarded in [one, same] {
            let refused = click_as(&trusting.client, &shop, &user(), forwarded).await;
            assert_limited(&refused, "purchase-per-ip", 3, HOUR);
        }
    }
    assert_eq!(click_as(&trusting.client, &shop, &user(), "2001:db8:0:2::1").await.outcome(), "SUCCESS");

    // Nobody's word is taken: all of this comes from one address, whatever it writes.
    let plain = api_with(&shop.stack, &[limit]).await;
    let mut answers = Vec::new();
    for n in 0..8 {
        answers.push(click_as(&plain.client, &shop, &user(), &format!("198.51.100.{}", 10 + n)).await);
    }
    assert_eq!(limited(&answers), 5, "{answers:?}");
    let persister = shop.stack.persister();
    assert_eq!(shop.stack.settled(shop.client(), shop.sale).await.body["books"]["sold"], 3 * 3 + 1 + 3);
    drop((trusting, plain));
    shop.close([persister]).await;
}

/// How often a script was called on this test's own Redis.
fn script_calls(stack: &mut Stack) -> u64 {
    let count =
        "return(tonumber(string.match(redis.call([[info]],[[commandstats]]),[[cmdstat_evalsha:calls=(%d+)]])or(0)))";
    stack.redis.tell(&format!("EVAL {count} 0")).trim_start_matches(':').parse().unwrap()
}

#[tokio::test]
async fn clients_who_have_to_wait_cost_redis_nothing_and_those_of_a_limited_address_are_not_even_read() {
    let mut stack = Stack::with_own(Own::REDIS).await;
    let sale = new_sale(100);
    stack.create(&sale).await;
    stack.reconcile().await;
    let limits = [
        ("PURCHASE_PER_USER", format!("2/{HOUR}")),
        ("PURCHASE_PER_IP", format!("9/{HOUR}")),
        ("READ_PER_IP", format!("3/{HOUR}")),
        ("TRUSTED_PROXIES", "127.0.0.1".to_owned()),
    ];
    let api = api_with(&stack, &limits).await;
    let client = &api.client;
    let click = async |user: &str, from: &str| {
        let body = json!({ "saleId": sale.id, "userId": user });
        client.send(client.request(Method::POST, PURCHASE).header("x-forwarded-for", from).json(&body)).await
    };
    // The first one past each limit is refused by Redis, those after it by memory.
    for user in ["ann", "ann", "ann", "u1", "u2", "u3", "u4", "u5", "u6", "u7", "u8"] {
        click(user, "198.51.100.1").await;
    }
    for _ in 0..4 {
        get_as(client, SALES, "198.51.100.1").await;
    }
    let before = script_calls(&mut stack);
    for n in 0..50 {
        assert_limited(&click("ann", "198.51.100.2").await, "purchase-per-user", 2, HOUR);
        assert_limited(&click(&format!("v{n}"), "198.51.100.1").await, "purchase-per-ip", 9, HOUR);
        assert_limited(&get_as(client, SALES, "198.51.100.1").await, "read-per-ip", 3, HOUR);
    }
    assert_eq!(script_calls(&mut stack), before, "nobody asked Redis");

    // The body of this one never comes, and is not waited for.
    let mut wire = tokio::net::TcpStream::connect(client.url().trim_start_matches("http://")).await.unwrap();
    let head = format!(
        "POST {PURCHASE} HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 198.51.100.1\r\nContent-Type: application/json\r\n\
         Content-Length: 70\r\n\r\n"
    );
    wire.write_all(head.as_bytes()).await.unwrap();
    let mut start = [0; 12];
    tokio::time::timeout(Duration::from_secs(3), wire.read_exact(&mut start)).await.expect("at once").unwrap();
    assert_eq!(&start, b"HTTP/1.1 429");

    let persister = stack.persister();
    let books = stack.settled(client, sale.id).await;
    assert_eq!(books.body["books"]["sold"], 8, "ann, and seven more within the limit of the address");
    drop((persister, api));
    stack.close().await;
}

#[tokio::test]
async fn readings_are_counted_by_all_replicas_together_and_probes_and_operators_are_not_counted() {
    let shop = Shop::with_stock(1).await;
    let limits = [("READ_PER_IP", format!("10/{HOUR}")), ("TRUSTED_PROXIES", "127.0.0.1".to_owned())];
    let apis = [api_with(&shop.stack, &limits).await, api_with(&shop.stack, &limits).await];
    let from = format!("2001:db8:{:x}:1::1", rand::random::<u16>());
    let status = format!("/api/v1/sale/{}/status", shop.sale);
    let reads = (0..40).map(|n| get_as(&apis[n % 2].client, [SALES, &status][n / 2 % 2], &from));
    let answers = join_all(reads).await;
    assert_eq!(limited(&answers), 30, "{answers:?}");
    for path in ["/livez", "/readyz", "/health"] {
        assert_eq!(get_as(&apis[0].client, path, &from).await.status, 200, "{path}");
    }
    let verify = format!("/api/v1/admin/sales/{}/verify", shop.sale);
    let verify = apis[0].client.request(Method::GET, &verify).bearer_auth(testkit::ADMIN_TOKEN);
    assert_eq!(apis[0].client.send(verify.header("x-forwarded-for", &from)).await.status, 200);
    assert_eq!(click_as(&apis[0].client, &shop, "ann", &from).await.outcome(), "SUCCESS", "another group");
    assert_eq!(get_as(&apis[0].client, SALES, "198.51.100.77").await.status, 200, "another address");
    let persister = shop.stack.persister();
    assert_eq!(shop.stack.settled(shop.client(), shop.sale).await.body["books"]["sold"], 1);
    drop(apis);
    shop.close([persister]).await;
}

#[tokio::test]
async fn changing_orders_and_logging_in_have_limits_of_their_own_and_what_is_refused_has_no_effect() {
    let sale = new_sale(1);
    let sale = NewSale { terms: Terms { hold_seconds: 3_600, ..sale.terms }, ..sale };
    let shop = Shop::with(&sale).await;
    let persister = shop.stack.persister();
    let order = shop.buy("ann").await;
    shop.persisted("ann").await;
    let settings = [
        JWT,
        SECRET,
        ("FLASHSALE__AUTH__ACCOUNTS", "true"),
        ("FLASHSALE__LIMITS__ORDER_PER_IP", "3/3600"),
        ("FLASHSALE__LIMITS__LOGIN_PER_IP", "4/3600"),
        ("FLASHSALE__LIMITS__TRUSTED_PROXIES", "127.0.0.1"),
    ];
    let apis = [shop.stack.api_with(&settings).await, shop.stack.api_with(&settings).await];
    let ann = Issuer::hs256(TOKEN_SECRET.as_bytes()).token("ann");
    let from = format!("2001:db8:{:x}:3::1", rand::random::<u16>());
    let post = async |n: usize, path: &str, body: Value, from: &str| {
        let client = &apis[n % 2].client;
        let request = client.request(Method::POST, path).header("x-forwarded-for", from).bearer_auth(&ann);
        client.send(request.json(&body)).await
    };
    let change = async |n, order: &str, how: &str, from: &str| {
        post(n, &format!("/api/v1/orders/{order}/{how}"), json!({}), from).await
    };
    // Whatever becomes of a request, it counts, at whichever replica.
    for (n, how) in ["pay", "cancel", "pay"].into_iter().enumerate() {
        let unknown = change(n, &uuid::Uuid::new_v4().to_string(), how, &from).await;
        assert_problem(&unknown, 404, "ORDER_NOT_FOUND");
    }
    for (n, how) in ["cancel", "cancel", "pay", "pay"].into_iter().enumerate() {
        assert_limited(&change(n, &order, how, &from).await, "order-per-ip", 3, HOUR);
    }
    let ann_at = |host: &str| json!({ "email": format!("ann@{host}"), "password": "correct horse" });
    assert_eq!(post(0, ACCOUNTS, ann_at("shop.example"), &from).await.status, 201, "another group");
    for n in 0..3 {
        assert_eq!(post(n, LOGIN, ann_at("shop.example"), &from).await.status, 200, "{n}");
    }
    for n in 0..4 {
        let path = [ACCOUNTS, LOGIN][n / 2];
        assert_limited(&post(n, path, ann_at("other.example"), &from).await, "login-per-ip", 4, HOUR);
    }
    // From elsewhere nobody is limited, and nothing has happened.
    let elsewhere = "198.51.100.78";
    assert_problem(&post(0, LOGIN, ann_at("other.example"), elsewhere).await, 401, "INVALID_CREDENTIALS");
    assert_eq!(shop.persisted("ann").await.outcome(), "HELD");
    assert_eq!(change(0, &order, "cancel", elsewhere).await.body["status"], "CANCELLED");
    drop(apis);
    let keeper = shop.stack.keeper();
    assert_eq!(shop.stack.settled(shop.client(), shop.sale).await.body["books"]["sold"], 0);
    shop.close([persister, keeper]).await;
}

#[tokio::test]
async fn while_redis_is_away_nobody_is_refused_for_reading_too_often_and_nobody_waits_for_it() {
    let shop = Shop::with_stock(1).await;
    let settings = shop.stack.settings();
    let redis_url = secrecy::ExposeSecret::expose_secret(&settings.redis.url).to_owned();
    let redis = Proxy::before(&redis_url).await;
    let api = shop
        .stack
        .api_with(&[
            ("FLASHSALE__REDIS__URL", &redis.url_of(&redis_url)),
            ("FLASHSALE__REDIS__CONNECT_TIMEOUT_MS", "5000"),
            ("FLASHSALE__REDIS__RESPONSE_TIMEOUT_MS", "5000"),
            ("FLASHSALE__LIMITS__READ_PER_IP", "3/3600"),
            ("FLASHSALE__LIMITS__TRUSTED_PROXIES", "127.0.0.1"),
        ])
        .await;
    let from = format!("2001:db8:{:x}:2::1", rand::random::<u16>());
    redis.set(Wire::Silent);
    let began = tokio::time::Instant::now();
    for _ in 0..30 {
        assert_eq!(get_as(&api.client, SALES, &from).await.status, 200);
    }
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    api.process.wait_for_log("requests cannot be counted").await;
    redis.set(Wire::Cut);
    redis.set(Wire::Open);
    let limited = async || (get_as(&api.client, SALES, &from).await.status == 429).then_some(());
    until("they are counted again", SOON, limited).await;
    assert_eq!(shop.click("ann").await.outcome(), "SUCCESS");
    let persister = shop.stack.persister();
    assert_eq!(shop.stack.settled(shop.client(), shop.sale).await.body["books"]["sold"], 1);
    drop(api);
    shop.close([persister]).await;
}
