//! What operators read about a sale, page by page: its orders and its audit trail; and that they have acted.

use chrono::{DateTime, Utc};
use domain::{OrderState, ReservationId, SaleId, UserId};
use serde_json::Value;
use sqlx::postgres::PgRow;
use sqlx::{FromRow, Row};
use uuid::Uuid;

use crate::orders::Order;
use crate::{Error, Ledger};

/// All moments of a trail come before this one, and what PostgreSQL adds to it is a number still.
const NEWEST: i64 = i64::MAX >> 1;

/// Which orders of a sale to list.
#[derive(Clone, Debug)]
pub struct OrderFilter {
    /// Of this sale.
    pub sale: SaleId,
    /// In this state only.
    pub status: Option<OrderState>,
    /// Of this buyer only.
    pub user: Option<UserId>,
    /// Those after this buyer's, in the list's order.
    pub after: Option<UserId>,
    /// The most orders to list.
    pub limit: i64,
}

/// One moment of a sale's audit trail.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditEntry {
    /// Rises with each moment of a sale.
    pub id: i64,
    /// When, by PostgreSQL's clock.
    pub at: DateTime<Utc>,
    /// What happened, such as `RESERVED`.
    pub event: String,
    /// To which order, where it was one.
    pub order_id: Option<ReservationId>,
    /// To whose.
    pub user_id: Option<String>,
    /// Who did it, where it was not the system by itself.
    pub actor: Option<String>,
    /// More about it, of a shape that the event tells.
    pub detail: Option<Value>,
}

/// What waits for somebody in a sale.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Waiting {
    /// The sale.
    pub sale_id: SaleId,
    /// Orders that hold units and wait for their payment to begin.
    pub held: i64,
    /// Dead letters that nobody has decided about.
    pub dead_letters: i64,
}

impl FromRow<'_, PgRow> for AuditEntry {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: row.try_get("id")?,
            at: row.try_get("at")?,
            event: row.try_get("event")?,
            order_id: row.try_get::<Option<_>, _>("order_id")?.map(ReservationId),
            user_id: row.try_get("user_id")?,
            actor: row.try_get("actor")?,
            detail: row.try_get("detail")?,
        })
    }
}

impl Ledger {
    /// Orders of a sale, in the order of their buyers' ids: the one that an index has, however many there are.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn orders_of_sale(&self, filter: &OrderFilter) -> Result<Vec<Order>, Error> {
        let orders = sqlx::query_as(
            "SELECT id, sale_id, epoch, user_id, quantity, unit_price_minor, currency, status, reserved_at, created_at,
                    hold_until
             FROM orders
             WHERE sale_id = $1 AND user_id > $2 AND ($3::text IS NULL OR user_id = $3)
               AND ($4::text IS NULL OR status = $4)
             ORDER BY user_id LIMIT $5",
        )
        .bind(filter.sale.0)
        // Nobody's id is empty.
        .bind(filter.after.as_ref().map_or("", UserId::as_str))
        .bind(filter.user.as_ref().map(UserId::as_str))
        .bind(filter.status.map(OrderState::as_str))
        .bind(filter.limit)
        .fetch_all(&self.pool)
        .await?;
        Ok(orders)
    }

    /// The audit trail of a sale, the newest first: at most `limit` moments that are older than `before`.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn audit_trail(&self, sale: SaleId, before: Option<i64>, limit: i64) -> Result<Vec<AuditEntry>, Error> {
        let entries =
            sqlx::query_as("SELECT id, at, event, order_id, user_id, actor, detail FROM trail_page($1, $2, $3)")
                .bind(sale.0)
                .bind(before.map_or(NEWEST, |before| before.min(NEWEST)))
                .bind(limit)
                .fetch_all(&self.pool)
                .await?;
        Ok(entries)
    }

    /// What waits for somebody in each of these sales.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn waiting(&self, sales: &[SaleId]) -> Result<Vec<Waiting>, Error> {
        let ids: Vec<Uuid> = sales.iter().map(|sale| sale.0).collect();
        let rows: Vec<(Uuid, i64, i64)> =
            sqlx::query_as(include_str!("waiting.sql")).bind(ids).fetch_all(&self.pool).await?;
        let waiting = |(sale, held, dead_letters)| Waiting { sale_id: SaleId(sale), held, dead_letters };
        Ok(rows.into_iter().map(waiting).collect())
    }

    /// Writes into the trail of a sale that `actor` has done something which leaves no other trace. `false`: there is no
    /// such sale.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn note(&self, sale: SaleId, event: &str, actor: &str, detail: &Value) -> Result<bool, Error> {
        // Under the sale's lock, as every row of its trail: their ids are committed in their order.
        let noted = sqlx::query(
            "WITH sale AS (SELECT id FROM sales WHERE id = $1 FOR NO KEY UPDATE)
             INSERT INTO audit (sale_id, event, actor, detail) SELECT id, $2, $3, $4 FROM sale",
        )
        .bind(sale.0)
        .bind(event)
        .bind(actor)
        .bind(detail)
        .execute(&self.pool)
        .await?;
        Ok(noted.rows_affected() == 1)
    }
}
