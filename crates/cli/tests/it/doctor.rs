//! `flashsale doctor`: all is well, or what is not is named with what mends it.

use std::time::Duration;

use serde_json::Value;
use testkit::{Own, until};

use crate::desk::{Desk, bare, told};

/// Runs doctor with the settings of the processes and these changes: its code and its findings.
fn examined(desk: &Desk, changes: &[(&str, &str)]) -> (i32, Vec<Value>) {
    let mut command = desk.command(&["doctor", "--output", "json"]);
    command.envs(desk.stack.variables()).envs(changes.iter().copied());
    let (code, output, complaints) = told(&command.output().unwrap());
    assert_eq!(complaints, "");
    let report: Value = serde_json::from_str(&output).unwrap();
    (code, report["checks"].as_array().unwrap().clone())
}

/// Everything that is not well: `area name: level`.
fn complaints(findings: &[Value]) -> Vec<String> {
    let text = |finding: &Value, field: &str| finding[field].as_str().unwrap_or_default().to_owned();
    let bad = findings.iter().filter(|finding| finding["level"] != "OK");
    bad.map(|one| format!("{} {}: {}", text(one, "area"), text(one, "name"), text(one, "level"))).collect()
}

fn fix_of(findings: &[Value], name: &str) -> String {
    let finding = findings.iter().find(|finding| finding["name"] == name && finding["level"] != "OK");
    finding.unwrap_or_else(|| panic!("no complaint about {name}: {findings:#?}"))["fix"].to_string()
}

#[tokio::test]
async fn on_a_system_as_it_should_be_everything_is_well() {
    let desk = Desk::with(Own { redis: true, postgres: true, ..Own::NONE }, &[]).await;
    desk.open_sale("Lamp", 3).await;
    let operator = [("REDIS_OPERATOR_URL", desk.stack.redis.operator_url())];
    let (code, findings) = examined(&desk, &operator);
    assert_eq!((code, complaints(&findings)), (0, vec![]), "{findings:#?}");
    let names: Vec<&str> = findings.iter().map(|finding| finding["name"].as_str().unwrap()).collect();
    for name in ["fsync", "migrations", "appendfsync", "maxmemory-policy", "a message", "ready", "keeper", "books"] {
        assert!(names.contains(&name), "nothing of {name}: {names:?}");
    }
    // The account of the processes does not read what holds passwords.
    let (code, findings) = examined(&desk, &[]);
    assert_eq!((code, complaints(&findings)), (0, vec!["Redis appendfsync: SKIP".to_owned()]));
    assert!(fix_of(&findings, "appendfsync").contains("REDIS_OPERATOR_URL"));

    let mut command = desk.command(&["doctor"]);
    let (code, table, _) = told(&command.envs(desk.stack.variables()).envs(operator).output().unwrap());
    assert_eq!(code, 0);
    assert!(table.contains("everything that was looked at is well") && !table.contains("password"), "{table}");
    desk.close().await;
}

#[tokio::test]
async fn each_server_that_is_away_or_refuses_is_named_with_its_fix() {
    let mut desk = Desk::with(Own::REDIS, &[]).await;
    let stranger = |url: &str| {
        let (scheme, place) = (url.split_once("://").unwrap().0, url.rsplit_once('@').unwrap().1);
        format!("{scheme}://flashsale:wrong@{place}")
    };
    let variables = desk.stack.variables();
    let url = |name: &str| variables.iter().find(|(found, _)| found == name).unwrap().1.clone();
    for (name, area, check, fix) in [
        ("FLASHSALE__POSTGRES__URL", "PostgreSQL", "connection", "postgres_accounts.sql"),
        ("FLASHSALE__REDIS__URL", "Redis", "connection", "ACL SETUSER"),
        ("FLASHSALE__RABBITMQ__URL", "RabbitMQ", "a message", "add_user"),
    ] {
        let (code, findings) = examined(&desk, &[(name, &stranger(&url(name)))]);
        assert_eq!(code, 1, "{name}");
        assert!(complaints(&findings).contains(&format!("{area} {check}: FAIL")), "{findings:#?}");
        let found = findings.iter().find(|one| one["area"] == area && one["level"] == "FAIL").unwrap();
        assert!(found["fix"].as_str().unwrap().contains(fix), "{found:#}");
    }
    for (name, value, area) in [
        ("FLASHSALE__POSTGRES__URL", "postgres://flashsale@127.0.0.1:9/x", "PostgreSQL"),
        ("FLASHSALE__REDIS__URL", "redis://127.0.0.1:9/0", "Redis"),
        ("FLASHSALE__RABBITMQ__URL", "amqp://127.0.0.1:9/%2f", "RabbitMQ"),
    ] {
        let (code, findings) = examined(&desk, &[(name, value)]);
        assert_eq!(code, 1);
        let found = findings.iter().find(|one| one["area"] == area && one["level"] == "FAIL").unwrap();
        assert!(found["fix"].as_str().unwrap().contains("start "), "{found:#}");
    }
    desk.stack.redis.kill();
    let (code, findings) = examined(&desk, &[]);
    assert_eq!(code, 1);
    let told = complaints(&findings);
    assert!(told.contains(&"Redis connection: FAIL".to_owned()) && told.contains(&"API ready: FAIL".to_owned()));
    desk.stack.redis.start();
    desk.close().await;
}

