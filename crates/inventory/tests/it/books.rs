//! The snapshot of an epoch.

use domain::Epoch;

use crate::sale::{EPOCH, Sale, attempt};

#[tokio::test]
async fn a_snapshot_holds_gate_buyers_outbox_and_the_adjustments_asked_for() {
    let sale = Sale::open(5).await;
    sale.reserve(&[attempt("ann", 2), attempt("bob", 1)]).await;
    sale.adjust(&[(11, 4), (12, -1)]).await;
    let snapshot = sale.inventory.snapshot(sale.id, EPOCH, &[12, 13]).await.unwrap().unwrap();
    assert_eq!((snapshot.gate.stock, snapshot.buyers, snapshot.outbox.len()), (5, 2, 2));
    assert_eq!(snapshot.adjusted, [12].into());
    assert_eq!(sale.inventory.snapshot(sale.id, Epoch(8), &[12]).await.unwrap(), None);
    sale.check_books(5 + 4 - 1, 0, 0).await;
}
