//! Payments: every state against every event, and what a table cannot say.

use domain::{OrderState, PaymentState, ReservationId};
use ledger::{CancelBy, CancelVerdict, PaymentEvent, PaymentNews, PaymentVerdict, StartVerdict};
use uuid::Uuid;

use OrderState::{Cancelled, Confirmed, Expired, Held, Paying};
use PaymentState::{Authorized, Captured, Claiming, Failed, Late, Pending, Released, Releasing, Starting};

use crate::fixture::Fixture;
use crate::paying::{LIMIT_SECONDS, NO_TIME, OPERATOR, reference};

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Event {
    Pay,
    Started,
    News(PaymentNews),
    StartRefused,
    CaptureRefused,
    Released,
    /// Looked up, undecided, and no grace.
    Undecided,
    TimeOver,
    CancelledByBuyer,
    CancelledByOperator,
    ClaimGranted,
    ClaimRefused,
}

const EVENTS: [Event; 15] = [
    Event::Pay,
    Event::Started,
    Event::News(PaymentNews::Authorized),
    Event::News(PaymentNews::Captured),
    Event::News(PaymentNews::Failed),
    Event::News(PaymentNews::Cancelled),
    Event::StartRefused,
    Event::CaptureRefused,
    Event::Released,
    Event::Undecided,
    Event::TimeOver,
    Event::CancelledByBuyer,
    Event::CancelledByOperator,
    Event::ClaimGranted,
    Event::ClaimRefused,
];

/// Every pair that an order which still exists can be in.
const PAIRS: [(OrderState, Option<PaymentState>); 16] = [
    (Held, None),
    (Paying, Some(Starting)),
    (Paying, Some(Pending)),
    (Paying, Some(Authorized)),
    (Confirmed, Some(Captured)),
    (Confirmed, None),
    (Expired, None),
    (Expired, Some(Late)),
    (Expired, Some(Claiming)),
    (Expired, Some(Releasing)),
    (Expired, Some(Released)),
    (Expired, Some(Failed)),
    (Cancelled, None),
    (Cancelled, Some(Releasing)),
    (Cancelled, Some(Released)),
    (Cancelled, Some(Failed)),
];

/// The table in the header of `0006_payments.sql`.
fn expected(from: (OrderState, Option<PaymentState>), event: Event) -> (OrderState, Option<PaymentState>) {
    use Event::{
        CancelledByBuyer, CancelledByOperator, CaptureRefused, ClaimGranted, ClaimRefused, News, Pay, StartRefused,
        Started, TimeOver, Undecided,
    };
    use PaymentNews as Says;
    match (from, event) {
        ((Held, None), Pay) => (Paying, Some(Starting)),
        ((Held, None), TimeOver) => (Expired, None),
        ((Held, None), CancelledByBuyer | CancelledByOperator) | ((Confirmed, None), CancelledByOperator) => {
            (Cancelled, None)
        }
        ((Paying, Some(Starting)), Started) => (Paying, Some(Pending)),
        ((Paying, Some(Starting | Pending)), News(Says::Authorized)) => (Paying, Some(Authorized)),
        ((Paying, Some(Starting | Pending | Authorized)), News(Says::Captured)) => (Confirmed, Some(Captured)),
        ((Paying, Some(Starting | Pending)), News(Says::Failed | Says::Cancelled))
        | ((Paying, Some(Starting)), StartRefused) => (Cancelled, Some(Failed)),
        // Nobody can have paid: there is nothing to release.
        ((Paying, Some(Starting)), TimeOver) => (Expired, Some(Released)),
        ((Paying, Some(Starting)), CancelledByBuyer | CancelledByOperator) => (Cancelled, Some(Released)),
        ((Paying, Some(Pending)), TimeOver) => (Expired, Some(Late)),
        ((Paying, Some(Pending)), CancelledByBuyer)
        | ((Paying, Some(Pending | Authorized)) | (Confirmed, Some(Captured)), CancelledByOperator)
        | ((Paying, Some(Authorized)), CaptureRefused) => (Cancelled, Some(Releasing)),
        ((Expired, Some(Late)), News(Says::Authorized)) => (Expired, Some(Claiming)),
        ((Expired, Some(Late)), News(Says::Failed | Says::Cancelled)) => (Expired, Some(Failed)),
        ((Expired, Some(Late)), News(Says::Captured) | Undecided) | ((Expired, Some(Claiming)), ClaimRefused) => {
            (Expired, Some(Releasing))
        }
        ((Expired, Some(Claiming)), ClaimGranted) => (Paying, Some(Authorized)),
        ((order, Some(Releasing)), Event::Released) => (order, Some(Released)),
        ((order, Some(Released | Failed)), News(Says::Authorized | Says::Captured)) => (order, Some(Releasing)),
        (unchanged, _) => unchanged,
    }
}

