//! Paying for orders. Every move is one call of a function in `migrations/0006_payments.sql`, whose header has the table
//! of all states and events: the sale's row locked, order, units and payment moved together. So each call may be
//! repeated and may come in any order.

use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::{Currency, PaymentState, ReservationId, SaleId};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, Row};
use uuid::Uuid;

use crate::row::{checked, milliseconds};
use crate::{CancelVerdict, Error, Ledger, Move, PaymentVerdict, StartVerdict};

/// The payment of an order. It outlives an order that is reset away: money must not be forgotten.
#[derive(Clone, Debug, PartialEq)]
pub struct Payment {
    /// The order's id. An order is paid for once, so this is the idempotency key of every request to the provider too.
    pub order_id: ReservationId,
    /// The sale.
    pub sale_id: SaleId,
    /// Who takes the money: `stripe`, `simulated`.
    pub provider: String,
    /// The provider's own name for the payment, as it was first told; `None` where the provider was not asked yet, or its
    /// answer is unknown. Nobody can have paid then, because the buyer gets what is needed for it only after this is
    /// written.
    pub provider_ref: Option<String>,
    /// What is to be paid, in the currency's minor units; more than 0.
    pub amount_minor: i64,
    /// The currency.
    pub currency: Currency,
    /// Where the payment stands.
    pub state: PaymentState,
    /// Until when an unfinished payment holds its units, by PostgreSQL's clock.
    pub pay_until: DateTime<Utc>,
    /// When the next step with the provider is due; `None` where there is none.
    pub due_at: Option<DateTime<Utc>>,
    /// How often the present step was put off.
    pub attempts: i32,
    /// Why the last step was put off, or the provider has refused.
    pub last_error: Option<String>,
    /// When the buyer asked to pay.
    pub created_at: DateTime<Utc>,
    /// When it last moved.
    pub updated_at: DateTime<Utc>,
}

/// What a provider reports about a payment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PaymentNews {
    /// The money is reserved.
    Authorized,
    /// The payment was refused; the buyer might try again, so the provider is told to cancel it.
    Failed,
    /// The money was taken.
    Captured,
    /// The payment was cancelled at the provider; no money can be taken any more.
    Cancelled,
}

/// A word of the provider's that came in a webhook.
#[derive(Clone, Copy, Debug)]
pub struct PaymentEvent<'a> {
    /// The event's id: it is applied once.
    pub id: &'a str,
    /// Who says so, as in [`Payment::provider`].
    pub provider: &'a str,
    /// The provider's name for the payment.
    pub provider_ref: &'a str,
    /// The order, where the event names one.
    pub order: Option<ReservationId>,
    /// What is said.
    pub news: PaymentNews,
}

/// Who cancels an order.
#[derive(Clone, Copy, Debug)]
pub enum CancelBy<'a> {
    /// Its buyer, as long as it is not paid for. The units go back on sale.
    Buyer,
    /// An operator, at any time.
    Operator {
        /// Who, for the audit trail.
        actor: &'a str,
        /// Whether the units go back on sale; else the sale's stock is lowered by them.
        restock: bool,
        /// Why, for the audit trail.
        reason: &'a str,
    },
}

impl PaymentNews {
    /// Its name: `authorized`, `failed`, `captured`, `cancelled`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Authorized => "authorized",
            Self::Failed => "failed",
            Self::Captured => "captured",
            Self::Cancelled => "cancelled",
        }
    }
}

impl FromRow<'_, PgRow> for Payment {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            order_id: ReservationId(row.try_get("payment_order_id")?),
            sale_id: SaleId(row.try_get("payment_sale_id")?),
            provider: row.try_get("provider")?,
            provider_ref: row.try_get("provider_ref")?,
            amount_minor: row.try_get("amount_minor")?,
            currency: checked(row, "payment_currency", |text: &str| text.parse())?,
            state: checked(row, "payment_state", |text: &str| text.parse())?,
            pay_until: row.try_get("pay_until")?,
            due_at: row.try_get("due_at")?,
            attempts: row.try_get("attempts")?,
            last_error: row.try_get("last_error")?,
            created_at: row.try_get("payment_created_at")?,
            updated_at: row.try_get("payment_updated_at")?,
        })
    }
}

