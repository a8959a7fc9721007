//! Orders that their buyers wait for: read with one query of the process, however many there are.

use std::future::pending;
use std::time::Duration;

use actix_web::web::Bytes;
use boot::Outage;
use chrono::{DateTime, Utc};
use domain::{OrderState, ReservationId, SaleId};
use ledger::{Ledger, Order};
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::sleep;
use utoipa::ToSchema;

use super::board::Board;
use super::json;
use crate::caller::Caller;
use crate::error::Problem;

/// How often the orders are read.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The orders that somebody listens to.
pub(crate) struct Orders {
    ledger: Ledger,
    /// `None` as long as PostgreSQL does not have it.
    board: Board<ReservationId, Option<Order>>,
}

/// Who listens to an order.
pub(crate) struct Listener {
    id: ReservationId,
    sale: SaleId,
    caller: Caller,
    /// `None` once the order has come to its end.
    changes: Option<watch::Receiver<Option<Order>>>,
    /// Whether nothing has been said yet.
    is_new: bool,
}

/// What a stream says of an order.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OrderNow {
    #[schema(value_type = Uuid)]
    order_id: ReservationId,
    #[schema(value_type = Uuid)]
    sale_id: SaleId,
    /// `PENDING` until the order is written; then as in the order itself.
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    quantity: Option<u32>,
    /// Until when the units of a HELD order are the buyer's.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<DateTime<Utc>>,
}

impl Orders {
    pub(super) fn new(ledger: Ledger) -> Self {
        Self { ledger, board: Board::new() }
    }

    /// Begins to listen to an order of `sale` that the caller may read; `known` is what PostgreSQL has of it, if it has
    /// it yet.
    ///
    /// # Errors
    /// The process stops.
    pub(crate) fn listen(
        &self,
        (sale, id): (SaleId, ReservationId),
        known: Option<Order>,
        caller: Caller,
    ) -> Result<Listener, Problem> {
        let changes = self.board.watch(id, || known);
        let changes = changes.ok_or_else(|| Problem::unavailable(&"no stream begins any more, the process stops"))?;
        Ok(Listener { id, sale, caller, changes: Some(changes), is_new: true })
    }

    /// Tells of changes, for as long as the process runs.
    pub(crate) async fn keep_telling(&self) {
        let mut outage = Outage::of("orders that buyers wait for cannot be read");
        loop {
            let ids = self.board.watched().await;
            let orders = self.ledger.orders(&ids).await;
            outage.note(&orders);
            for order in orders.unwrap_or_default() {
                self.board.tell(order.id, Some(order), |last, now| last != now);
            }
            sleep(LOOK_EVERY).await;
        }
    }

    pub(super) fn end(&self) {
        self.board.end();
    }
}

impl Listener {
    /// The next state of the order; never, once it has come to its end. `None`: the stream is over, because the process
    /// stops or the order is not the listener's.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        let Some(changes) = &mut self.changes else { return pending().await };
        if !self.is_new {
            changes.changed().await.ok()?;
        }
        self.is_new = false;
        let order = changes.borrow_and_update().clone();
        if order.as_ref().is_some_and(|order| !self.is_for(order)) {
            return None;
        }
        if order.as_ref().is_some_and(|order| is_final(order.status)) {
            self.changes = None;
        }
        Some(self.event(order.as_ref()))
    }

    fn is_for(&self, order: &Order) -> bool {
        order.sale_id == self.sale && self.caller.may_read(&order.user_id)
    }

    /// Without an id: what a client names when it comes back is the sale's state.
    fn event(&self, order: Option<&Order>) -> Bytes {
        let now = OrderNow {
            order_id: self.id,
            sale_id: self.sale,
            status: order.map_or("PENDING", |order| order.status.as_str()),
            quantity: order.map(|order| order.quantity.get()),
            expires_at: order.filter(|order| order.status == OrderState::Held).and_then(|order| order.hold_until),
        };
        format!("event: order\ndata: {}\n\n", json(&now)).into()
    }
}

/// Whether a buyer has nothing more to wait for. An expired order may come back: its payment may be late.
fn is_final(state: OrderState) -> bool {
    matches!(state, OrderState::Confirmed | OrderState::Cancelled | OrderState::Refused)
}