impl Fixture {
    async fn reach(&self, pair: (OrderState, Option<PaymentState>)) -> ReservationId {
        let order = self.reach_almost(pair).await;
        if pair.1 == Some(Released) {
            self.ledger.payment_released(order).await.unwrap();
        }
        order
    }

    async fn reach_almost(&self, pair: (OrderState, Option<PaymentState>)) -> ReservationId {
        match pair {
            (Held, _) => self.held().await,
            (_, Some(Starting)) => self.starting().await,
            (_, Some(Pending)) => self.pending().await,
            (_, Some(Authorized)) => self.authorized().await,
            (_, Some(Captured)) => self.captured().await,
            (Confirmed, _) => {
                let order = self.held_at("0 EUR 600").await;
                self.ledger.start_payment(order, "test", LIMIT_SECONDS).await.unwrap();
                order
            }
            (Expired, Some(Late)) => self.late().await,
            (Expired, None) => self.after(self.held().await, Event::TimeOver).await,
            (Cancelled, None) => self.after(self.held().await, Event::CancelledByBuyer).await,
            (Expired, Some(Claiming)) => self.after(self.late().await, Event::News(PaymentNews::Authorized)).await,
            (Expired, Some(Failed)) => self.after(self.late().await, Event::News(PaymentNews::Failed)).await,
            (Expired, Some(_)) => self.after(self.late().await, Event::Undecided).await,
            (_, Some(Failed)) => self.after(self.pending().await, Event::News(PaymentNews::Failed)).await,
            (_, Some(_)) => self.after(self.pending().await, Event::CancelledByBuyer).await,
            (_, None) => unreachable!("{pair:?} is no pair"),
        }
    }

    async fn after(&self, order: ReservationId, event: Event) -> ReservationId {
        self.apply_event(order, event, &Uuid::new_v4().to_string()).await;
        order
    }

    async fn apply_event(&self, order: ReservationId, event: Event, id: &str) {
        let ledger = &self.ledger;
        match event {
            Event::Pay => drop(ledger.start_payment(order, "test", LIMIT_SECONDS).await.unwrap()),
            Event::Started => drop(ledger.payment_started(order, &reference(order)).await.unwrap()),
            Event::News(news) => drop(self.event(id, order, news).await),
            Event::StartRefused => drop(ledger.payment_start_refused(order, "no").await.unwrap()),
            Event::CaptureRefused => drop(ledger.payment_capture_refused(order, "no").await.unwrap()),
            Event::Released => drop(ledger.payment_released(order).await.unwrap()),
            Event::Undecided => {
                if let Some(payment) = self.payment(order).await {
                    ledger.payment_undecided(&payment, NO_TIME, NO_TIME).await.unwrap();
                }
            }
            Event::TimeOver => {
                self.run_out(order).await;
                ledger.expire_orders(self.sale, 10).await.unwrap();
            }
            Event::CancelledByBuyer => drop(ledger.cancel_order(order, CancelBy::Buyer).await.unwrap()),
            Event::CancelledByOperator => drop(ledger.cancel_order(order, OPERATOR).await.unwrap()),
            Event::ClaimGranted | Event::ClaimRefused => {
                self.answer_claims(event == Event::ClaimGranted).await;
            }
        }
    }
}

#[tokio::test]
async fn every_state_meets_every_event_as_the_table_says_once_and_again() {
    let fixture = Fixture::with_stock(10_000).await;
    let (mut bought, mut claimed) = (0, 0);
    for pair in PAIRS {
        for event in EVENTS {
            let order = fixture.reach(pair).await;
            bought += 2;
            assert_eq!(fixture.pair(order).await, (Some(pair.0), pair.1), "reached");
            let (status, payment) = expected(pair, event);
            claimed += if pair.1 == Some(Claiming) && event == Event::ClaimGranted { 2 } else { 0 };
            // The same word again, and the same again in other words, change nothing more.
            for id in ["a", "a", "b"] {
                fixture.apply_event(order, event, &format!("{order}{id}")).await;
                assert_eq!(fixture.pair(order).await, (Some(status), payment), "{pair:?} after {event:?}");
            }
            let (sold, back) = fixture.sold_and_back().await;
            assert_eq!(sold + back, bought + claimed, "{pair:?} after {event:?}: no unit is lost or doubled");
            assert!(pair.0 == status || pair.0.may_become(status), "{pair:?} after {event:?}");
            assert!(payment.is_none_or(|payment| payment.fits(Some(status))), "{pair:?} after {event:?}");
            // Leave nothing that a later event of another order would touch.
            fixture.answer_claims(false).await;
        }
    }
    fixture.close().await;
}

