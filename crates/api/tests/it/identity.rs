//! Buyers with tokens: whose word counts, what a token must be like, and where its keys come from.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use reqwest::header::HeaderValue;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use testkit::{
    ADMIN_TOKEN, Answer, Api, Client, Issuer, KeyServer, Process, Stack, TOKEN_SECRET, encoded, jwks, until,
};

use crate::fixture::{PURCHASE, SOON, Shop, assert_problem};
use crate::logs::lines;

pub(crate) const JWT: (&str, &str) = ("FLASHSALE__AUTH__MODE", "jwt");
pub(crate) const SECRET: (&str, &str) = ("FLASHSALE__AUTH__HS256_SECRET", TOKEN_SECRET);
const ALGORITHM: &str = "FLASHSALE__AUTH__ALGORITHM";
const KEYS: &str = "FLASHSALE__AUTH__JWKS";

/// A shop with an API that believes tokens of this issuer, and a persister.
struct Counter {
    shop: Shop,
    api: Api,
    worker: Process,
    issuer: Issuer,
}

impl Counter {
    /// Keys of RS256 and EdDSA come from a file.
    async fn open(issuer: Issuer, stock: u32) -> Self {
        let shop = Shop::with_stock(stock).await;
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, jwks([&issuer])).unwrap();
        let changes = [JWT, SECRET, (ALGORITHM, issuer.algorithm()), (KEYS, file.path().to_str().unwrap())];
        let api = shop.stack.api_with(&changes).await;
        let worker = shop.stack.persister();
        Self { shop, api, worker, issuer }
    }

    /// A click with this token for `user`, or for whom the token names.
    async fn click(&self, token: Option<&str>, user: Option<&str>) -> Answer {
        click(&self.api.client, &self.shop, token, user).await
    }

    /// What `user` has bought, asked with this token.
    async fn purchase_of(&self, token: Option<&str>, user: &str) -> Answer {
        let path = format!("/api/v1/sale/{}/user/{user}/purchase", self.shop.sale);
        let client = &self.api.client;
        client.send(with(client.request(Method::GET, &path), token)).await
    }

    async fn close(self, promised: &[(String, String)]) {
        self.shop.check_books(promised).await;
        drop(self.api);
        self.shop.close([self.worker]).await;
    }
}

fn with(request: RequestBuilder, token: Option<&str>) -> RequestBuilder {
    token.into_iter().fold(request, RequestBuilder::bearer_auth)
}

async fn click(client: &Client, shop: &Shop, token: Option<&str>, user: Option<&str>) -> Answer {
    let mut body = json!({ "saleId": shop.sale });
    if let Some(user) = user {
        body["userId"] = user.into();
    }
    client.send(with(client.request(Method::POST, PURCHASE), token).json(&body)).await
}

/// A refusal of a token, with the challenge that clients read.
fn assert_refused(answer: &Answer, token: &str, why: &str) {
    assert_problem(answer, 401, "INVALID_TOKEN");
    assert_eq!(answer.headers["www-authenticate"], "Bearer error=\"invalid_token\"");
    let detail = answer.body["detail"].as_str().unwrap();
    assert!(detail.contains(why), "{why}: {detail}");
    let shows = token.split('.').any(|part| part.len() > 8 && format!("{answer:?}").contains(part));
    assert!(!shows, "no part of the token is repeated: {answer:?}");
}

fn issuers() -> [Issuer; 3] {
    [Issuer::hs256(TOKEN_SECRET.as_bytes()), Issuer::rs256("rsa-1"), Issuer::eddsa("ed-1")]
}

