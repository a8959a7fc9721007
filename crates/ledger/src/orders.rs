//! Reading orders. They are written by [`Ledger::apply`] alone.

use chrono::{DateTime, Utc};
use domain::{Epoch, OrderState, Quantity, ReservationId, SaleId, UserId};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, Row};

use crate::row::{checked, quantity};
use crate::{Error, Ledger};

/// An order as PostgreSQL has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// The order's id: the reservation's.
    pub id: ReservationId,
    /// The sale.
    pub sale_id: SaleId,
    /// The epoch whose gate decided.
    pub epoch: Epoch,
    /// The buyer.
    pub user_id: UserId,
    /// Units ordered.
    pub quantity: Quantity,
    /// Price of one unit in the currency's minor units, as agreed.
    pub unit_price_minor: i64,
    /// The currency's ISO 4217 code.
    pub currency: String,
    /// Where the order stands.
    pub status: OrderState,
    /// When the gate decided, by Redis's clock.
    pub reserved_at: DateTime<Utc>,
    /// When the order was written, by PostgreSQL's clock.
    pub created_at: DateTime<Utc>,
    /// Until when an unpaid order holds its units, by PostgreSQL's clock; `None` where there is no payment step.
    pub hold_until: Option<DateTime<Utc>>,
}

impl FromRow<'_, PgRow> for Order {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: ReservationId(row.try_get("id")?),
            sale_id: SaleId(row.try_get("sale_id")?),
            epoch: Epoch(row.try_get("epoch")?),
            user_id: checked(row, "user_id", |text: &str| text.parse())?,
            quantity: checked(row, "quantity", quantity)?,
            unit_price_minor: row.try_get("unit_price_minor")?,
            currency: row.try_get("currency")?,
            status: checked(row, "status", |text: &str| text.parse())?,
            reserved_at: row.try_get("reserved_at")?,
            created_at: row.try_get("created_at")?,
            hold_until: row.try_get("hold_until")?,
        })
    }
}

impl Ledger {
    /// The buyer's order of this sale, whatever its state; `None` where there is none.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn order_of(&self, sale: SaleId, user: &UserId) -> Result<Option<Order>, Error> {
        let order = sqlx::query_as(
            "SELECT id, sale_id, epoch, user_id, quantity, unit_price_minor, currency, status, reserved_at, created_at,
                    hold_until
             FROM orders WHERE sale_id = $1 AND user_id = $2",
        )
        .bind(sale.0)
        .bind(user.as_str())
        .fetch_optional(&self.pool)
        .await?;
        Ok(order)
    }
}
