//! Secrets show nowhere: in no log, however much is logged, and in no answer.

use reqwest::Method;
use serde_json::json;
use servers::Signal;
use testkit::{ADMIN_TOKEN, Answer, Client, Process, REDIS_PASSWORD, Stack, TOKEN_SECRET, new_sale};

use crate::fixture::Shop;
use crate::identity;
use crate::logs::lines;

/// As much as there is, lapin's frames asked for by name.
const EVERYTHING: (&str, &str) = ("FLASHSALE__LOG__FILTER", "trace,lapin=trace,lapin::channel=trace");
const WORKERS: [&str; 2] = ["flashsale-persister", "flashsale-keeper"];
const PLANTED: &str = "planted-and-never-to-be-seen";

/// The passwords in the URLs of a system's settings, with the variable of each.
fn passwords(stack: &Stack) -> Vec<(String, String)> {
    let urls = stack.variables().into_iter().filter(|(_, value)| value.contains("://"));
    urls.filter_map(|(name, url)| {
        let (_, rest) = url.split_once("//")?;
        let (_, password) = rest.split_once('@')?.0.split_once(':')?;
        Some((name, password.to_owned()))
    })
    .collect()
}

/// Asks for everything that may tell a secret, with secrets where none belong. The answers.
async fn ask_around(client: &Client, sale: &str) -> Vec<Answer> {
    let mut answers = Vec::new();
    for path in ["/livez", "/readyz", "/health", "/api/v1/sales", "/nothing", &format!("/api/v1/sale/{sale}/status")] {
        answers.push(client.get(path).await);
        answers.push(client.get(&format!("{path}?token={PLANTED}")).await);
    }
    let verify = format!("/api/v1/admin/sales/{sale}/verify");
    answers.push(client.get_as_operator(&verify).await);
    for wrong in [format!("Bearer {PLANTED}"), format!("Basic {PLANTED}"), format!("{PLANTED} {ADMIN_TOKEN}")] {
        let body = json!({ "saleId": sale, "token": PLANTED });
        let request = client.request(Method::POST, "/api/v1/admin/reset").header("authorization", &wrong);
        answers.push(client.send(request.header("cookie", &wrong).json(&body)).await);
        let request = client.request(Method::GET, &verify).header("authorization", &wrong);
        answers.push(client.send(request).await);
    }
    answers
}

fn assert_silent(secrets: &[String], processes: &[Process], answers: &[Answer]) {
    assert!(secrets.len() >= 4, "the secrets are known: {}", secrets.len());
    for secret in secrets {
        assert!(secret.len() >= 8, "long enough not to be found by chance");
        for process in processes {
            let log = process.log();
            let line = log.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "{secret} is in a log");
        }
        for answer in answers {
            assert!(!format!("{answer:?}").contains(secret), "{secret} is in {answer:?}");
        }
    }
}

#[tokio::test]
async fn no_secret_shows_from_start_to_stop_when_all_is_well_and_everything_is_logged() {
    let shop = Shop::on(Stack::with_own_redis().await, &new_sale(1)).await;
    let api = shop.stack.api_with(&[EVERYTHING]).await;
    let mut reconcile = shop.stack.start_with("flashsale-reconcile", &[], &[EVERYTHING]);
    assert!(reconcile.ended().await.success());
    let mut processes: Vec<Process> = WORKERS.map(|name| shop.stack.start_with(name, &[], &[EVERYTHING])).into();

    let sale = shop.sale.to_string();
    let mut answers = vec![api.client.purchase(shop.sale, "ann").await, api.client.purchase(shop.sale, "bob").await];
    assert_eq!(answers[0].outcome(), "SUCCESS");
    shop.stack.settled(&api.client, shop.sale).await;
    answers.extend(ask_around(&api.client, &sale).await);
    answers.push(api.client.reset(shop.sale, false).await);
    assert_eq!(answers.last().unwrap().status, 200);

    processes.push(api.process);
    for process in &mut processes {
        assert!(!lines(process).is_empty());
        process.signal(Signal::TERM);
        process.ended().await;
    }
    processes.push(reconcile);
    let mut secrets: Vec<String> = passwords(&shop.stack).into_iter().map(|(_, password)| password).collect();
    secrets.extend([ADMIN_TOKEN, REDIS_PASSWORD, PLANTED].map(str::to_owned));
    assert_silent(&secrets, &processes, &answers);
    shop.close([]).await;
}