#[tokio::test]
async fn a_token_buys_and_reads_for_its_subject_and_for_nobody_else() {
    for issuer in issuers() {
        let counter = Counter::open(issuer, 10).await;
        let [ann, bob] = ["ann", "bob"].map(|user| counter.issuer.token(user));
        let won = counter.click(Some(&ann), None).await;
        assert_eq!(won.outcome(), "SUCCESS", "{won:?}");
        let again = counter.click(Some(&ann), Some("ann")).await;
        assert_eq!((again.outcome(), again.order_id()), ("ALREADY_PURCHASED", won.order_id()));
        assert_problem(&counter.click(Some(&bob), Some("ann")).await, 403, "FORBIDDEN");
        assert_problem(&counter.click(Some(&bob), Some("cid")).await, 403, "FORBIDDEN");
        assert_problem(&counter.click(None, Some("ann")).await, 401, "TOKEN_NEEDED");
        let bobs = counter.click(Some(&bob), Some("bob")).await;
        assert_eq!(bobs.outcome(), "SUCCESS", "nothing was bought in bob's name: {bobs:?}");

        let client = &counter.api.client;
        let promised: Vec<(String, String)> =
            [("ann", &won), ("bob", &bobs)].map(|(user, told)| (user.into(), told.order_id().unwrap().into())).into();
        counter.shop.check_books(&promised).await;
        let mine = counter.purchase_of(Some(&ann), "ann").await;
        assert_eq!((mine.order_id(), mine.outcome()), (won.order_id(), "CONFIRMED"), "{mine:?}");
        for user in ["bob", "nobody"] {
            assert_problem(&counter.purchase_of(Some(&ann), user).await, 403, "FORBIDDEN");
        }
        let needed = counter.purchase_of(None, "ann").await;
        assert_problem(&needed, 401, "TOKEN_NEEDED");
        assert_eq!(needed.headers["www-authenticate"], "Bearer", "RFC 6750, 3.1: nothing is wrong with no token");
        for path in ["/api/v1/sales".to_owned(), format!("/api/v1/sale/{}/status", counter.shop.sale)] {
            assert_eq!(client.get(&path).await.status, 200, "what everybody may read needs no token: {path}");
        }
        counter.close(&promised).await;
    }
}

#[tokio::test]
async fn a_buyer_lists_and_reads_their_own_orders_and_no_other() {
    let counter = Counter::open(Issuer::eddsa("ed-1"), 10).await;
    let client = &counter.api.client;
    let get = async |path: &str, token: &str| client.send(with(client.request(Method::GET, path), Some(token))).await;
    let [ann, bob] = ["ann", "bob"].map(|user| counter.issuer.token(user));
    let won = counter.click(Some(&ann), None).await;
    let order = won.order_id().unwrap().to_owned();
    let promised = [("ann".to_owned(), order.clone())];
    counter.shop.check_books(&promised).await;
    let path = format!("/api/v1/orders/{order}");
    assert_eq!(get(&path, &ann).await.order_id(), Some(order.as_str()));
    assert_problem(&get(&path, &bob).await, 404, "ORDER_NOT_FOUND");
    assert!(get("/api/v1/orders", &ann).await.body.to_string().contains(&order));
    assert!(!get("/api/v1/orders", &bob).await.body.to_string().contains(&order));
    assert_problem(&get("/api/v1/orders?userId=ann", &bob).await, 403, "FORBIDDEN");
    assert_problem(&client.get("/api/v1/orders").await, 401, "TOKEN_NEEDED");
    for step in ["pay", "cancel"] {
        let foreign = with(client.request(Method::POST, &format!("{path}/{step}")), Some(&bob));
        assert_problem(&client.send(foreign).await, 404, "ORDER_NOT_FOUND");
    }
    counter.close(&promised).await;
}