#[tokio::test]
async fn an_event_is_applied_once_and_one_about_a_payment_that_is_not_ours_never() {
    let fixture = Fixture::with_stock(10).await;
    let (order, other) = (fixture.pending().await, fixture.pending().await);
    let foreign = PaymentEvent {
        id: "evt_0",
        provider: "test",
        provider_ref: "ref_of_another_shop",
        order: Some(order),
        news: PaymentNews::Authorized,
    };
    for event in [
        foreign,
        PaymentEvent { order: None, ..foreign },
        PaymentEvent { provider_ref: &reference(other), ..foreign },
        PaymentEvent { provider: "another", provider_ref: &reference(order), ..foreign },
    ] {
        let moved = fixture.ledger.payment_event(&event).await.unwrap();
        assert_eq!((moved.verdict, moved.payment), (PaymentVerdict::Unknown, None), "{event:?}");
    }
    // The same id was not used up by that. Without the order's id the reference is enough.
    let event = PaymentEvent { order: None, provider_ref: &reference(order), ..foreign };
    let applied = fixture.ledger.payment_event(&event).await.unwrap();
    assert_eq!((applied.verdict, applied.payment.unwrap().state), (PaymentVerdict::Applied, Authorized));
    let again = fixture.ledger.payment_event(&PaymentEvent { news: PaymentNews::Failed, ..event }).await.unwrap();
    assert_eq!((again.verdict, again.payment.unwrap().state), (PaymentVerdict::Duplicate, Authorized));
    assert_eq!(fixture.pair(other).await, (Some(Paying), Some(Pending)));
    fixture.close().await;
}

#[tokio::test]
async fn where_there_is_nothing_to_pay_the_wish_to_pay_confirms() {
    let fixture = Fixture::with_stock(10).await;
    let order = fixture.held_at("0 EUR 600").await;
    for _ in 0..2 {
        let moved = fixture.ledger.start_payment(order, "test", LIMIT_SECONDS).await.unwrap();
        assert_eq!((moved.verdict, moved.status, moved.payment), (StartVerdict::Confirmed, Some(Confirmed), None));
    }
    assert_eq!(fixture.sold_and_back().await, (2, 0));
    fixture.close().await;
}

#[tokio::test]
async fn units_of_a_cancelled_order_go_back_on_sale_or_leave_the_sale_but_never_both() {
    let fixture = Fixture::with_stock(10).await;
    let (back, gone) = (fixture.captured().await, fixture.captured().await);
    let cancelled = fixture.ledger.cancel_order(back, OPERATOR).await.unwrap();
    assert_eq!((cancelled.verdict, cancelled.to_tell), (CancelVerdict::Cancelled, Some(fixture.sale)));
    for _ in 0..2 {
        let by = CancelBy::Operator { actor: "test", restock: false, reason: "damaged" };
        let cancelled = fixture.ledger.cancel_order(gone, by).await.unwrap();
        assert_eq!((cancelled.verdict, cancelled.to_tell), (CancelVerdict::Cancelled, None));
    }
    let books = fixture.books().await;
    assert_eq!((books.sale.total_stock, books.sale.sold, books.payments_due), (8, 0, 2));
    assert_eq!(fixture.sold_and_back().await, (0, 2));
    fixture.close().await;
}

#[tokio::test]
async fn a_reset_forgets_orders_and_gives_all_their_money_back() {
    let fixture = Fixture::with_stock(100).await;
    let mut orders = Vec::new();
    for pair in PAIRS.into_iter().filter(|(_, payment)| payment.is_some()) {
        let order = fixture.reach(pair).await;
        orders.push((order, pair.1.unwrap()));
    }
    let (epoch, token) = fixture.drain().await;
    fixture.ledger.reset(fixture.sale, epoch, token, "test").await.unwrap().unwrap();
    fixture.open(epoch, token).await;
    for (order, before) in orders {
        let after = match before {
            Starting | Released => Released,
            Failed => Failed,
            _ => Releasing,
        };
        assert_eq!(fixture.pair(order).await, (None, Some(after)), "it was {before}");
        // Whatever a provider or a thawed keeper says by now, the money goes back.
        fixture.event(&format!("late_{order}"), order, PaymentNews::Authorized).await;
        fixture.event(&format!("later_{order}"), order, PaymentNews::Captured).await;
        fixture.ledger.payment_capture_refused(order, "no").await.unwrap();
        assert_eq!(fixture.pair(order).await, (None, Some(Releasing)), "it was {before}");
        fixture.ledger.payment_released(order).await.unwrap();
        assert_eq!(fixture.pair(order).await, (None, Some(Released)));
    }
    assert_eq!(fixture.sold_and_back().await, (0, 0));
    fixture.close().await;
}
