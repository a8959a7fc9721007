//! Workers start before their servers: each says once what it waits for and where, and when that is there.

use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use testkit::{Process, Proxy, Stack, Wire, until};
use tokio::net::TcpListener;

use crate::fixture::{PATIENCE, waiting_for_a_lock};

/// How often a line with both texts was logged.
fn count(process: &Process, text: &str, also: &str) -> usize {
    process.log().lines().filter(|line| line.contains(text) && line.contains(also)).count()
}

#[tokio::test]
async fn a_worker_says_once_what_it_waits_for_and_where_and_when_it_is_there() {
    let stack = Stack::new().await;
    let variables = stack.variables();
    let url = |wanted: &str| variables.iter().find(|(name, _)| name == wanted).expect("a URL").1.as_str();
    let (postgres, rabbitmq) = (url("FLASHSALE__POSTGRES__URL"), url("FLASHSALE__RABBITMQ__URL"));
    let (to_postgres, to_rabbitmq) = (Proxy::before(postgres).await, Proxy::before(rabbitmq).await);
    to_postgres.set(Wire::Cut);
    to_rabbitmq.set(Wire::Cut);
    let (postgres, rabbitmq) = (to_postgres.url_of(postgres), to_rabbitmq.url_of(rabbitmq));
    let changes = [
        ("FLASHSALE__POSTGRES__URL", postgres.as_str()),
        ("FLASHSALE__RABBITMQ__URL", rabbitmq.as_str()),
        ("FLASHSALE__POSTGRES__ACQUIRE_TIMEOUT_MS", "300"),
    ];
    let at = |url: &str| url.rsplit('@').next().unwrap().split('/').next().unwrap().to_owned();
    let [persister, keeper] =
        ["flashsale-persister", "flashsale-keeper"].map(|name| stack.start_with(name, &[], &changes));
    persister.wait_for_log(&format!("RabbitMQ cannot be reached at {}", at(&rabbitmq))).await;
    keeper.wait_for_log(&format!("the sales cannot be read, PostgreSQL is at {}", at(&postgres))).await;
    keeper.wait_for_log("the publisher has no connection to the broker").await;
    to_rabbitmq.set(Wire::Open);
    persister.wait_for_log("over: RabbitMQ cannot be reached").await;
    persister.wait_for_log(&format!("the open sales cannot be read, PostgreSQL is at {}", at(&postgres))).await;
    keeper.wait_for_log("the publisher is connected to the broker").await;
    to_postgres.set(Wire::Open);
    persister.wait_for_log("over: the open sales cannot be read").await;
    keeper.wait_for_log("over: the sales cannot be read").await;

    for (process, text) in [
        (&persister, "RabbitMQ cannot be reached"),
        (&persister, "the open sales cannot be read"),
        (&keeper, "the sales cannot be read"),
        (&keeper, "the publisher has no connection to the broker"),
    ] {
        assert_eq!(count(process, text, "WARN"), 1, "{text}:\n{}", process.log());
    }
    for process in [persister, keeper] {
        let secrets = [&postgres, &rabbitmq].map(|url| url.rsplit_once('@').unwrap().0.rsplit_once(':').unwrap().1);
        for secret in secrets {
            assert!(!process.log().contains(secret), "{}", process.log());
        }
        assert!(process.stop().await.success());
    }
}

#[tokio::test]
async fn an_outage_is_told_once_however_often_the_server_is_tried() {
    let stack = Stack::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (postgres, rabbitmq) = (format!("postgres://u:p@{address}/d"), format!("amqp://u:p@{address}/%2f"));
    for (name, variable, url, text) in [
        ("flashsale-persister", "FLASHSALE__RABBITMQ__URL", &rabbitmq, "RabbitMQ cannot be reached"),
        ("flashsale-keeper", "FLASHSALE__RABBITMQ__URL", &rabbitmq, "the publisher has no connection to the broker"),
        ("flashsale-persister", "FLASHSALE__POSTGRES__URL", &postgres, "the open sales cannot be read"),
        ("flashsale-keeper", "FLASHSALE__POSTGRES__URL", &postgres, "the sales cannot be read"),
    ] {
        let changes = [(variable, url.as_str()), ("FLASHSALE__POSTGRES__ACQUIRE_TIMEOUT_MS", "300")];
        let process = stack.start_with(name, &[], &changes);
        for _ in 0..4 {
            let attempt = tokio::time::timeout(PATIENCE, listener.accept()).await;
            drop(attempt.expect("it goes on trying").unwrap());
        }
        process.wait_for_log(text).await;
        assert_eq!(count(&process, text, "WARN"), 1, "{}", process.log());
        assert!(process.stop().await.success());
    }
}

