//! Money that comes after its units were given up, steps that are shared among keepers, and many who act at once.

use std::sync::Arc;
use std::time::Duration;

use domain::{Epoch, OrderState, PaymentState, ReservationId};
use ledger::{CancelBy, PaymentNews};
use tokio::task::JoinSet;

use crate::fixture::Fixture;
use crate::paying::{LIMIT_SECONDS, NO_TIME, reference};

const LEASE: Duration = Duration::from_secs(600);

#[tokio::test]
async fn the_gate_decides_whether_a_late_payment_gets_its_units() {
    let fixture = Fixture::with_stock(10).await;
    for (taken, order_state, payment_state, sold) in [
        (true, OrderState::Paying, PaymentState::Authorized, 2),
        (false, OrderState::Expired, PaymentState::Releasing, 2),
    ] {
        let order = fixture.late().await;
        let moved = fixture.ledger.payment_news(order, PaymentNews::Authorized).await.unwrap();
        assert_eq!((moved.status, moved.to_tell), (Some(OrderState::Expired), Some(fixture.sale)));
        assert_eq!(fixture.answer_claims(taken).await, 1);
        assert_eq!(fixture.pair(order).await, (Some(order_state), Some(payment_state)));
        assert_eq!(fixture.sold_and_back().await.0, sold);
    }
    fixture.close().await;
}

#[tokio::test]
async fn a_claim_that_no_gate_has_answered_is_the_next_ones_to_answer() {
    let fixture = Fixture::with_stock(2).await;
    let (first, second) = (fixture.late().await, fixture.late().await);
    for order in [first, second] {
        fixture.ledger.payment_news(order, PaymentNews::Authorized).await.unwrap();
    }
    let (epoch, token) = fixture.drain().await;
    let settled = fixture.ledger.settle_stock(fixture.sale, epoch, token).await.unwrap().unwrap();
    assert_eq!(settled.stock, 2);
    fixture.open(epoch, token).await;
    let claims = fixture.ledger.pending_adjustments(fixture.sale).await.unwrap();
    for (claim, taken) in claims.iter().zip([true, false]) {
        assert_eq!(
            fixture.ledger.settle_claim(claim.id, Epoch(1), !taken).await.unwrap(),
            None,
            "a dead gate's answer"
        );
        assert_eq!(fixture.ledger.settle_claim(claim.id, epoch, taken).await.unwrap(), Some(taken));
        assert_eq!(
            fixture.ledger.settle_claim(claim.id, epoch, !taken).await.unwrap(),
            Some(taken),
            "once and for all"
        );
    }
    assert_eq!(fixture.pair(first).await, (Some(OrderState::Paying), Some(PaymentState::Authorized)));
    assert_eq!(fixture.pair(second).await, (Some(OrderState::Expired), Some(PaymentState::Releasing)));
    assert_eq!(fixture.sold_and_back().await, (2, 0));
    fixture.close().await;
}

#[tokio::test]
async fn a_late_payment_for_a_sale_that_has_ended_is_decided_at_once() {
    let fixture = Fixture::with_stock(3).await;
    let (first, second) = (fixture.late().await, fixture.late().await);
    let sale = fixture.ledger.sale(fixture.sale).await.unwrap().unwrap();
    assert!(fixture.ledger.end(sale.id, sale.epoch, sale.revision).await.unwrap());
    for (order, order_state, payment_state) in
        [(first, OrderState::Paying, PaymentState::Authorized), (second, OrderState::Expired, PaymentState::Releasing)]
    {
        let moved = fixture.ledger.payment_news(order, PaymentNews::Authorized).await.unwrap();
        assert_eq!((moved.status, moved.payment.unwrap().state), (Some(order_state), payment_state));
    }
    assert_eq!(fixture.books().await.sale.sold, 2);
    fixture.close().await;
}

