//! Webhooks: events out of the audit trail, and what became of sending them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::{ReservationId, SaleId};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, Row};
use uuid::Uuid;

use crate::row::checked;
use crate::{Error, Ledger};

/// Every type of event there is. What each one tells is in `docs/API.md`.
pub const WEBHOOK_TYPES: &[&str] = &[
    "order.reserved",
    "order.confirmed",
    "order.expired",
    "order.cancelled",
    "order.refunded",
    "sale.opened",
    "sale.paused",
    "sale.resumed",
    "sale.sold_out",
    "sale.ended",
    "sale.reset",
];

/// Moments of one sale's trail, and sales, that one step looks at: a step is one short transaction.
const MOMENTS_OF_A_STEP: i32 = 1_000;
const SALES_OF_A_STEP: i32 = 16;
/// Events deleted in one statement.
const DELETED_AT_ONCE: i64 = 5_000;

/// Where an event stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WebhookState {
    /// It will be sent, perhaps again.
    Pending,
    /// The receiver has answered with a 2xx.
    Delivered,
    /// Given up after too many attempts.
    Failed,
}

impl WebhookState {
    /// Its name in PostgreSQL and in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }
}

/// A text that names no [`WebhookState`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is not the state of a webhook")]
pub struct UnknownWebhookState(String);

impl FromStr for WebhookState {
    type Err = UnknownWebhookState;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = [Self::Pending, Self::Delivered, Self::Failed].into_iter().find(|each| each.as_str() == text);
        known.ok_or_else(|| UnknownWebhookState(text.to_owned()))
    }
}

impl fmt::Display for WebhookState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An event as PostgreSQL has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Webhook {
    /// Its place among all events: a later one has a higher number.
    pub seq: i64,
    /// The `webhook-id` its receiver knows it by.
    pub id: Uuid,
    /// The sale it is about.
    pub sale_id: SaleId,
    /// The order it is about; `None` where it is about the sale.
    pub order_id: Option<ReservationId>,
    /// One of [`WEBHOOK_TYPES`].
    pub kind: String,
    /// The body that is sent: JSON.
    pub payload: String,
    /// When it was written; what it tells may have happened a moment before.
    pub created_at: DateTime<Utc>,
    /// Where it stands.
    pub state: WebhookState,
    /// Attempts begun since it was written, or since it was last asked for again.
    pub attempts: i32,
    /// When the next attempt is due; says nothing unless it is pending.
    pub due_at: DateTime<Utc>,
    /// When the last attempt began.
    pub last_attempt_at: Option<DateTime<Utc>>,
    /// When it was delivered.
    pub delivered_at: Option<DateTime<Utc>>,
    /// The status of the last answer; `None` where none came.
    pub response_status: Option<i32>,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
}

impl FromRow<'_, PgRow> for Webhook {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            seq: row.try_get("seq")?,
            id: row.try_get("id")?,
            sale_id: SaleId(row.try_get("sale_id")?),
            order_id: row.try_get::<Option<_>, _>("order_id")?.map(ReservationId),
            kind: row.try_get("type")?,
            payload: row.try_get("payload")?,
            created_at: row.try_get("created_at")?,
            state: checked(row, "state", |text: &str| text.parse())?,
            attempts: row.try_get("attempts")?,
            due_at: row.try_get("due_at")?,
            last_attempt_at: row.try_get("last_attempt_at")?,
            delivered_at: row.try_get("delivered_at")?,
            response_status: row.try_get("response_status")?,
            last_error: row.try_get("last_error")?,
        })
    }
}

/// Which events to list.
#[derive(Clone, Debug, Default)]
pub struct WebhookFilter {
    /// In this state only.
    pub state: Option<WebhookState>,
    /// Of this type only.
    pub kind: Option<String>,
    /// About this sale or its orders only.
    pub sale: Option<SaleId>,
    /// Those written before the event with this number.
    pub before: Option<i64>,
    /// The most events to list.
    pub limit: i64,
}

/// An event that is the caller's to send, until the lease is over.
#[derive(Clone, Debug, Eq, FromRow, PartialEq)]
pub struct LeasedWebhook {
    /// The `webhook-id`: the same at each attempt.
    pub id: Uuid,
    /// The body: the same at each attempt.
    pub payload: String,
    /// Which attempt this is: 1 is the first.
    pub attempts: i32,
}

/// What an attempt has come to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WebhookOutcome {
    /// The event.
    pub id: Uuid,
    /// The answer's status; `None` where none came.
    pub response_status: Option<u16>,
    /// `None`: delivered.
    pub failure: Option<WebhookFailure>,
}

/// An attempt that failed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WebhookFailure {
    /// Why, for an operator.
    pub error: String,
    /// When to try again; `None`: never.
    pub again_after: Option<Duration>,
}

