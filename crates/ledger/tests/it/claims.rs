//! Claims: decided once, booked once, whoever comes first.

use domain::Epoch;
use ledger::{ClaimState, Edited, SaleChanges, Settled};
use tokio::task::JoinSet;

use crate::fixture::{Fixture, units};

impl Fixture {
    /// A claim that would leave the sale `total_stock` units.
    async fn claim(&self, total_stock: u32) -> i64 {
        let lower = SaleChanges { total_stock: Some(total_stock), ..SaleChanges::default() };
        match self.ledger.edit_sale(self.sale, &lower, "ann").await.unwrap() {
            Edited::Claimed(claim) => claim,
            edited => panic!("{edited:?}"),
        }
    }

    async fn state_of(&self, claim: i64) -> ClaimState {
        self.ledger.claim_state(claim).await.unwrap()
    }

    async fn total(&self) -> i64 {
        self.ledger.sale(self.sale).await.unwrap().unwrap().total_stock
    }

    async fn settle(&self) -> (Epoch, uuid::Uuid, Settled) {
        let (epoch, token) = self.drain().await;
        (epoch, token, self.ledger.settle_stock(self.sale, epoch, token).await.unwrap().unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_many_settle_at_once_is_booked_once() {
    let fixture = Fixture::with_stock(10).await;
    let claim = fixture.claim(6).await;
    assert_eq!(fixture.state_of(claim).await, ClaimState::Undecided);
    let mut settling = JoinSet::new();
    for _ in 0..8 {
        let ledger = fixture.ledger.clone();
        settling.spawn(async move { ledger.settle_claim(claim, Epoch(1), true).await.unwrap() });
    }
    assert_eq!(settling.join_all().await, [Some(true); 8]);
    assert_eq!((fixture.total().await, fixture.state_of(claim).await), (6, ClaimState::Granted));
    assert_eq!(
        fixture.ledger.settle_claim(claim, Epoch(1), false).await.unwrap(),
        Some(true),
        "what is said stays said"
    );
    assert_eq!(fixture.total().await, 6);
    let lowered: i64 = sqlx::query_scalar("SELECT count(*) FROM audit WHERE event = 'STOCK_LOWERED'")
        .fetch_one(&mut fixture.connect().await)
        .await
        .unwrap();
    assert_eq!(lowered, 1);
    fixture.close().await;
}

#[tokio::test]
async fn a_rebuild_leaves_an_open_claim_to_the_new_gate_and_what_the_dead_one_said_is_not_booked() {
    let fixture = Fixture::with_stock(10).await;
    fixture.apply(1, &[units("bob", 3)]).await;
    let claim = fixture.claim(5).await;
    let (epoch, token, settled) = fixture.settle().await;
    assert_eq!((settled.stock, fixture.total().await), (7, 10), "the units are still there");
    assert_eq!(fixture.ledger.settle_claim(claim, Epoch(1), true).await.unwrap(), None);
    assert_eq!(fixture.ledger.pending_adjustments(fixture.sale).await.unwrap(), [], "nobody asks a gate meanwhile");
    fixture.open(epoch, token).await;

    assert_eq!(fixture.ledger.settle_claim(claim, Epoch(1), true).await.unwrap(), None);
    assert_eq!((fixture.total().await, fixture.state_of(claim).await), (10, ClaimState::Undecided));
    let pending = fixture.ledger.pending_adjustments(fixture.sale).await.unwrap();
    assert_eq!(pending.iter().map(|one| (one.id, one.epoch)).collect::<Vec<_>>(), [(claim, epoch)]);
    assert_eq!(fixture.ledger.settle_claim(claim, epoch, true).await.unwrap(), Some(true));
    assert_eq!(fixture.total().await, 5);
    fixture.close().await;
}

#[tokio::test]
async fn units_that_a_late_order_has_taken_are_not_given_to_a_claim_as_well() {
    let fixture = Fixture::with_stock(10).await;
    fixture.rebuild().await;
    let claim = fixture.claim(4).await;
    // The gate answers before it has heard of the order.
    fixture.apply(1, &[units("bob", 5)]).await;
    assert_eq!(fixture.ledger.settle_claim(claim, Epoch(2), true).await.unwrap(), Some(false));
    assert_eq!((fixture.total().await, fixture.state_of(claim).await), (10, ClaimState::Refused));
    let expected = [(-5, "late_epoch"), (6, "claim_returned")].map(|(delta, reason)| (delta, reason.to_owned()));
    assert_eq!(fixture.adjustments().await, expected);
    fixture.close().await;
}

#[tokio::test]
async fn a_claim_made_between_the_count_and_the_opening_is_the_new_gates() {
    let fixture = Fixture::with_stock(10).await;
    let (epoch, token, settled) = fixture.settle().await;
    assert_eq!(settled.stock, 10);
    let claim = fixture.claim(6).await;
    fixture.open(epoch, token).await;
    let pending = fixture.ledger.pending_adjustments(fixture.sale).await.unwrap();
    let pending: Vec<_> = pending.iter().map(|one| (one.id, one.epoch, one.delta, one.is_claim)).collect();
    assert_eq!(pending, [(claim, epoch, -4, true)]);
    assert_eq!(fixture.ledger.settle_claim(claim, epoch, true).await.unwrap(), Some(true));
    assert_eq!(fixture.total().await, 6);
    fixture.close().await;
}

#[tokio::test]
async fn a_reset_forgets_a_claim() {
    let fixture = Fixture::with_stock(10).await;
    let claim = fixture.claim(6).await;
    let (epoch, token) = fixture.drain().await;
    let settled = fixture.ledger.reset(fixture.sale, epoch, token, "ann").await.unwrap().unwrap();
    assert_eq!((settled.stock, fixture.state_of(claim).await), (10, ClaimState::Gone));
    assert_eq!(fixture.ledger.settle_claim(claim, Epoch(1), true).await.unwrap(), None);
    fixture.open(epoch, token).await;
    fixture.close().await;
}
