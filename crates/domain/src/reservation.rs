//! A reservation on its way from the gate to the ledger.

use serde::{Deserialize, Serialize};

use crate::{Epoch, ReservationId, SaleId, Terms, UserId};

/// How many units one attempt asks for: 1 to [`Quantity::MAX`].
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Quantity(u32);

impl Quantity {
    /// One unit.
    pub const ONE: Self = Self(1);
    /// The most units any sale may allow in one order.
    pub const MAX: u32 = 10_000;

    /// The number of units.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }
}

/// A number that is no [`Quantity`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be a whole number from 1 to {}", Quantity::MAX)]
pub struct InvalidQuantity;

impl TryFrom<u32> for Quantity {
    type Error = InvalidQuantity;

    fn try_from(units: u32) -> Result<Self, Self::Error> {
        if (1..=Self::MAX).contains(&units) { Ok(Self(units)) } else { Err(InvalidQuantity) }
    }
}

impl From<Quantity> for u32 {
    fn from(quantity: Quantity) -> Self {
        quantity.0
    }
}

/// One win: the gate took the units off the stock and wrote an outbox entry for it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Reservation {
    /// The reservation's id, later the order's.
    pub id: ReservationId,
    /// The buyer.
    pub user_id: UserId,
    /// Units reserved.
    pub quantity: Quantity,
    /// When the gate decided, by Redis's clock: Unix time, milliseconds.
    pub reserved_at: i64,
    /// The outbox entry (a Redis stream id) to delete once the order is committed. `None` where the entry is not
    /// known (the answer to the first call was lost); the keeper's sweep finds it then.
    pub outbox_id: Option<String>,
}

/// Reservations of one sale, one epoch and one set of terms: the unit of a message and of a persist.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReservationBatch {
    /// The sale.
    pub sale_id: SaleId,
    /// The epoch whose gate decided.
    pub epoch: Epoch,
    /// What the buyers agreed to.
    pub terms: Terms,
    /// The wins, in the order they were decided.
    pub reservations: Vec<Reservation>,
}

/// What the ledger made of one reservation.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Applied {
    /// A new order was written.
    Inserted,
    /// The order exists already (a redelivery).
    Duplicate,
    /// The buyer has an order under another reservation id; the units went back as an adjustment.
    UserHasOrder,
    /// No unit was left: a REFUSED tombstone was written.
    NoStock,
    /// The message is from before a reset.
    Stale,
    /// A reconciler is draining the sale and only it may write.
    Fenced,
    /// PostgreSQL refuses this reservation for its data: it was written to the dead letters.
    Buried,
}