/// Tokens that do not count, each with a word of the reason.
fn wrong_tokens(issuer: &Issuer) -> Vec<(String, &'static str)> {
    let (now, algorithm) = (boot::clock::now_ms() / 1_000, issuer.algorithm());
    let claim = |field: &str, value: Value| {
        let mut claims = issuer.claims("ann");
        claims[field] = value;
        issuer.sign(&claims)
    };
    let right = issuer.claims("ann");
    let stranger = match algorithm {
        "HS256" => Issuer::hs256(&[7; 32]),
        "RS256" => Issuer::rs256("rsa-1"),
        _ => Issuer::eddsa("ed-1"),
    };
    let none = json!({ "alg": "none", "typ": "JWT", "kid": issuer.key_id() });
    let unsigned = format!("{}.{}.", encoded(none.to_string()), encoded(right.to_string()));
    let confused = Issuer::hs256(&issuer.public_key()).named(issuer.key_id());
    let mut wrong = vec![
        (unsigned, "cannot be read"),
        (issuer.sign_with(&none, &right), "cannot be read"),
        ("a.b.c".to_owned(), "cannot be read"),
        (stranger.token("ann"), "wrong signature"),
        (claim("aud", json!("somebody")), "audience"),
        (claim("aud", Value::Null), "no aud"),
        (claim("iss", json!("somebody")), "issuer"),
        (claim("iss", Value::Null), "no iss"),
        (claim("exp", json!(now - 3_600)), "expired"),
        (claim("exp", Value::Null), "no exp"),
        (claim("nbf", json!(now + 3_600)), "not valid yet"),
        (claim("sub", Value::Null), "no sub"),
        (claim("sub", json!("")), "no user id"),
        (confused.token("ann"), if algorithm == "HS256" { "wrong signature" } else { "must be signed with" }),
    ];
    if issuer.key_id().is_some() {
        let header = json!({ "alg": algorithm, "kid": "nobody" });
        wrong.push((issuer.sign_with(&header, &right), "not known"));
    }
    wrong
}

#[tokio::test]
async fn a_token_that_does_not_count_is_refused_with_the_reason_and_not_repeated() {
    for issuer in issuers() {
        let counter = Counter::open(issuer, 1).await;
        for (token, why) in wrong_tokens(&counter.issuer) {
            assert_refused(&counter.click(Some(&token), Some("ann")).await, &token, why);
            assert_refused(&counter.purchase_of(Some(&token), "ann").await, &token, why);
        }
        assert_eq!(counter.click(Some(&counter.issuer.token("ann")), None).await.outcome(), "SUCCESS");
        let log = lines(&counter.api.process).iter().map(ToString::to_string).collect::<String>();
        for secret in [TOKEN_SECRET, &counter.issuer.token("ann")[..60]] {
            assert!(!log.contains(secret));
        }
        let order = counter.purchase_of(Some(&counter.issuer.token("ann")), "ann").await;
        let promised = [("ann".to_owned(), order.order_id().unwrap().to_owned())];
        counter.close(&promised).await;
    }
}

#[tokio::test]
async fn operators_need_their_own_token_and_it_makes_nobody_a_buyer() {
    let counter = Counter::open(Issuer::hs256(TOKEN_SECRET.as_bytes()), 1).await;
    let client = &counter.api.client;
    let mut claims = counter.issuer.claims("operator");
    claims["role"] = "admin".into();
    claims["scope"] = "admin".into();
    for path in [format!("/api/v1/admin/sales/{}/verify", counter.shop.sale), "/api/v1/admin/dead-letters".into()] {
        for token in [counter.issuer.token("ann"), counter.issuer.sign(&claims), TOKEN_SECRET.to_owned()] {
            let answer = client.send(with(client.request(Method::GET, &path), Some(&token))).await;
            assert_problem(&answer, 401, "UNAUTHORIZED");
        }
        assert_eq!(client.get_as_operator(&path).await.status, 200);
    }
    assert_refused(&counter.click(Some(ADMIN_TOKEN), Some("ann")).await, ADMIN_TOKEN, "cannot be read");
    let twice = client.request(Method::POST, PURCHASE).bearer_auth(counter.issuer.token("ann"));
    let twice = twice.bearer_auth(counter.issuer.token("bob")).json(&json!({ "saleId": counter.shop.sale }));
    assert_refused(&client.send(twice).await, "", "once");
    counter.close(&[]).await;
}

