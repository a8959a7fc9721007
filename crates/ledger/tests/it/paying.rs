//! Orders that are held and paid for, and the shortest ways to bring one anywhere.

use std::time::Duration;

use domain::{OrderState, PaymentState, Quantity, Reservation, ReservationBatch, ReservationId};
use ledger::{CancelBy, Move, Payment, PaymentEvent, PaymentNews, PaymentVerdict};
use uuid::Uuid;

use crate::fixture::{Fixture, units};

/// Where an order and its payment stand.
pub(crate) type Pair = (Option<OrderState>, Option<PaymentState>);

/// As in the settings: far more than a test takes.
pub(crate) const LIMIT_SECONDS: u32 = 600;
pub(crate) const OPERATOR: CancelBy<'_> = CancelBy::Operator { actor: "test", restock: true, reason: "a test" };

impl Fixture {
    /// An order of two units that is held for a long time, at 19.99 EUR each.
    pub(crate) async fn held(&self) -> ReservationId {
        self.held_at("1999 EUR 600").await
    }

    pub(crate) async fn held_at(&self, terms: &str) -> ReservationId {
        let reservation = units(&Uuid::new_v4().to_string(), 2);
        self.hold(&reservation, terms).await;
        reservation.id
    }

    pub(crate) async fn hold(&self, reservation: &Reservation, terms: &str) {
        assert_eq!(reservation.quantity, Quantity::try_from(2).unwrap());
        let epoch = self.ledger.sale(self.sale).await.unwrap().unwrap().epoch;
        let batch = ReservationBatch {
            sale_id: self.sale,
            epoch,
            terms: terms.parse().unwrap(),
            reservations: vec![reservation.clone()],
        };
        self.ledger.apply(&batch, None).await.unwrap();
    }

    /// An order whose buyer has asked to pay; the provider knows nothing.
    pub(crate) async fn starting(&self) -> ReservationId {
        let order = self.held().await;
        self.ledger.start_payment(order, "test", LIMIT_SECONDS).await.unwrap();
        order
    }

    /// ... and the provider waits for the buyer.
    pub(crate) async fn pending(&self) -> ReservationId {
        let order = self.starting().await;
        self.ledger.payment_started(order, &reference(order)).await.unwrap();
        order
    }

    pub(crate) async fn authorized(&self) -> ReservationId {
        let order = self.pending().await;
        self.ledger.payment_news(order, PaymentNews::Authorized).await.unwrap();
        order
    }

    pub(crate) async fn captured(&self) -> ReservationId {
        let order = self.authorized().await;
        self.ledger.payment_captured(order).await.unwrap();
        order
    }

    /// An order whose time to pay is over; the provider still waits for the buyer.
    pub(crate) async fn late(&self) -> ReservationId {
        let order = self.pending().await;
        self.run_out(order).await;
        self.ledger.expire_orders(self.sale, 10).await.unwrap();
        order
    }

    /// Puts the end of the order's hold, and of its time to pay, into the past.
    pub(crate) async fn run_out(&self, order: ReservationId) {
        let mut connection = self.connect().await;
        let past = "clock_timestamp() - interval '1 millisecond'";
        for sql in [
            format!("UPDATE orders SET hold_until = {past} WHERE id = $1 AND status = 'HELD'"),
            format!("UPDATE payments SET pay_until = {past} WHERE order_id = $1 AND state IN ('starting', 'pending')"),
        ] {
            sqlx::query(sqlx::AssertSqlSafe(sql)).bind(order.0).execute(&mut connection).await.unwrap();
        }
    }

    /// Makes every step due.
    pub(crate) async fn make_due(&self) {
        let mut connection = self.connect().await;
        let sql = "UPDATE payments SET due_at = clock_timestamp() WHERE due_at IS NOT NULL";
        sqlx::query(sql).execute(&mut connection).await.unwrap();
    }

    /// The order's payment, whether or not there still is the order.
    pub(crate) async fn payment(&self, order: ReservationId) -> Option<Payment> {
        match self.ledger.order(order).await.unwrap() {
            Some(view) => view.payment,
            None => self.ledger.start_payment(order, "test", LIMIT_SECONDS).await.unwrap().payment,
        }
    }

    pub(crate) async fn pair(&self, order: ReservationId) -> Pair {
        let status = self.ledger.order(order).await.unwrap().map(|view| view.order.status);
        (status, self.payment(order).await.map(|payment| payment.state))
    }

    pub(crate) async fn event(&self, id: &str, order: ReservationId, news: PaymentNews) -> Move<PaymentVerdict> {
        let (provider_ref, order) = (reference(order), Some(order));
        let event = PaymentEvent { id, provider: "test", provider_ref: &provider_ref, order, news };
        self.ledger.payment_event(&event).await.unwrap()
    }

    /// The sale's sum without a gate: what is sold, and what the books say is to be had.
    pub(crate) async fn sold_and_back(&self) -> (i64, i64) {
        let books = self.books().await;
        assert_eq!(books.misfit_payments, 0, "every payment fits its order");
        assert_eq!(books.sale.sold, books.active_units, "the counter is the sum of the orders");
        let back = books.pending.iter().filter(|one| !one.is_claim).map(|one| i64::from(one.delta)).sum();
        (books.active_units, back)
    }

    /// What the gate says of every claim that is open.
    pub(crate) async fn answer_claims(&self, taken: bool) -> usize {
        let pending = self.ledger.pending_adjustments(self.sale).await.unwrap();
        let claims: Vec<_> = pending.into_iter().filter(|one| one.is_claim).collect();
        for claim in &claims {
            self.ledger.settle_claim(claim.id, claim.epoch, taken).await.unwrap();
        }
        claims.len()
    }
}

pub(crate) fn reference(order: ReservationId) -> String {
    format!("ref_{order}")
}

pub(crate) const NO_TIME: Duration = Duration::ZERO;