#[tokio::test]
async fn a_login_that_is_refused_is_said_clearly() {
    let stack = Stack::new().await;
    let variables = stack.variables();
    let url = |wanted: &str| variables.iter().find(|(name, _)| name == wanted).expect("a URL").1.clone();
    let rabbitmq = url("FLASHSALE__RABBITMQ__URL");
    let (head, authority) = rabbitmq.rsplit_once('@').unwrap();
    let user = head.rsplit_once(':').unwrap().0;
    let host = authority.split('/').next().unwrap();
    let no_such_database = url("FLASHSALE__POSTGRES__URL").replace(&stack.database.name, "no_such_database");
    for (variable, value, said) in [
        ("FLASHSALE__RABBITMQ__URL", format!("{user}:planted-secret@{host}/%2f"), "ACCESS_REFUSED"),
        ("FLASHSALE__RABBITMQ__URL", format!("{head}@{host}/no-such-vhost"), "no-such-vhost"),
        ("FLASHSALE__POSTGRES__URL", no_such_database, "no_such_database"),
    ] {
        for name in ["flashsale-persister", "flashsale-keeper"] {
            let process = stack.start_with(name, &[], &[(variable, &value)]);
            let line = process.wait_for_log(said).await;
            assert!(line.contains("WARN"), "{line}");
            assert!(!process.log().contains("planted-secret"), "{}", process.log());
            assert!(process.stop().await.success());
        }
        let mut reconcile = stack.start_with("flashsale-reconcile", &["--wait-seconds", "1"], &[(variable, &value)]);
        assert!(!reconcile.ended().await.success());
        let log = reconcile.log();
        let last = log.split("Error: ").nth(1).expect(&log);
        assert!(last.contains(said) && last.contains("is not there in time"), "{log}");
        assert!(!log.contains("planted-secret"), "{log}");
    }
}

#[tokio::test]
async fn a_reconcile_that_waits_in_vain_names_the_server_and_where_it_looked() {
    let stack = Stack::new().await;
    for (variable, server) in [
        ("FLASHSALE__POSTGRES__URL", "PostgreSQL"),
        ("FLASHSALE__REDIS__URL", "Redis"),
        ("FLASHSALE__RABBITMQ__URL", "RabbitMQ"),
    ] {
        let url = stack.variables().into_iter().find(|(name, _)| name == variable).expect("a URL").1;
        for wire in [Wire::Cut, Wire::Silent] {
            let proxy = Proxy::before(&url).await;
            proxy.set(wire);
            let url = proxy.url_of(&url);
            let mut process = stack.start_with("flashsale-reconcile", &["--wait-seconds", "1"], &[(variable, &url)]);
            assert!(!process.ended().await.success());
            let log = process.log();
            let address = url.rsplit('@').next().unwrap().split('/').next().unwrap();
            assert!(log.contains(&format!("Error: {server} at {address} is not there in time")), "{log}");
        }
    }
}

/// Settings under which a reconcile that waits a second gives an answer three more, and PostgreSQL a statement two.
fn hasty(postgres: &str) -> [(&'static str, &str); 6] {
    [
        ("FLASHSALE__POSTGRES__URL", postgres),
        ("FLASHSALE__POSTGRES__OWNER_URL", ""),
        ("FLASHSALE__WORKER__WATCHDOG_SECONDS", "3"),
        ("FLASHSALE__POSTGRES__ACQUIRE_TIMEOUT_MS", "500"),
        ("FLASHSALE__POSTGRES__STATEMENT_TIMEOUT_MS", "2000"),
        ("FLASHSALE__RABBITMQ__HEARTBEAT_SECONDS", "1"),
    ]
}

#[tokio::test]
async fn a_reconcile_outlasts_failures_of_postgresql_that_pass() {
    let stack = Stack::new().await;
    stack.create_sale(5).await;
    for table in ["_sqlx_migrations", "sales"] {
        let mut owner = PgConnection::connect(&stack.database.owner_url).await.unwrap();
        let mut lock = owner.begin().await.unwrap();
        lock.execute(AssertSqlSafe(format!("LOCK TABLE {table}"))).await.unwrap();
        let settings = hasty(&stack.database.owner_url);
        let mut reconcile = stack.start_with("flashsale-reconcile", &[], &settings);
        reconcile.wait_for_log("canceling statement due to statement timeout").await;
        lock.rollback().await.unwrap();
        assert!(reconcile.ended().await.success(), "{table}:\n{}", reconcile.log());
    }
}

#[tokio::test]
async fn a_reconcile_that_gets_no_answer_any_more_ends_all_the_same() {
    let stack = Stack::new().await;
    stack.create_sale(5).await;
    for (lock, problem) in [
        ("LOCK TABLE _sqlx_migrations", "the database cannot be migrated in time"),
        ("LOCK TABLE sales", "the sales cannot be read in time"),
        ("SELECT FROM sales FOR UPDATE", "no answer"),
    ] {
        let mut owner = PgConnection::connect(&stack.database.owner_url).await.unwrap();
        let mut locked = owner.begin().await.unwrap();
        locked.execute(lock).await.unwrap();
        let proxy = Proxy::before(&stack.database.owner_url).await;
        let url = proxy.url_of(&stack.database.owner_url);
        let started = Instant::now();
        let arguments = ["--wait-seconds", "1"];
        let mut reconcile = stack.start_with("flashsale-reconcile", &arguments, &hasty(&url));
        until("it waits for the lock", PATIENCE, async || waiting_for_a_lock(&stack).await).await;
        proxy.set(Wire::Silent);
        locked.rollback().await.unwrap();
        assert!(!reconcile.ended().await.success(), "{lock}:\n{}", reconcile.log());
        let log = reconcile.log();
        let last = log.split("Error: ").nth(1).expect(&log);
        assert!(last.contains(problem) && last.contains("no answer"), "{lock}: {log}");
        assert!(started.elapsed() < Duration::from_secs(15), "{:?}: {log}", started.elapsed());
    }
}
