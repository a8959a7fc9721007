//! Refusal counts arrive exactly once.

use std::time::Duration;

use domain::{Epoch, Refusal, SaleId};
use ledger::RefusalCount;
use uuid::Uuid;

use crate::fixture::Fixture;

fn counted(fixture: &Fixture, reason: Refusal, at_second: i64, count: i64) -> RefusalCount {
    RefusalCount { sale_id: fixture.sale, epoch: Epoch(1), reason, at_second, count }
}

#[tokio::test]
async fn a_flush_that_is_sent_again_counts_once() {
    let fixture = Fixture::with_stock(1).await;
    let (process, other) = (Uuid::new_v4(), Uuid::new_v4());
    let first = [
        counted(&fixture, Refusal::SoldOut, 100, 7),
        counted(&fixture, Refusal::SoldOut, 101, 2),
        counted(&fixture, Refusal::AlreadyPurchased, 100, 1),
    ];
    let second = [counted(&fixture, Refusal::SoldOut, 100, 30)];
    for (process, seq, counts) in [
        (process, 1, &first[..]),
        (process, 1, &first),
        (process, 2, &second),
        (process, 1, &first),
        (other, 1, &second),
    ] {
        fixture.ledger.flush_refusals(process, seq, counts).await.unwrap();
    }
    let mut totals = fixture.ledger.refusal_totals(fixture.sale).await.unwrap();
    totals.sort();
    assert_eq!(totals, [(Refusal::SoldOut, 69), (Refusal::AlreadyPurchased, 1)]);
    fixture.close().await;
}

#[tokio::test]
async fn two_epochs_of_one_second_add_up_and_unknown_sales_do_not_count() {
    let fixture = Fixture::with_stock(1).await;
    let count = counted(&fixture, Refusal::TryAgain, 100, 5);
    let next = RefusalCount { epoch: Epoch(2), ..count.clone() };
    let stray = RefusalCount { sale_id: SaleId(Uuid::new_v4()), ..count.clone() };
    fixture.ledger.flush_refusals(Uuid::new_v4(), 1, &[count, next, stray]).await.unwrap();
    assert_eq!(fixture.ledger.refusal_totals(fixture.sale).await.unwrap(), [(Refusal::TryAgain, 10)]);
    let rows: i64 =
        sqlx::query_scalar("SELECT count(*) FROM refusals").fetch_one(&mut fixture.connect().await).await.unwrap();
    assert_eq!(rows, 1);
    fixture.close().await;
}

#[tokio::test]
async fn counts_from_before_a_reset_are_dropped_even_when_they_wait_for_it() {
    let fixture = Fixture::with_stock(1).await;
    fixture.ledger.flush_refusals(Uuid::new_v4(), 1, &[counted(&fixture, Refusal::SoldOut, 100, 5)]).await.unwrap();
    let (epoch, token) = fixture.drain().await;

    let mut reset = fixture.connect().await;
    sqlx::raw_sql("BEGIN").execute(&mut reset).await.unwrap();
    sqlx::query("SELECT reset_sale($1, $2, $3, 'operator')")
        .bind(fixture.sale.0)
        .bind(epoch.0)
        .bind(token)
        .execute(&mut reset)
        .await
        .unwrap();
    let late = [
        counted(&fixture, Refusal::SoldOut, 101, 3),
        RefusalCount { epoch, ..counted(&fixture, Refusal::NotActive, 102, 4) },
    ];
    let flush = async {
        fixture.ledger.flush_refusals(Uuid::new_v4(), 1, &late).await.unwrap();
    };
    let commit = async {
        fixture.until_someone_waits(&mut reset).await;
        sqlx::raw_sql("COMMIT").execute(&mut reset).await.unwrap();
    };
    tokio::join!(flush, commit);
    assert_eq!(fixture.ledger.refusal_totals(fixture.sale).await.unwrap(), [(Refusal::NotActive, 4)]);
    fixture.close().await;
}

#[tokio::test]
async fn a_flush_does_not_wait_for_a_persist() {
    let fixture = Fixture::with_stock(1).await;
    let mut persist = fixture.connect().await;
    sqlx::query("SELECT apply_batch($1, 1, NULL, 0, 'EUR', 0, ARRAY[gen_random_uuid()], '{ann}', '{1}', '{0}')")
        .bind(fixture.sale.0)
        .execute(begin(&mut persist).await)
        .await
        .unwrap();
    let counts = [counted(&fixture, Refusal::SoldOut, 100, 5)];
    let flush = fixture.ledger.flush_refusals(Uuid::new_v4(), 1, &counts);
    tokio::time::timeout(Duration::from_secs(5), flush).await.expect("it does not wait").unwrap();
    sqlx::raw_sql("COMMIT").execute(&mut persist).await.unwrap();
    assert_eq!(fixture.ledger.refusal_totals(fixture.sale).await.unwrap(), [(Refusal::SoldOut, 5)]);
    fixture.close().await;
}

async fn begin(connection: &mut sqlx::PgConnection) -> &mut sqlx::PgConnection {
    sqlx::raw_sql("BEGIN").execute(&mut *connection).await.unwrap();
    connection
}
