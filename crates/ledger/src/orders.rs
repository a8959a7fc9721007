//! Reading orders. They are made by [`Ledger::apply`] alone; what moves them is in [`crate::payments`] and
//! [`crate::holds`].

use chrono::{DateTime, Utc};
use domain::{Epoch, OrderState, Quantity, ReservationId, SaleId, UserId};
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{FromRow, Row};

use crate::payments::payment_columns;
use crate::row::{checked, quantity};
use crate::{Error, Ledger, Payment};

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

/// An order with all there is to tell of it.
#[derive(Clone, Debug, PartialEq)]
pub struct OrderView {
    /// The order.
    pub order: Order,
    /// Its payment, where one was started.
    pub payment: Option<Payment>,
    /// What has happened to it, in order.
    pub timeline: Vec<Moment>,
}

/// Something that has happened to an order.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Moment {
    /// When, by the clock of the server that decided it.
    pub at: DateTime<Utc>,
    /// What: `RESERVED`, then `HELD`, `CONFIRMED` or `REFUSED`, then what moved it: `PAYING`, `CONFIRMED`, `EXPIRED`,
    /// `LATE_PAYMENT`, `CANCELLED`, `PAYMENT_RELEASED`, `REFUNDED`, `DEAD_LETTER_...`.
    pub event: String,
    /// Who did it, where it was not the gate or a persister.
    pub actor: Option<String>,
    /// What there is to say about it, an object.
    pub detail: Option<serde_json::Value>,
}

/// A buyer's order with what a list shows of its sale.
#[derive(Clone, Debug, PartialEq)]
pub struct OrderOfUser {
    /// The order.
    pub order: Order,
    /// The sale's name.
    pub sale_name: String,
    /// When the sale starts: lists are sorted by this, the latest first.
    pub sale_starts_at: DateTime<Utc>,
}

impl OrderOfUser {
    /// Where the next page begins: just after this one.
    #[must_use]
    pub fn cursor(&self) -> OrderCursor {
        OrderCursor { sale_starts_at: self.sale_starts_at, sale_id: self.order.sale_id }
    }
}

/// A place in a buyer's list of orders. A buyer has one order in each sale.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct OrderCursor {
    /// When the sale of the last order seen starts.
    pub sale_starts_at: DateTime<Utc>,
    /// That sale.
    pub sale_id: SaleId,
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

impl FromRow<'_, PgRow> for OrderOfUser {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            order: Order::from_row(row)?,
            sale_name: row.try_get("sale_name")?,
            sale_starts_at: row.try_get("sale_starts_at")?,
        })
    }
}

impl Order {
    /// What happened to it before anybody moved it. The hot path's own rows of the trail are in no index by order, so
    /// they are told from the order itself.
    fn beginning(&self, moments: &[Moment]) -> Vec<Moment> {
        let moment = |at, event: &str| Moment { at, event: event.to_owned(), actor: None, detail: None };
        // The tombstone of a dead letter was never an order.
        if moments.first().is_some_and(|first| first.event == "DEAD_LETTER_DISCARDED") {
            return vec![moment(self.reserved_at, "RESERVED")];
        }
        let written = match (self.status, self.hold_until) {
            (_, Some(_)) => OrderState::Held,
            (OrderState::Refused, None) => OrderState::Refused,
            (_, None) => OrderState::Confirmed,
        };
        vec![moment(self.reserved_at, "RESERVED"), moment(self.created_at, written.as_str())]
    }
}

/// The columns of an [`Order`] `o`.
macro_rules! order_columns {
    () => {
        "o.id, o.sale_id, o.epoch, o.user_id, o.quantity, o.unit_price_minor, o.currency, o.status, o.reserved_at,
         o.created_at, o.hold_until"
    };
}

