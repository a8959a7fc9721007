//! Many persisters at once.

use std::collections::HashSet;
use std::sync::Arc;

use domain::{Applied, ReservationId};
use tokio::task::JoinSet;

use crate::fixture::{Fixture, one, units};

#[tokio::test(flavor = "multi_thread")]
async fn overlapping_batches_of_eight_persisters_never_oversell_and_lose_nothing() {
    let fixture = Arc::new(Fixture::with_stock(100).await);
    let offered: Arc<Vec<_>> = Arc::new((0..240).map(|n| units(&format!("user-{n}"), 1 + n % 2)).collect());
    let mut persisters = JoinSet::new();
    for persister in 0..8 {
        let (fixture, offered) = (fixture.clone(), offered.clone());
        persisters.spawn(async move {
            let mut inserted = Vec::new();
            for part in 0..12 {
                // Each begins elsewhere and reaches half into its neighbour's batches.
                let start = (persister * 25 + part * 20) % 201;
                let batch = fixture.batch(1, &offered[start..start + 40]);
                let applied = fixture.ledger.apply(&batch, None).await.unwrap();
                inserted.extend(applied.into_iter().filter(|(_, outcome)| *outcome == Applied::Inserted));
            }
            inserted
        });
    }
    let inserted: Vec<(ReservationId, Applied)> = persisters.join_all().await.into_iter().flatten().collect();
    let distinct: HashSet<_> = inserted.iter().map(|(id, _)| *id).collect();
    let sold: i64 = offered.iter().filter(|r| distinct.contains(&r.id)).map(|r| i64::from(r.quantity.get())).sum();
    let books = fixture.books().await;
    assert_eq!(distinct.len(), inserted.len(), "each was inserted once");
    assert_eq!(books.active_units, sold);
    assert!((99..=100).contains(&sold), "sold out but for a unit that no pair fits into, not {sold}");
    assert_eq!(books.orders, 240, "every reservation has its row");
    Arc::into_inner(fixture).unwrap().close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_reservations_of_one_buyer_one_becomes_an_order() {
    let fixture = Arc::new(Fixture::with_stock(100).await);
    let mut clicks = JoinSet::new();
    for _ in 0..20 {
        let fixture = fixture.clone();
        clicks.spawn(async move { fixture.apply(1, &[one("ann")]).await[0] });
    }
    let outcomes = clicks.join_all().await;
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Applied::Inserted).count(), 1);
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Applied::UserHasOrder).count(), 19);
    let back: i32 = fixture.adjustments().await.iter().map(|(delta, _)| delta).sum();
    assert_eq!(back, 19);
    Arc::into_inner(fixture).unwrap().close().await;
}
