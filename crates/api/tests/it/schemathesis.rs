//! Schemathesis asks for everything that the OpenAPI document offers, with good and bad values made up from it, and
//! holds each answer against what the document says of it.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use domain::SaleId;
use ledger::NewSale;
use serde_json::{Value, json};
use testkit::{ADMIN_TOKEN, Client, Issuer, Stack, TOKEN_SECRET, new_sale};
use tokio::time::timeout;

use crate::fixture::Shop;
use crate::identity::{JWT, SECRET};
use crate::openapi::Document;

/// Where `cargo xtask test` has installed it.
const FOLDER: &str = "FLASHSALE_TEST_SCHEMATHESIS_DIR";
/// Beyond this it hangs.
const LONGEST: Duration = Duration::from_secs(150);

/// A stream without an end is no answer that could be judged.
const ENDLESS: &str = "saleEvents";

const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_schema_conformance,response_headers_conformance,ignored_auth";

fn program(name: &str) -> Command {
    let folder = std::env::var(FOLDER).unwrap_or_else(|_| panic!("{FOLDER} is not set: run `cargo xtask test`"));
    Command::new(PathBuf::from(folder).join(name))
}

/// Runs a program to its end and returns whether it succeeded, and what it said.
async fn run(mut command: Command) -> (bool, String) {
    let output = tokio::task::spawn_blocking(move || command.output().expect("it is installed"));
    let output = timeout(LONGEST, output).await.expect("it comes to an end").expect("no panic");
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    (output.status.success(), said)
}

/// Lets `ids` be among the values of everything called `name`: of made-up ids alone nothing would ever be found.
fn offer(document: &mut Value, name: &str, ids: &[String]) {
    let known = json!({ "anyOf": [{ "enum": ids }, { "type": "string", "format": "uuid" }] });
    match document {
        Value::Object(fields) => {
            if fields.get("name").is_some_and(|one| one == name) && fields.contains_key("in") {
                fields.insert("schema".to_owned(), known.clone());
            }
            if let Some(property) = fields.get_mut("properties").and_then(|properties| properties.get_mut(name))
                && property["type"] == "string"
            {
                *property = known;
            }
            fields.values_mut().for_each(|value| offer(value, name, ids));
        }
        Value::Array(all) => all.iter_mut().for_each(|value| offer(value, name, ids)),
        _ => {}
    }
}

/// Lets everything that asks for a sale or an order find one.
fn offer_all(document: &mut Value, sales: &[String], orders: &[String]) {
    offer(document, "saleId", sales);
    let paths = document["paths"].as_object_mut().expect("paths");
    let of_orders: Vec<&mut Value> =
        paths.iter_mut().filter(|(path, _)| path.contains("/orders/{id}")).map(|(_, said)| said).collect();
    assert_eq!(of_orders.len(), 4, "paths to one order");
    of_orders.into_iter().for_each(|said| offer(said, "id", orders));
}

/// A few sales, with and without a payment step, of which something was bought.
async fn sales(stack: Stack) -> (Shop, Vec<String>, Vec<String>) {
    let held = |stock| {
        let sale = new_sale(stock);
        NewSale { terms: domain::Terms { hold_seconds: 3_600, ..sale.terms }, ..sale }
    };
    let rest: Vec<SaleId> = [stack.create(&held(50)).await, stack.create(&new_sale(50)).await].into();
    let shop = Shop::on(stack, &held(100)).await;
    let sales: Vec<SaleId> = [shop.sale].into_iter().chain(rest).collect();
    let mut orders = Vec::new();
    for sale in &sales {
        for user in ["ann", "bob", "cid", "dan"] {
            let answer = shop.client().purchase(*sale, user).await;
            orders.push(answer.order_id().unwrap_or_else(|| panic!("{answer:?}")).to_owned());
        }
    }
    (shop, sales.iter().map(ToString::to_string).collect(), orders)
}

/// What of the document is asked for, and how.
struct Scope<'a> {
    /// Options that choose operations.
    operations: &'a [&'a str],
    token: Option<&'a str>,
    phases: &'a str,
    /// Requests for each operation and phase, as a rule.
    examples: &'a str,
}