#[tokio::test]
async fn where_the_requests_word_counts_no_token_is_looked_at() {
    let shop = Shop::with_stock(2).await;
    let issuer = Issuer::hs256(TOKEN_SECRET.as_bytes());
    let [ann, bob] = ["ann", "bob"].map(|user| issuer.token(user));
    assert_eq!(click(shop.client(), &shop, Some(&ann), Some("bob")).await.outcome(), "SUCCESS");
    assert_eq!(click(shop.client(), &shop, Some("nonsense"), Some("cid")).await.outcome(), "SUCCESS");
    assert_problem(&click(shop.client(), &shop, Some(&bob), None).await, 400, "INVALID_FIELD");
    let read = shop.client().request(Method::GET, &format!("/api/v1/sale/{}/user/bob/purchase", shop.sale));
    assert_eq!(shop.client().send(with(read, Some("nonsense"))).await.body["purchased"], true);
    let worker = shop.stack.persister();
    shop.stack.settled(shop.client(), shop.sale).await;
    shop.close([worker]).await;
}

#[tokio::test]
async fn keys_at_a_url_are_waited_for_exchanged_and_kept_while_nobody_answers() {
    let shop = Shop::with_stock(10).await;
    let (old, new) = (Issuer::rs256("old"), Issuer::rs256("new"));
    let server = KeyServer::start(None).await;
    let changes = [JWT, (ALGORITHM, "RS256"), (KEYS, server.url.as_str())];
    let api = shop.stack.api_with(&changes).await;
    let buy = async |token: &str| click(&api.client, &shop, Some(token), None).await;

    let unknown = buy(&old.token("ann")).await;
    assert_problem(&unknown, 503, "UNAVAILABLE");
    assert_eq!(unknown.headers["retry-after"], "1");
    assert_problem(&click(&api.client, &shop, None, None).await, 401, "TOKEN_NEEDED");
    server.serve(Some(jwks([&old])));
    let known = async || Some(buy(&old.token("ann")).await).filter(|answer| answer.status == 200);
    assert_eq!(until("the keys are fetched", SOON, known).await.outcome(), "SUCCESS");

    // Exchanged: a token with a key that nobody has seen makes the API ask, once in a while.
    server.serve(Some(jwks([&new])));
    let learned = async || Some(buy(&new.token("bob")).await).filter(|answer| answer.status == 200);
    assert_eq!(until("the new key is learned", SOON, learned).await.outcome(), "SUCCESS");
    assert_refused(&buy(&old.token("ann")).await, "", "not known");
    let asked = server.asked();
    for n in 0..50 {
        let forged = json!({ "alg": "RS256", "kid": format!("invented-{n}") });
        assert_refused(&buy(&new.sign_with(&forged, &new.claims("cid"))).await, "", "not known");
    }
    assert!(server.asked() <= asked + 1, "{} more", server.asked() - asked);

    for broken in [None, Some("<html>".to_owned()), Some(jwks([])), Some("x".repeat(300_000))] {
        server.serve(broken);
        let asked = server.asked();
        let answer = buy(&old.token("ann")).await;
        assert_refused(&answer, "", "not known");
        assert_eq!(buy(&new.token("bob")).await.outcome(), "ALREADY_PURCHASED", "{asked}");
    }
    let worker = shop.stack.persister();
    shop.stack.settled(&api.client, shop.sale).await;
    drop(api);
    shop.close([worker]).await;
}

#[tokio::test]
async fn keys_at_a_url_are_fetched_again_by_and_by_and_a_failure_keeps_the_old_ones() {
    let shop = Shop::with_stock(10).await;
    let (old, new) = (Issuer::eddsa("same"), Issuer::eddsa("same"));
    let server = KeyServer::start(Some(jwks([&old]))).await;
    let often = ("FLASHSALE__AUTH__JWKS_REFRESH_SECONDS", "1");
    let api = shop.stack.api_with(&[JWT, (ALGORITHM, "EdDSA"), (KEYS, server.url.as_str()), often]).await;
    let buy = async |token: &str| click(&api.client, &shop, Some(token), None).await;
    let known = async || Some(buy(&old.token("ann")).await).filter(|answer| answer.status == 200);
    until("the keys are fetched", SOON, known).await;
    for broken in [None, Some("[]".to_owned())] {
        let asked = server.asked();
        server.serve(broken);
        until("they are asked for again", SOON, async || (server.asked() > asked + 1).then_some(())).await;
        assert_eq!(buy(&old.token("ann")).await.outcome(), "ALREADY_PURCHASED");
    }
    api.process.wait_for_log("cannot be fetched, those from before stay").await;
    server.serve(Some(jwks([&new])));
    let exchanged = async || Some(buy(&new.token("bob")).await).filter(|answer| answer.status == 200);
    assert_eq!(until("the new keys are fetched", SOON, exchanged).await.outcome(), "SUCCESS");
    assert_refused(&buy(&old.token("ann")).await, "", "wrong signature");
    let worker = shop.stack.persister();
    shop.stack.settled(&api.client, shop.sale).await;
    drop(api);
    shop.close([worker]).await;
}