impl Ledger {
    /// The buyer's order of this sale, whatever its state; `None` where there is none.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn order_of(&self, sale: SaleId, user: &UserId) -> Result<Option<Order>, Error> {
        let order = sqlx::query_as(concat!(
            "SELECT ",
            order_columns!(),
            " FROM orders o WHERE o.sale_id = $1 AND o.user_id = $2"
        ))
        .bind(sale.0)
        .bind(user.as_str())
        .fetch_optional(&self.pool)
        .await?;
        Ok(order)
    }

    /// The buyer's reservation of this sale, be it an order in whatever state or a dead letter that an operator has to
    /// decide about: while it turns from one into the other it is one of them. `None` of one that is on its way.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn reservation_of(&self, sale: SaleId, user: &UserId) -> Result<Option<ReservationId>, Error> {
        let sql = "SELECT id FROM orders WHERE sale_id = $1 AND user_id = $2
                   UNION ALL
                   SELECT reservation_id FROM withheld_buyers WHERE sale_id = $1 AND user_id = $2";
        let id = sqlx::query_scalar(sql).bind(sale.0).bind(user.as_str()).fetch_optional(&self.pool).await?;
        Ok(id.map(ReservationId))
    }

    /// Those of these orders that PostgreSQL has, in any order.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn orders(&self, ids: &[ReservationId]) -> Result<Vec<Order>, Error> {
        let orders = sqlx::query_as(
            "SELECT id, sale_id, epoch, user_id, quantity, unit_price_minor, currency, status, reserved_at, created_at,
                    hold_until
             FROM orders WHERE id = ANY ($1)",
        )
        .bind(ids.iter().map(|id| id.0).collect::<Vec<_>>())
        .fetch_all(&self.pool)
        .await?;
        Ok(orders)
    }

    /// An order with its payment and its timeline; `None` where there is none, or not yet.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn order(&self, id: ReservationId) -> Result<Option<OrderView>, Error> {
        let sql = concat!(
            "SELECT ",
            order_columns!(),
            ", ",
            payment_columns!(),
            ", (SELECT coalesce(jsonb_agg(jsonb_build_object('at', a.at, 'event', a.event, 'actor', a.actor,
                                                             'detail', a.detail) ORDER BY a.id), '[]')
                FROM audit a WHERE a.order_id = o.id AND a.actor IS NOT NULL) AS moments
             FROM orders o LEFT JOIN payments p ON p.order_id = o.id WHERE o.id = $1"
        );
        let Some(row) = sqlx::query(sql).bind(id.0).fetch_optional(&self.pool).await? else { return Ok(None) };
        let order = Order::from_row(&row)?;
        let Json(moments) = row.try_get::<Json<Vec<Moment>>, _>("moments")?;
        let timeline = order.beginning(&moments).into_iter().chain(moments).collect();
        Ok(Some(OrderView { payment: Payment::maybe_of(&row)?, order, timeline }))
    }

    /// Up to `limit` orders of a buyer in any state, the latest sale first, from just after `after` on.
    ///
    /// Each sale is asked for the one order that the buyer may have there: that needs no index of its own on a table that
    /// grows by thousands of rows a second.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn orders_of_user(
        &self,
        user: &UserId,
        after: Option<OrderCursor>,
        limit: i64,
    ) -> Result<Vec<OrderOfUser>, Error> {
        let sql = concat!(
            "SELECT ",
            order_columns!(),
            ", s.name AS sale_name, s.starts_at AS sale_starts_at
             FROM sales s
             CROSS JOIN LATERAL (SELECT * FROM orders WHERE sale_id = s.id AND user_id = $1 OFFSET 0) AS o
             WHERE $2::timestamptz IS NULL OR (s.starts_at, s.id) < ($2, $3)
             ORDER BY s.starts_at DESC, s.id DESC LIMIT $4"
        );
        let orders = sqlx::query_as(sql)
            .bind(user.as_str())
            .bind(after.map(|after| after.sale_starts_at))
            .bind(after.map(|after| after.sale_id.0))
            .bind(limit)
            .fetch_all(&self.pool)
            .await?;
        Ok(orders)
    }
}