/// Asks for everything within the scope, and judges every answer. Returns the statuses that there were.
async fn judge(client: &Client, document: &Value, scope: Scope<'_>) -> BTreeSet<u64> {
    let folder = tempfile::tempdir().unwrap();
    let [file, log] = ["openapi.json", "answers.har"].map(|name| folder.path().join(name));
    std::fs::write(&file, document.to_string()).unwrap();
    let mut schemathesis = program("schemathesis");
    schemathesis.current_dir(&folder).arg("run").arg(&file).args(["--url", client.url()]).args(scope.operations);
    if let Some(token) = scope.token {
        schemathesis.args(["--header", &format!("Authorization: Bearer {token}")]);
    }
    schemathesis.args(["--checks", CHECKS, "--phases", scope.phases, "--max-examples", scope.examples]);
    schemathesis.args(["--generation-deterministic", "--suppress-health-check", "all", "--warnings", "off"]);
    schemathesis.args(["--continue-on-failure", "--no-color", "--no-shrink", "--report", "har"]);
    schemathesis.arg("--report-har-path").arg(&log);
    let (conforms, said) = run(schemathesis).await;
    assert!(conforms, "{said}");
    println!("{said}");
    let log: Value = serde_json::from_slice(&std::fs::read(&log).unwrap()).unwrap();
    log["log"]["entries"].as_array().unwrap().iter().filter_map(|one| one["response"]["status"].as_u64()).collect()
}

#[tokio::test]
async fn nothing_that_the_document_offers_is_answered_otherwise_than_it_says() {
    let (shop, sales, orders) = sales(Stack::new().await).await;
    let workers = [shop.stack.persister(), shop.stack.keeper()];
    let mut document = Document::of(shop.client()).await.document;
    let mut file = tempfile::NamedTempFile::with_suffix(".json").unwrap();
    file.write_all(document.to_string().as_bytes()).unwrap();
    let mut validator = program("python");
    validator.args(["-m", "openapi_spec_validator"]).arg(file.path());
    let (valid, said) = run(validator).await;
    assert!(valid, "{said}");

    offer_all(&mut document, &sales, &orders);
    let scope = Scope {
        operations: &["--exclude-operation-id", ENDLESS],
        token: Some(ADMIN_TOKEN),
        phases: "examples,coverage,fuzzing",
        examples: "40",
    };
    judge(shop.client(), &document, scope).await;
    let mut touched = 0;
    for sale in sales {
        shop.stack.settled(shop.client(), sale.parse().unwrap()).await;
        let trail = shop.client().get_as_operator(&format!("/api/v1/admin/sales/{sale}/audit")).await;
        touched += usize::from(trail.body["events"].as_array().unwrap().iter().any(|one| one["actor"] == "operator"));
    }
    assert!(touched > 0, "what it asked about was there");
    shop.close(workers).await;
}

#[tokio::test]
async fn buyers_with_and_without_a_token_are_answered_as_the_document_says() {
    let (shop, sales, orders) = sales(Stack::new().await).await;
    let workers = [shop.stack.persister(), shop.stack.keeper()];
    for sale in &sales {
        shop.stack.settled(shop.client(), sale.parse().unwrap()).await;
    }
    let api = shop.stack.api_with(&[JWT, SECRET, ("FLASHSALE__AUTH__ACCOUNTS", "true")]).await;
    let mut document = Document::of(&api.client).await.document;
    offer_all(&mut document, &sales, &orders);
    offer(&mut document, "userId", &["ann", "bob"].map(str::to_owned));
    let token = Issuer::hs256(TOKEN_SECRET.as_bytes()).token("ann");
    let buyers = ["--include-tag", "Orders", "--include-tag", "Purchases"];
    let scope = Scope { operations: &buyers, token: None, phases: "coverage", examples: "5" };
    assert!(judge(&api.client, &document, scope).await.contains(&401));
    let operations = &[&buyers[..], &["--include-tag", "Accounts"]].concat();
    let scope = Scope { operations, token: Some(&token), phases: "coverage,fuzzing", examples: "15" };
    let statuses = judge(&api.client, &document, scope).await;
    let missing: Vec<u64> =
        [200, 201, 400, 401, 403, 404, 409].into_iter().filter(|one| !statuses.contains(one)).collect();
    assert!(missing.is_empty(), "{missing:?} are not in {statuses:?}");
    for sale in sales {
        shop.stack.settled(&api.client, sale.parse().unwrap()).await;
    }
    drop(api);
    shop.close(workers).await;
}