impl Payment {
    /// The payment in a row that may have none.
    pub(crate) fn maybe_of(row: &PgRow) -> Result<Option<Self>, sqlx::Error> {
        let id: Option<Uuid> = row.try_get("payment_order_id")?;
        id.map(|_| Self::from_row(row)).transpose()
    }
}

/// The columns of a [`Payment`] `p`, which may be a row or a composite.
macro_rules! payment_columns {
    () => {
        "(p).order_id AS payment_order_id, (p).sale_id AS payment_sale_id, (p).provider, (p).provider_ref,
         (p).amount_minor, (p).currency AS payment_currency, (p).state AS payment_state, (p).pay_until, (p).due_at,
         (p).attempts, (p).last_error, (p).created_at AS payment_created_at, (p).updated_at AS payment_updated_at"
    };
}
pub(crate) use payment_columns;

/// A query for the [`Move`] that a function of `0006_payments.sql` answers.
macro_rules! select_move {
    ($call:literal) => {
        concat!(
            "SELECT m.verdict, m.status, m.tell, ",
            payment_columns!(),
            " FROM ",
            $call,
            " AS m (verdict, status, tell, p)"
        )
    };
}

impl Ledger {
    /// The buyer of a held order wants to pay. Its units are the buyer's for `limit_seconds` from now on. Where the hold
    /// has run out and no keeper has noticed, the order expires here.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn start_payment(
        &self,
        order: ReservationId,
        provider: &str,
        limit_seconds: u32,
    ) -> Result<Move<StartVerdict>, Error> {
        let sql = select_move!("start_payment($1, $2, $3::bigint)");
        let moved = sqlx::query_as(sql)
            .bind(order.0)
            .bind(provider)
            .bind(i64::from(limit_seconds))
            .fetch_one(&self.pool)
            .await?;
        Ok(moved)
    }

    /// The provider knows the payment as `provider_ref`. [`PaymentVerdict::Applied`]: it waits for the buyer, who may now
    /// be told how to pay, by the reference in the answer: the first one told counts. [`PaymentVerdict::Ignored`]: it
    /// does not wait for the buyer any more, who must not be told.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn payment_started(
        &self,
        order: ReservationId,
        provider_ref: &str,
    ) -> Result<Move<PaymentVerdict>, Error> {
        let sql = select_move!("payment_started($1, $2)");
        Ok(sqlx::query_as(sql).bind(order.0).bind(provider_ref).fetch_one(&self.pool).await?)
    }

    /// The provider refuses for good to start the payment: the order is cancelled and its units come back.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn payment_start_refused(
        &self,
        order: ReservationId,
        reason: &str,
    ) -> Result<Move<PaymentVerdict>, Error> {
        self.payment_refused(order, PaymentState::Starting, reason).await
    }

    /// The sale that [`Ledger::payment_event`] would lock; `None` where the event is about no payment of ours.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn sale_of_event(&self, event: &PaymentEvent<'_>) -> Result<Option<SaleId>, Error> {
        let sale: Option<Uuid> = sqlx::query_scalar(
            "SELECT sale_id FROM payments WHERE provider = $1 AND (order_id = $2 OR provider_ref = $3)
             ORDER BY order_id IS NOT DISTINCT FROM $2 DESC LIMIT 1",
        )
        .bind(event.provider)
        .bind(event.order.map(|order| order.0))
        .bind(event.provider_ref)
        .fetch_optional(&self.pool)
        .await?;
        Ok(sale.map(SaleId))
    }

    /// Applies what a webhook says, once. [`PaymentVerdict::Unknown`]: it is about no payment of ours, and was not kept.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn payment_event(&self, event: &PaymentEvent<'_>) -> Result<Move<PaymentVerdict>, Error> {
        let sql = select_move!("payment_event($1, $2, $3, $4, $5)");
        let moved = sqlx::query_as(sql)
            .bind(event.id)
            .bind(event.provider)
            .bind(event.provider_ref)
            .bind(event.order.map(|order| order.0))
            .bind(event.news.as_str())
            .fetch_one(&self.pool)
            .await?;
        Ok(moved)
    }

    /// Applies what the provider said when it was asked.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn payment_news(&self, order: ReservationId, news: PaymentNews) -> Result<Move<PaymentVerdict>, Error> {
        let sql = select_move!("payment_news($1, $2)");
        Ok(sqlx::query_as(sql).bind(order.0).bind(news.as_str()).fetch_one(&self.pool).await?)
    }

    /// The provider has taken the money: the order is confirmed.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn payment_captured(&self, order: ReservationId) -> Result<Move<PaymentVerdict>, Error> {
        self.payment_news(order, PaymentNews::Captured).await
    }

    /// The provider refuses for good to take the money: the order is cancelled, its units come back, and whatever the
    /// provider may hold of the money is to be released.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn payment_capture_refused(
        &self,
        order: ReservationId,
        reason: &str,
    ) -> Result<Move<PaymentVerdict>, Error> {
        self.payment_refused(order, PaymentState::Authorized, reason).await
    }

    async fn payment_refused(
        &self,
        order: ReservationId,
        state: PaymentState,
        reason: &str,
    ) -> Result<Move<PaymentVerdict>, Error> {
        let sql = select_move!("payment_refused($1, $2, $3)");
        let reason = reason.replace('\0', "\\0");
        Ok(sqlx::query_as(sql).bind(order.0).bind(state.as_str()).bind(reason).fetch_one(&self.pool).await?)
    }

    /// The provider has let go of the money: it is cancelled there or given back.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn payment_released(&self, order: ReservationId) -> Result<Move<PaymentVerdict>, Error> {
        self.released(order, false).await
    }

    /// The provider has nothing to cancel of a payment that has failed. Should its money have been taken meanwhile, this
    /// changes nothing: that is still to be given back.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn failed_payment_is_over(&self, order: ReservationId) -> Result<Move<PaymentVerdict>, Error> {
        self.released(order, true).await
    }

    async fn released(&self, order: ReservationId, refused: bool) -> Result<Move<PaymentVerdict>, Error> {
        let sql = select_move!("payment_released($1, $2)");
        Ok(sqlx::query_as(sql).bind(order.0).bind(refused).fetch_one(&self.pool).await?)
    }

    /// Cancels an order. Its units come back, or leave the sale where the operator wants that, and its money is released.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn cancel_order(&self, order: ReservationId, by: CancelBy<'_>) -> Result<Move<CancelVerdict>, Error> {
        let (by, actor, restock, reason) = match by {
            CancelBy::Buyer => ("buyer", "buyer", true, "cancelled by the buyer"),
            CancelBy::Operator { actor, restock, reason } => ("operator", actor, restock, reason),
        };
        let sql = select_move!("cancel_order($1, $2, $3, $4, $5)");
        let moved = sqlx::query_as(sql)
            .bind(order.0)
            .bind(actor)
            .bind(by)
            .bind(restock)
            .bind(reason.replace('\0', "\\0"))
            .fetch_one(&self.pool)
            .await?;
        Ok(moved)
    }

    /// Up to `limit` payments whose next step is due, those that wait longest first. They are the caller's for `lease`:
    /// nobody else is given them, and afterwards anybody is, should the caller have died.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn due_payments(&self, lease: Duration, limit: i64) -> Result<Vec<Payment>, Error> {
        let sql = concat!("SELECT ", payment_columns!(), " FROM due_payments($1, $2) AS p ORDER BY (p).created_at");
        Ok(sqlx::query_as(sql).bind(milliseconds(lease)).bind(limit).fetch_all(&self.pool).await?)
    }

    /// Puts the step that `payment` is due for off until `wait` from now, for the reason `error` where it has failed.
    /// Changes nothing where the payment has moved on.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn put_off_payment(&self, payment: &Payment, wait: Duration, error: Option<&str>) -> Result<(), Error> {
        sqlx::query("SELECT put_off_payment($1, $2, $3, $4)")
            .bind(payment.order_id.0)
            .bind(payment.state.as_str())
            .bind(milliseconds(wait))
            .bind(error.map(|error| error.replace('\0', "\\0")))
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// The provider still waits for the buyer: it is asked again after `wait`. A late payment is given up where its time
    /// was over `grace` ago.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn payment_undecided(&self, payment: &Payment, wait: Duration, grace: Duration) -> Result<(), Error> {
        sqlx::query("SELECT payment_undecided($1, $2, $3)")
            .bind(payment.order_id.0)
            .bind(milliseconds(wait))
            .bind(milliseconds(grace))
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}
