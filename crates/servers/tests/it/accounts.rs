//! What our processes' accounts may not do on the three servers. That they may do what they need is shown by every
//! other test of the project: all of them run under these accounts.

use std::fs;
use std::process::Command;

use lapin::options::{
    BasicConsumeOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions,
    QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind};
use servers::{Postgres, RabbitMq, RabbitMqPorts, Redis, Running, free_port, password_of, url_as};

use crate::servers::{PATIENCE, private_folder, psql, start};

/// Sends one command and gives the code of the error it is answered with, if any.
fn redis_refusal(url: &str, command: &str) -> Option<String> {
    let mut connection = redis::Client::open(url).unwrap().get_connection().unwrap();
    let words: Vec<&str> = command.split(' ').collect();
    let answer: redis::RedisResult<redis::Value> = redis::cmd(words[0]).arg(&words[1..]).query(&mut connection);
    answer.err().map(|error| error.code().unwrap_or_default().to_owned())
}

#[test]
fn redis_lets_our_processes_at_their_own_keys_and_commands_only() {
    let (_parent, dir) = private_folder();
    let running = start(&Redis::new(&dir, free_port().unwrap(), "secret"));
    let (app, operator) = (running.url(), running.operator_url());
    for command in ["SET foreign 1", "HSET foreign:h f 1", "HSET xsale:h f 1", "HSET sale:1 f 1"] {
        assert_eq!(redis_refusal(operator, command), None, "{command}");
    }
    for command in ["HGET sale:1 f", "HSET sale:1 g 2", "PING", "UNLINK sale:2", "SET limit:1 1", "GET limit:1"] {
        assert_eq!(redis_refusal(app, command), None, "{command}");
    }
    let foreign_keys = [
        "HGET foreign:h f",
        "HGET xsale:h f",
        "UNLINK foreign:h",
        "UNLINK sale:1 foreign:h",
        "GET foreign",
        "SET foreign 2",
    ];
    let foreign_commands = [
        "GETDEL limit:1",
        "APPEND sale:1 x",
        "DEL sale:1",
        "FLUSHALL",
        "FLUSHDB",
        "CONFIG GET *",
        "CONFIG SET appendonly no",
        "KEYS *",
        "SCAN 0",
        "EVAL return 0",
        "SCRIPT FLUSH",
        "CLIENT LIST",
        "CLIENT PAUSE 1",
        "ACL LIST",
        "ACL WHOAMI",
        "MONITOR",
        "SHUTDOWN",
        "REPLICAOF NO ONE",
        "SWAPDB 0 1",
        "PUBLISH sale:1 x",
        "SAVE",
        "MODULE LIST",
        "DBSIZE",
    ];
    for command in foreign_keys.iter().chain(&foreign_commands) {
        assert_eq!(redis_refusal(app, command).as_deref(), Some("NOPERM"), "{command}");
    }
    // Switched off for everybody, which Redis looks at first.
    assert!(redis_refusal(app, "DEBUG SLEEP 0").is_some());
    assert_eq!(redis_refusal(operator, "DBSIZE"), None);
}

#[test]
fn a_script_of_our_processes_gets_no_further_than_they_do() {
    let (_parent, dir) = private_folder();
    let running = start(&Redis::new(&dir, free_port().unwrap(), "secret"));
    assert_eq!(redis_refusal(running.operator_url(), "SET kept 1"), None);
    let mut connection = redis::Client::open(running.url()).unwrap().get_connection().unwrap();
    for script in ["return redis.call('FLUSHALL')", "return redis.call('HSET', 'foreign', 'f', '1')"] {
        let sha: String = redis::cmd("SCRIPT").arg("LOAD").arg(script).query(&mut connection).unwrap();
        let ran: redis::RedisResult<redis::Value> = redis::cmd("EVALSHA").arg(sha).arg(0).query(&mut connection);
        assert!(ran.is_err(), "{script}");
    }
    let mut operator = redis::Client::open(running.operator_url()).unwrap().get_connection().unwrap();
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut operator).unwrap();
    assert_eq!(keys, ["kept"]);
}