#[tokio::test]
async fn a_redis_that_may_forget_is_found_with_the_command_that_mends_it() {
    let mut desk = Desk::with(Own::REDIS, &[]).await;
    let operator = desk.stack.redis.operator_url().to_owned();
    for (setting, value, right, name) in [
        ("appendfsync", "everysec", "always", "appendfsync"),
        ("maxmemory-policy", "allkeys-lru", "noeviction", "maxmemory-policy"),
        ("appendonly", "no", "yes", "appendonly"),
    ] {
        desk.stack.redis.tell(&format!("CONFIG SET {setting} {value}"));
        let (code, findings) = examined(&desk, &[("REDIS_OPERATOR_URL", &operator)]);
        assert_eq!(code, 1);
        assert!(fix_of(&findings, name).contains(&format!("CONFIG SET {setting} {right}")), "{findings:#?}");
        desk.stack.redis.tell(&format!("CONFIG SET {setting} {right}"));
    }
    let (code, findings) = examined(&desk, &[("REDIS_OPERATOR_URL", "redis://default:wrong@127.0.0.1:9")]);
    assert!(code == 1 && fix_of(&findings, "appendfsync").contains("REDIS_OPERATOR_URL"));
    desk.close().await;
}

#[tokio::test]
async fn wrong_settings_absent_workers_and_wrong_books_are_named() {
    let mut desk = Desk::open().await;
    let sale = desk.open_sale("Lamp", 3).await;
    let (code, findings) = examined(&desk, &[("FLASHSALE__KEEPER__TICK_MS", "0")]);
    assert_eq!(code, 1);
    let fields = findings.iter().find(|finding| finding["name"] == "fields").unwrap();
    assert!(fields["found"].as_str().unwrap().contains("keeper.tick_ms"), "{fields:#}");
    assert!(complaints(&findings).contains(&"Redis connection: SKIP".to_owned()));

    assert_eq!(desk.run(&["sale", "edit", "Lamp", "--hold", "10m"]).0, 0);
    let (_, findings) = examined(&desk, &[("FLASHSALE__PAYMENTS__PROVIDER", "none")]);
    assert!(fix_of(&findings, "payments").contains("FLASHSALE__PAYMENTS__PROVIDER"));
    assert_eq!(desk.run(&["sale", "edit", "Lamp", "--hold", "0"]).0, 0);

    assert_eq!(desk.api.client.purchase(sale, "ann").await.outcome(), "SUCCESS");
    desk.stack.settled(&desk.api.client, sale).await;
    let mut connection = desk.stack.database.connect().await;
    let meddle = "UPDATE orders SET quantity = quantity + $1";
    sqlx::query(meddle).bind(1).execute(&mut connection).await.unwrap();
    let (code, findings) = examined(&desk, &[]);
    assert!(code == 1 && fix_of(&findings, "books").contains(&format!("flashsale verify {sale}")), "{findings:#?}");
    sqlx::query(meddle).bind(-1).execute(&mut connection).await.unwrap();

    let keeper = desk.workers.pop().unwrap();
    keeper.stop().await;
    // What the API tells may be half a second old.
    let is_missed = async || {
        let (code, findings) = examined(&desk, &[]);
        let is_missed = complaints(&findings).iter().any(|complaint| complaint.starts_with("Workers keeper"));
        is_missed.then_some((code, findings))
    };
    let (code, findings) = until("the keeper is missed", Duration::from_secs(10), is_missed).await;
    assert!(code == 1 && fix_of(&findings, "keeper").contains("start flashsale-keeper"), "{findings:#?}");
    desk.workers.push(desk.stack.keeper());
    desk.close().await;
}

#[tokio::test]
async fn without_an_api_or_its_token_the_servers_are_looked_at_all_the_same() {
    let desk = Desk::open().await;
    let (code, findings) = examined(&desk, &[("FLASHSALE_URL", "http://127.0.0.1:9")]);
    assert_eq!(code, 1);
    assert!(fix_of(&findings, "connection").contains("flashsale-api"));
    assert!(findings.iter().any(|finding| finding["area"] == "RabbitMQ" && finding["level"] == "OK"));
    let (code, findings) = examined(&desk, &[("FLASHSALE_ADMIN_TOKEN", "another")]);
    assert!(code == 1 && fix_of(&findings, "operator's token").contains("FLASHSALE_ADMIN_TOKEN"));
    let (_, output, _) = told(&bare(&["doctor", "--output", "json"]).output().unwrap());
    let report: Value = serde_json::from_str(&output).unwrap();
    assert!(complaints(report["checks"].as_array().unwrap()).contains(&"API connection: SKIP".to_owned()));
    desk.close().await;
}