#[tokio::test]
async fn a_late_payment_is_waited_for_as_long_as_the_grace_and_then_given_up() {
    let fixture = Fixture::with_stock(10).await;
    let order = fixture.late().await;
    let late = fixture.payment(order).await.unwrap();
    fixture.ledger.payment_undecided(&late, NO_TIME, LEASE).await.unwrap();
    assert_eq!(fixture.pair(order).await.1, Some(PaymentState::Late));
    fixture.ledger.payment_undecided(&late, NO_TIME, NO_TIME).await.unwrap();
    assert_eq!(fixture.pair(order).await.1, Some(PaymentState::Releasing));
    fixture.close().await;
}

#[tokio::test]
async fn a_step_that_is_due_is_given_to_one_keeper_until_its_lease_is_over() {
    let fixture = Fixture::with_stock(100).await;
    for _ in 0..10 {
        fixture.authorized().await;
    }
    let mut keepers = JoinSet::new();
    for _ in 0..5 {
        let ledger = fixture.ledger.clone();
        keepers.spawn(async move { ledger.due_payments(LEASE, 3).await.unwrap() });
    }
    let mut given: Vec<ReservationId> =
        keepers.join_all().await.into_iter().flatten().map(|one| one.order_id).collect();
    given.extend(fixture.ledger.due_payments(LEASE, 10).await.unwrap().into_iter().map(|one| one.order_id));
    given.sort();
    let all = given.len();
    given.dedup();
    assert_eq!((given.len(), all), (10, 10), "each once");

    // One who died with its lease is followed by another; what is put off comes back, with its reason.
    fixture.make_due().await;
    let due = fixture.ledger.due_payments(NO_TIME, 1).await.unwrap();
    fixture.ledger.put_off_payment(&due[0], NO_TIME, Some("the provider is away")).await.unwrap();
    let again = fixture.payment(due[0].order_id).await.unwrap();
    assert_eq!((again.attempts, again.last_error.as_deref()), (1, Some("the provider is away")));
    // It has moved on meanwhile: its new step stays due at once.
    fixture.ledger.payment_capture_refused(due[0].order_id, "no").await.unwrap();
    fixture.ledger.put_off_payment(&due[0], LEASE, Some("too late")).await.unwrap();
    let released = fixture.payment(due[0].order_id).await.unwrap();
    assert_eq!((released.state, released.attempts), (PaymentState::Releasing, 0));
    assert_eq!(released.last_error.as_deref(), Some("no"));
    fixture.close().await;
}

/// Everybody who may move an order does so at the same moment, again and again: whoever comes first, no unit and no money
/// is lost or counted twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_comes_first_the_books_balance() {
    let fixture = Arc::new(Fixture::with_stock(1_000).await);
    let mut orders = Vec::new();
    for round in 0..12 {
        let order = if round % 2 == 0 { fixture.pending().await } else { fixture.held().await };
        orders.push(order);
        if round % 3 == 0 {
            fixture.run_out(order).await;
        }
        let mut everybody = JoinSet::new();
        for one in 0..8 {
            let fixture = Arc::clone(&fixture);
            everybody.spawn(async move {
                let ledger = &fixture.ledger;
                match one {
                    0 => drop(ledger.expire_orders(fixture.sale, 10).await.unwrap()),
                    1 => drop(ledger.start_payment(order, "test", LIMIT_SECONDS).await.unwrap()),
                    2 => drop(ledger.payment_started(order, &reference(order)).await.unwrap()),
                    3 => drop(fixture.event(&format!("{order}"), order, PaymentNews::Authorized).await),
                    4 => drop(fixture.event(&format!("{order}"), order, PaymentNews::Authorized).await),
                    5 => drop(ledger.cancel_order(order, CancelBy::Buyer).await.unwrap()),
                    6 => drop(ledger.payment_captured(order).await.unwrap()),
                    _ => drop(ledger.due_payments(NO_TIME, 10).await.unwrap()),
                }
            });
        }
        everybody.join_all().await;
        fixture.answer_claims(false).await;
        let (sold, back) = fixture.sold_and_back().await;
        assert_eq!(
            sold + back,
            2 * i64::try_from(orders.len()).unwrap(),
            "round {round}: {:?}",
            fixture.pair(order).await
        );
    }
    Arc::into_inner(fixture).unwrap().close().await;
}