#[tokio::test]
async fn no_secret_of_a_buyer_shows_when_everything_is_logged() {
    let shop = Shop::with_stock(1).await;
    let accounts = ("FLASHSALE__AUTH__ACCOUNTS", "true");
    let api = shop.stack.api_with(&[EVERYTHING, identity::JWT, identity::SECRET, accounts]).await;
    let credentials = json!({ "email": "ann@shop.example", "password": PLANTED });
    let mut answers = Vec::new();
    for path in ["/api/v1/accounts", "/api/v1/accounts", "/api/v1/accounts/login", "/api/v1/accounts/nothing"] {
        answers.push(api.client.send(api.client.request(Method::POST, path).json(&credentials)).await);
    }
    assert_eq!(answers[2].status, 200, "{answers:?}");
    // Its owner alone is told the token.
    let token = answers.remove(2).body["token"].as_str().unwrap().to_owned();
    let signature = token.rsplit_once('.').unwrap().1.to_owned();
    for token in [token.clone(), token.clone() + "x", signature.clone()] {
        let request = api.client.request(Method::POST, "/api/v1/sale/purchase").bearer_auth(&token);
        answers.push(api.client.send(request.json(&json!({ "saleId": shop.sale }))).await);
        let request = api.client.request(Method::GET, "/api/v1/admin/dead-letters").bearer_auth(&token);
        answers.push(api.client.send(request).await);
    }
    let hash = shop.stack.ledger.account("ann@shop.example").await.unwrap().unwrap().password_hash;
    let hash = secrecy::ExposeSecret::expose_secret(&hash).to_owned();
    assert!(!lines(&api.process).is_empty());
    let secrets = [PLANTED.to_owned(), TOKEN_SECRET.to_owned(), signature, hash];
    let worker = shop.stack.persister();
    shop.stack.settled(&api.client, shop.sale).await;
    assert_silent(&secrets, &[api.process], &answers);
    shop.close([worker]).await;
}

/// Starts everything with these settings, has it fail, and looks for secrets.
async fn fail(stack: &Stack, changes: &[(&str, &str)]) {
    let api = stack.listening_api(changes).await;
    let mut processes: Vec<Process> = WORKERS.map(|name| stack.start_with(name, &[], changes)).into();
    processes.push(api.process);
    let mut reconcile = stack.start_with("flashsale-reconcile", &["--wait-seconds", "2"], changes);
    let answers = ask_around(&api.client, &uuid::Uuid::new_v4().to_string()).await;
    for process in &processes {
        process.wait_for_log("WARN").await;
        lines(process);
    }
    assert!(!reconcile.ended().await.success());
    for process in &mut processes {
        process.signal(Signal::TERM);
        process.ended().await;
    }
    processes.push(reconcile);
    let mut secrets: Vec<String> = passwords(stack).into_iter().map(|(_, password)| password).collect();
    secrets.extend([ADMIN_TOKEN, PLANTED].map(str::to_owned));
    assert_silent(&secrets, &processes, &answers);
    for answer in answers {
        assert!(!format!("{answer:?}").contains("127.0.0.1"), "{answer:?}");
    }
}

#[tokio::test]
async fn no_secret_shows_when_no_server_can_be_reached() {
    let stack = Stack::new().await;
    let at = |scheme: &str| format!("{scheme}://user:{PLANTED}@127.0.0.1:9/0");
    let (postgres, redis, rabbitmq) = (at("postgres"), at("redis"), at("amqp"));
    let nowhere = [
        ("FLASHSALE__POSTGRES__URL", postgres.as_str()),
        ("FLASHSALE__POSTGRES__OWNER_URL", &postgres),
        ("FLASHSALE__REDIS__URL", &redis),
        ("FLASHSALE__RABBITMQ__URL", &rabbitmq),
        ("FLASHSALE__POSTGRES__ACQUIRE_TIMEOUT_MS", "500"),
        EVERYTHING,
    ];
    fail(&stack, &nowhere).await;
    stack.close().await;
}

#[tokio::test]
async fn no_secret_shows_when_every_server_refuses_the_password() {
    let stack = Stack::new().await;
    let variables = stack.variables();
    let passwords = passwords(&stack);
    let wrong = |name: &str| {
        let url = &variables.iter().find(|(each, _)| each == name).unwrap().1;
        let (_, password) = passwords.iter().find(|(each, _)| each == name).unwrap();
        url.replace(password, PLANTED)
    };
    let names = ["FLASHSALE__POSTGRES__URL", "FLASHSALE__REDIS__URL", "FLASHSALE__RABBITMQ__URL"];
    let urls = names.map(|name| (name, wrong(name)));
    let mut changes: Vec<_> = urls.iter().map(|(name, url)| (*name, url.as_str())).collect();
    changes.extend([("FLASHSALE__POSTGRES__ACQUIRE_TIMEOUT_MS", "500"), EVERYTHING]);
    fail(&stack, &changes).await;
    stack.close().await;
}