/// Runs a statement through psql and gives the SQLSTATE of its error, if any.
fn sql_refusal(url: &str, statement: &str) -> Option<String> {
    let mut psql = Command::new("psql");
    let output = psql.args([url, "-Atq", "-v", "VERBOSITY=sqlstate", "-c", statement]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    (!output.status.success()).then(|| said.trim().rsplit(' ').next().unwrap_or_default().to_owned())
}

/// A cluster with the database `shop`, in which the owner has made a table and a function.
fn shop() -> (tempfile::TempDir, Postgres, Running) {
    let (parent, dir) = private_folder();
    let postgres = Postgres { database: "shop".to_owned(), ..Postgres::new(dir, free_port().unwrap(), "secret") };
    let running = start(&postgres);
    for statement in [
        "CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, units int NOT NULL)",
        "CREATE VIEW sold AS SELECT sum(units) AS units FROM orders",
        "CREATE FUNCTION buy() RETURNS int LANGUAGE sql AS 'INSERT INTO orders (units) VALUES (1) RETURNING units'",
    ] {
        assert_eq!(sql_refusal(&postgres.owner_url(), statement), None, "{statement}");
    }
    (parent, postgres, running)
}

/// What [`servers::APP`] may not do in the database of [`shop`], whoever has made its tables.
fn expect_rows_and_calls_only(running: &Running) {
    let app = running.url();
    for statement in [
        "SELECT buy()",
        "SELECT units FROM sold",
        "INSERT INTO orders (units) VALUES (2)",
        "UPDATE orders SET units = 3",
        "SELECT id FROM orders FOR UPDATE",
        "DELETE FROM orders",
    ] {
        assert_eq!(sql_refusal(app, statement), None, "{statement}");
    }
    for statement in [
        "CREATE TABLE mine (id int)",
        "CREATE TEMP TABLE mine (id int)",
        "CREATE SCHEMA mine",
        "DROP TABLE orders",
        "DROP VIEW sold",
        "DROP FUNCTION buy",
        "TRUNCATE orders",
        "ALTER TABLE orders ADD COLUMN mine int",
        "ALTER TABLE orders DISABLE TRIGGER ALL",
        "CREATE INDEX mine ON orders (units)",
        "CREATE OR REPLACE FUNCTION buy() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE ROLE mine",
        "CREATE DATABASE mine",
        "ALTER DATABASE shop SET fsync = off",
        "SELECT pg_read_file('postgresql.conf')",
        "COPY orders TO '/tmp/orders'",
        "COPY orders TO PROGRAM 'true'",
        "SELECT rolpassword FROM pg_authid",
        "SELECT pg_reload_conf()",
        "ALTER SYSTEM SET fsync = off",
        "SET ROLE flashsale_owner",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'postgres'",
    ] {
        let refusal = sql_refusal(app, statement);
        assert!(matches!(refusal.as_deref(), Some("42501")), "{statement}: {refusal:?}");
    }
    for other in ["postgres", "template1"] {
        let url = app.replace("/shop", &format!("/{other}"));
        assert!(
            Command::new("psql").args([&url, "-c", "SELECT 1"]).output().unwrap().status.code() == Some(2),
            "{other}"
        );
    }
}

#[test]
fn postgres_lets_our_processes_at_rows_and_functions_only() {
    let (_parent, _postgres, running) = shop();
    expect_rows_and_calls_only(&running);
}

#[test]
fn the_owner_of_the_database_has_no_right_outside_of_it() {
    let (_parent, postgres, _running) = shop();
    let owner = postgres.owner_url();
    for statement in ["CREATE ROLE mine", "CREATE DATABASE mine", "SELECT rolpassword FROM pg_authid"] {
        assert_eq!(sql_refusal(&owner, statement).as_deref(), Some("42501"), "{statement}");
    }
}

#[test]
fn a_cluster_that_its_superuser_made_alone_gets_its_accounts_at_the_next_start() {
    let (_parent, postgres, mut running) = shop();
    let operator = running.operator_url().to_owned();
    for statement in [
        "REASSIGN OWNED BY flashsale_owner TO postgres",
        "DROP OWNED BY flashsale, flashsale_owner; DROP ROLE flashsale, flashsale_owner",
        "GRANT CONNECT ON DATABASE postgres, template1, shop TO PUBLIC",
        "CREATE ROLE helper SUPERUSER LOGIN PASSWORD 'secret'",
    ] {
        psql(&operator, statement);
    }
    psql(&operator.replace("postgres:secret", "helper:secret"), "ALTER ROLE postgres RENAME TO flashsale");
    running.kill().unwrap();
    fs::remove_file(postgres.dir.join("data/flashsale-accounts")).unwrap();

    let running = start(&postgres);
    expect_rows_and_calls_only(&running);
    assert_eq!(sql_refusal(&postgres.owner_url(), "ALTER TABLE orders ADD COLUMN late int"), None);
    assert_eq!(sql_refusal(&postgres.owner_url(), "CREATE TABLE later (id int)"), None);
    assert_eq!(psql(running.url(), "SELECT count(*) FROM later"), "0");
    assert_eq!(
        psql(running.operator_url(), "SELECT rolname FROM pg_roles WHERE rolsuper ORDER BY oid"),
        "postgres\nhelper"
    );
}

async fn channel(url: &str) -> (Connection, Channel) {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    (connection, channel)
}

/// Runs one command on a connection of its own and tells whether access was refused.
async fn is_refused<T>(url: &str, command: impl AsyncFnOnce(&Channel) -> lapin::Result<T>) -> bool {
    const ACCESS_REFUSED: u16 = 403;
    let (_connection, channel) = channel(url).await;
    let outcome = command(&channel).await;
    let Err(error) = outcome else { return false };
    let lapin::ErrorKind::ProtocolError(amqp) = error.kind() else { panic!("{error}") };
    assert_eq!(amqp.get_id(), ACCESS_REFUSED, "{error}");
    true
}

async fn declare(channel: &Channel, queue: &str) -> lapin::Result<lapin::Queue> {
    channel.queue_declare(queue.into(), QueueDeclareOptions::durable(), FieldTable::default()).await
}

async fn publish(channel: &Channel, exchange: &str, key: &str) -> lapin::Result<()> {
    let options = BasicPublishOptions::default();
    channel.basic_publish(exchange.into(), key.into(), options, b"x", BasicProperties::default()).await?.await.map(drop)
}

/// What [`servers::APP`] may not do, next to a queue `foreign` that the operator has made.
async fn expect_own_names_only(running: &Running) {
    let (app, operator) = (running.url(), running.operator_url());
    assert!(!is_refused(operator, async |channel| declare(channel, "foreign").await).await);
    assert!(!is_refused(operator, async |channel| publish(channel, "", "foreign").await).await);
    assert!(!is_refused(app, async |channel| declare(channel, "flashsale.own").await).await);
    let table = FieldTable::default;
    assert!(is_refused(app, async |c| declare(c, "mine").await).await);
    assert!(is_refused(app, async |c| declare(c, "xflashsale.own").await).await);
    assert!(
        is_refused(app, async |c| {
            c.exchange_declare("mine".into(), ExchangeKind::Direct, ExchangeDeclareOptions::default(), table()).await
        })
        .await
    );
    assert!(is_refused(app, async |c| c.queue_delete("foreign".into(), QueueDeleteOptions::default()).await).await);
    assert!(is_refused(app, async |c| c.queue_purge("foreign".into(), Default::default()).await).await);
    assert!(is_refused(app, async |c| c.basic_get("foreign".into(), BasicGetOptions::default()).await).await);
    assert!(
        is_refused(app, async |c| {
            c.basic_consume("foreign".into(), "me".into(), BasicConsumeOptions::default(), table()).await
        })
        .await
    );
    assert!(is_refused(app, async |c| publish(c, "", "foreign").await).await);
    assert!(is_refused(app, async |c| publish(c, "amq.topic", "x").await).await);
    assert!(
        is_refused(app, async |c| {
            c.queue_bind("flashsale.own".into(), "amq.topic".into(), "#".into(), QueueBindOptions::default(), table())
                .await
        })
        .await
    );
    let kept = async |c: &Channel| c.basic_get("foreign".into(), BasicGetOptions { no_ack: true }).await;
    let (_connection, channel) = channel(operator).await;
    assert!(kept(&channel).await.unwrap().is_some());
}

#[tokio::test]
async fn rabbitmq_lets_our_processes_at_their_own_names_only_after_a_restart_too() {
    let (_parent, dir) = private_folder();
    let rabbitmq = RabbitMq::new(&dir, RabbitMqPorts::free().unwrap(), "secret");
    let mut running = start(&rabbitmq);
    expect_own_names_only(&running).await;
    running.stop(PATIENCE).unwrap();
    expect_own_names_only(&start(&rabbitmq)).await;
}

#[tokio::test]
async fn a_node_on_which_our_user_was_the_administrator_demotes_it_at_the_next_start() {
    let (parent, dir) = private_folder();
    let old = parent.path().join("old.json");
    let everything = r#""vhost": "/", "configure": ".*", "write": ".*", "read": ".*""#;
    let user = r#"{"name": "flashsale", "password": "secret", "tags": "administrator"}"#;
    let permissions = format!(r#"{{"user": "flashsale", {everything}}}"#);
    let definitions = format!(r#"{{"vhosts": [{{"name": "/"}}], "users": [{user}], "permissions": [{permissions}]}}"#);
    fs::write(&old, definitions).unwrap();
    let rabbitmq = RabbitMq::new(&dir, RabbitMqPorts::free().unwrap(), "secret");
    let settings = vec![("load_definitions".to_owned(), "../old.json".to_owned())];
    let mut running = start(&RabbitMq { settings, ..rabbitmq.clone() });
    let as_ever = running.operator_url().replace("operator", "flashsale");
    assert!(!is_refused(&as_ever, async |channel| declare(channel, "anything").await).await);
    running.stop(PATIENCE).unwrap();

    let running = start(&rabbitmq);
    expect_own_names_only(&running).await;
    assert!(Connection::connect(&as_ever, ConnectionProperties::default()).await.is_err(), "the old password");
}

#[test]
fn each_account_has_a_password_of_its_own_that_does_not_tell_the_secret() {
    let secret = "a-secret";
    let passwords = ["flashsale", "flashsale_owner"].map(|account| password_of(account, secret));
    assert_ne!(passwords[0], passwords[1]);
    for (account, password) in ["flashsale", "flashsale_owner"].into_iter().zip(passwords) {
        assert!(password.len() == 64 && !password.contains(secret), "{password}");
        let expected = format!("scheme://{account}:{password}@host:1/db");
        assert_eq!(url_as(account, "scheme://operator:a-secret@host:1/db"), Some(expected));
    }
    for no_url in ["", "host:1/db", "scheme://host", "scheme://operator@host"] {
        assert_eq!(url_as("flashsale", no_url), None);
    }
}