impl Ledger {
    /// Switches events on, for these types (empty: all), or off. Switched on, they begin with what happens from now on.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn subscribe_webhooks(&self, types: Option<&[String]>) -> Result<(), Error> {
        sqlx::query("SELECT subscribe_webhooks($1)").bind(types).execute(&self.pool).await?;
        Ok(())
    }

    /// Writes the events of what has happened since the last call, for as much as one short transaction takes. Returns
    /// whether there may be more. Any number of processes may call this at once; no sale waits for it.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn collect_webhooks(&self) -> Result<bool, Error> {
        let passed: i32 = sqlx::query_scalar("SELECT collect_webhooks($1, $2)")
            .bind(MOMENTS_OF_A_STEP)
            .bind(SALES_OF_A_STEP)
            .fetch_one(&self.pool)
            .await?;
        Ok(passed > 0)
    }

    /// Takes up to `limit` due events for as long as `lease`. An event of which nothing is heard until then is due again.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn lease_webhooks(&self, limit: usize, lease: Duration) -> Result<Vec<LeasedWebhook>, Error> {
        let leased = sqlx::query_as(include_str!("lease_webhooks.sql"))
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .bind(millis(lease))
            .fetch_all(&self.pool)
            .await?;
        Ok(leased)
    }

    /// Writes down what attempts have come to. Repeating it changes nothing but times.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn settle_webhooks(&self, outcomes: &[WebhookOutcome]) -> Result<(), Error> {
        let failures = || outcomes.iter().map(|outcome| outcome.failure.as_ref());
        let errors = failures().map(|failure| failure.map(|failure| failure.error.replace('\0', "\\0")));
        let pauses = failures().map(|failure| failure.and_then(|failure| failure.again_after).map(millis));
        sqlx::query(include_str!("settle_webhooks.sql"))
            .bind(outcomes.iter().map(|outcome| outcome.id).collect::<Vec<_>>())
            .bind(outcomes.iter().map(|outcome| outcome.response_status.map(i32::from)).collect::<Vec<_>>())
            .bind(errors.collect::<Vec<_>>())
            .bind(pauses.collect::<Vec<_>>())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Events, the newest first.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn webhooks(&self, filter: &WebhookFilter) -> Result<Vec<Webhook>, Error> {
        let webhooks = sqlx::query_as(
            "SELECT seq, id, sale_id, order_id, type, payload, created_at, state, attempts, due_at, last_attempt_at,
                    delivered_at, response_status, last_error
             FROM webhook_events
             WHERE ($1::text IS NULL OR state = $1) AND ($2::text IS NULL OR type = $2)
               AND ($3::uuid IS NULL OR sale_id = $3) AND seq < coalesce($4::bigint, 9223372036854775807)
             ORDER BY seq DESC LIMIT $5",
        )
        .bind(filter.state.map(WebhookState::as_str))
        .bind(&filter.kind)
        .bind(filter.sale.map(|sale| sale.0))
        .bind(filter.before)
        .bind(filter.limit)
        .fetch_all(&self.pool)
        .await?;
        Ok(webhooks)
    }

    /// One event; `None` where there is none of this id, or no longer.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn webhook(&self, id: Uuid) -> Result<Option<Webhook>, Error> {
        let webhook = sqlx::query_as(
            "SELECT seq, id, sale_id, order_id, type, payload, created_at, state, attempts, due_at, last_attempt_at,
                    delivered_at, response_status, last_error
             FROM webhook_events WHERE id = $1",
        )
        .bind(id)
        .fetch_optional(&self.pool)
        .await?;
        Ok(webhook)
    }

    /// Makes an event due at once, with all its attempts before it, whatever has become of it, and notes who asked.
    /// `false`: there is none of this id.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn redeliver_webhook(&self, id: Uuid, actor: &str) -> Result<bool, Error> {
        let noted = sqlx::query(include_str!("redeliver_webhook.sql")).bind(id).bind(actor).execute(&self.pool).await?;
        Ok(noted.rows_affected() == 1)
    }

    /// Deletes some of the events that were delivered more than `days` ago. Returns whether there may be more.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn forget_webhooks(&self, days: u32) -> Result<bool, Error> {
        let deleted = sqlx::query(
            "DELETE FROM webhook_events WHERE seq IN (
                SELECT seq FROM webhook_events
                WHERE state = 'delivered' AND delivered_at < clock_timestamp() - make_interval(days => $1::int)
                ORDER BY seq LIMIT $2)",
        )
        .bind(i64::from(days))
        .bind(DELETED_AT_ONCE)
        .execute(&self.pool)
        .await?;
        Ok(deleted.rows_affected() > 0)
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
