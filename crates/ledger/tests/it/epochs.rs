//! Batches of another epoch than the sale's, and batches during a drain.

use domain::Applied::{Fenced, Inserted, Stale, UserHasOrder};
use domain::Epoch;
use uuid::Uuid;

use crate::fixture::{Fixture, one, units};

#[tokio::test]
async fn only_the_reconciler_that_drains_may_write() {
    let fixture = Fixture::with_stock(10).await;
    let (_, token) = fixture.drain().await;
    let ann = one("ann");
    let batch = fixture.batch(1, std::slice::from_ref(&ann));
    for stranger in [None, Some(Uuid::new_v4())] {
        assert_eq!(fixture.ledger.apply(&batch, stranger).await.unwrap(), [(ann.id, Fenced)]);
    }
    assert_eq!(fixture.books().await.orders, 0);

    assert_eq!(fixture.ledger.apply(&batch, Some(token)).await.unwrap(), [(ann.id, Inserted)]);
    assert_eq!(fixture.adjustments().await, [], "the stock is yet to be computed from this order");
    fixture.close().await;
}

#[tokio::test]
async fn a_reconciler_that_was_overtaken_may_not_write_even_when_the_sale_is_open_again() {
    let fixture = Fixture::with_stock(10).await;
    let (_, overtaken) = fixture.drain().await;
    fixture.rebuild().await;
    let ann = one("ann");
    let outcome = fixture.ledger.apply(&fixture.batch(1, std::slice::from_ref(&ann)), Some(overtaken)).await.unwrap();
    assert_eq!(outcome, [(ann.id, Fenced)]);
    fixture.close().await;
}

#[tokio::test]
async fn a_late_order_takes_its_units_off_the_present_gate_once() {
    let fixture = Fixture::with_stock(10).await;
    let epoch = fixture.rebuild().await;
    let late = [units("ann", 2), one("bob")];
    for _ in 0..2 {
        fixture.apply(1, &late).await;
    }
    let pending = fixture.ledger.pending_adjustments(fixture.sale).await.unwrap();
    let found: Vec<_> = pending.iter().map(|row| (row.epoch, row.delta, row.reason.as_str())).collect();
    assert_eq!(found, [(epoch, -2, "late_epoch"), (epoch, -1, "late_epoch")]);
    fixture.close().await;
}

#[tokio::test]
async fn a_second_order_of_a_dead_epoch_gives_nothing_back() {
    let fixture = Fixture::with_stock(10).await;
    fixture.apply(1, &[one("ann")]).await;
    fixture.rebuild().await;
    assert_eq!(fixture.apply(1, &[units("ann", 3)]).await, [UserHasOrder]);
    assert_eq!(fixture.adjustments().await, []);
    fixture.close().await;
}

#[tokio::test]
async fn a_batch_from_before_a_reset_is_stale() {
    let fixture = Fixture::with_stock(10).await;
    let before = [one("ann"), one("bob")];
    let (epoch, token) = fixture.drain().await;
    fixture.ledger.reset(fixture.sale, epoch, token, "operator").await.unwrap().unwrap();
    assert_eq!(fixture.apply(1, &before).await, [Stale, Stale]);
    fixture.open(epoch, token).await;

    assert_eq!(fixture.apply(1, &before).await, [Stale, Stale]);
    assert_eq!(fixture.apply(epoch.0, &before).await, [Inserted, Inserted]);
    assert_eq!(fixture.ledger.sale(fixture.sale).await.unwrap().unwrap().valid_from_epoch, Epoch(2));
    fixture.close().await;
}
