//! PostgreSQL away, slow or misconfigured.

use ledger::{Config, Error, Ledger};

use crate::fixture::{Fixture, config, one};

#[tokio::test]
async fn a_server_that_is_away_is_a_transient_failure_without_the_password() {
    let away = Config { acquire_timeout_ms: 200, ..config("postgres://u:planted@127.0.0.1:1/none") };
    let error = Ledger::new(&away).unwrap().ping().await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert!(!format!("{error} {error:?} {away:?}").contains("planted"));
}

#[tokio::test]
async fn a_url_that_cannot_be_read_is_named_without_the_password() {
    let error = Ledger::new(&config("postgres://u:planted@host:port/none")).unwrap_err();
    assert!(matches!(error, Error::Config(_)), "{error}");
    assert!(!format!("{error} {error:?}").contains("planted"));
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_a_transient_failure() {
    let fixture = Fixture::with_stock(1).await;
    let mut holder = fixture.connect().await;
    sqlx::raw_sql("BEGIN; SELECT FROM sales FOR UPDATE").execute(&mut holder).await.unwrap();
    let hasty = Ledger::new(&Config { statement_timeout_ms: 100, ..config(&fixture.database.url) }).unwrap();
    let error = hasty.persist(&fixture.batch(1, &[one("ann")]), None).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.unwrap();
    hasty.close().await;
    fixture.close().await;
}

#[tokio::test]
async fn a_connection_that_the_server_cut_does_not_reach_the_next_caller() {
    let fixture = Fixture::with_stock(1).await;
    sqlx::raw_sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    .execute(&mut fixture.connect().await)
    .await
    .unwrap();
    fixture.ledger.ping().await.unwrap();
    fixture.close().await;
}

#[tokio::test]
async fn books_that_are_never_released_free_the_sale_after_the_statement_timeout() {
    let fixture = Fixture::with_stock(1).await;
    let forgetful = Ledger::new(&Config { statement_timeout_ms: 100, ..config(&fixture.database.url) }).unwrap();
    let locked = forgetful.lock_books(fixture.sale).await.unwrap().unwrap();
    fixture.apply(1, &[one("ann")]).await;
    assert!(locked.release().await.is_err(), "the server has ended that transaction");
    forgetful.close().await;
    fixture.close().await;
}

#[tokio::test]
async fn a_database_that_was_never_migrated_is_no_transient_failure() {
    let fixture = Fixture::with_stock(1).await;
    let other = Ledger::new(&config(&fixture.database.url.replace(&fixture.database.name, "postgres"))).unwrap();
    let error = other.sales().await.unwrap_err();
    assert!(matches!(error, Error::Other(_)) && !error.is_transient(), "{error}");
    other.close().await;
    fixture.close().await;
}