#[tokio::test]
async fn settings_that_do_not_fit_stop_the_start_and_are_named() {
    let stack = Stack::new().await;
    let keys = |value| [JWT, (ALGORITHM, "RS256"), (KEYS, value)];
    let short = [JWT, ("FLASHSALE__AUTH__HS256_SECRET", "planted-and-too-short"), ("", "")];
    for (changes, words) in [
        ([JWT, ("", ""), ("", "")], ["auth.hs256_secret", "FLASHSALE__AUTH__HS256_SECRET"]),
        (short, ["auth.hs256_secret", "at least 32"]),
        (keys(""), ["auth.jwks", "is not set"]),
        (keys("/nowhere/keys.json"), ["auth.jwks", "/nowhere/keys.json"]),
        (keys("Cargo.toml"), ["auth.jwks", "Cargo.toml"]),
        (keys("http://keys.example/keys"), ["auth.jwks", "must begin with https://"]),
        (keys("https://"), ["auth.jwks", "https://"]),
        ([JWT, (ALGORITHM, "HS512"), ("", "")], ["auth.algorithm", "HS512"]),
        ([("FLASHSALE__AUTH__ACCOUNTS", "true"), ("", ""), ("", "")], ["auth.accounts", "jwt"]),
    ] {
        let changes: Vec<_> = changes.into_iter().filter(|(name, _)| !name.is_empty()).collect();
        let mut process = stack.start_with("flashsale-api", &[], &changes);
        assert_eq!(process.ended().await.code(), Some(1));
        let said = process.log();
        for word in words {
            assert!(said.contains(word), "{changes:?} without {word}: {said}");
        }
        assert!(!said.contains("planted") && !said.contains("panicked"), "{said}");
    }
    stack.close().await;
}

#[tokio::test]
async fn whatever_is_sent_as_authorization_is_an_ordinary_refusal() {
    let counter = Counter::open(Issuer::hs256(TOKEN_SECRET.as_bytes()), 1).await;
    let client = counter.api.client.clone();
    let right = counter.issuer.token("ann");
    let header = prop_oneof![
        "[ -~]{0,200}",
        "(?i)(bearer|basic|digest|negotiate)[ ,;=\t]{0,3}[ -~]{0,200}",
        "(?i)bearer [A-Za-z0-9_-]{0,80}\\.[A-Za-z0-9_-]{0,80}\\.[A-Za-z0-9_-]{0,80}",
        (0..right.len()).prop_map(move |cut| format!("Bearer {}", &right[..cut])),
    ];
    let bytes = prop_oneof![header.prop_map(String::into_bytes), prop::collection::vec(0x80_u8.., 0..100)];
    let handle = tokio::runtime::Handle::current();
    let sale = counter.shop.sale;
    // On a thread of its own: proptest waits for each answer.
    let fuzzed = tokio::task::spawn_blocking(move || {
        let config = Config { cases: 300, failure_persistence: None, ..Config::default() };
        TestRunner::new(config).run(&bytes, |bytes| {
            let value = HeaderValue::from_bytes(&bytes).unwrap();
            let request = client.request(Method::POST, PURCHASE).header("authorization", value);
            let answer = handle.block_on(client.send(request.json(&json!({ "saleId": sale }))));
            prop_assert_eq!(answer.status, 401, "{:?}", answer);
            prop_assert_eq!(&answer.body["code"], "INVALID_TOKEN");
            Ok(())
        })
    });
    fuzzed.await.unwrap().unwrap();
    counter.close(&[]).await;
}
