//! The ledger's side of the books, exact even while the sale runs.

use std::collections::HashSet;

use domain::{ReservationId, SaleId};
use sqlx::postgres::PgRow;
use sqlx::{Postgres, Row, Transaction};

use crate::sales::select_sales;
use crate::{Adjustment, Error, Ledger, Sale, adjustments, dead_letters};

/// What PostgreSQL knows of one sale, all of it at one instant.
#[derive(Clone, Debug, PartialEq)]
pub struct LedgerBooks {
    /// The sale, with its own count of units sold.
    pub sale: Sale,
    /// Units of active orders, counted.
    pub active_units: i64,
    /// Orders in any state.
    pub orders: i64,
    /// Orders that hold units.
    pub active_orders: i64,
    /// Different buyers among all orders.
    pub distinct_users: i64,
    /// Orders that were refused although their buyers had been promised units.
    pub refused_orders: i64,
    /// Orders and payments that do not belong together, such as a confirmed order whose money was not taken.
    pub misfit_payments: i64,
    /// Payments with a step that we owe: money to take or to give back, units to claim for it.
    pub payments_due: i64,
    /// Adjustments not recorded as applied.
    pub pending: Vec<Adjustment>,
    /// Units withheld by dead letters.
    pub dead_letter_units: i64,
    /// Buyers of dead letters, resolved or not, who have no order.
    pub dead_letter_buyers: i64,
}

/// Books of a sale whose row stays locked: until [`LockedBooks::release`] nothing in them changes.
pub struct LockedBooks {
    /// What was read.
    pub books: LedgerBooks,
    transaction: Transaction<'static, Postgres>,
}

impl Ledger {
    /// Locks the sale's row and reads its books; `None` where there is no such sale. Persists of this sale wait until
    /// the books are released or, where they are forgotten, until `statement_timeout_ms` has passed.
    ///
    /// Not to be put under a timeout or into a `select!`: sqlx 0.9.0 returns a connection to the pool with an open
    /// transaction when `begin` is cancelled (its issues 4385 and 4393).
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn lock_books(&self, sale: SaleId) -> Result<Option<LockedBooks>, Error> {
        let mut transaction = self.pool.begin().await?;
        let locked: Option<Sale> = sqlx::query_as(select_sales!("WHERE id = $1 FOR UPDATE"))
            .bind(sale.0)
            .fetch_optional(&mut *transaction)
            .await?;
        let Some(locked) = locked else {
            transaction.rollback().await?;
            return Ok(None);
        };
        let counts = sqlx::query(include_str!("books.sql")).bind(sale.0).fetch_one(&mut *transaction).await?;
        let pending = adjustments::unapplied(&mut *transaction, sale).await?;
        Ok(Some(LockedBooks { books: LedgerBooks::of(locked, &counts, pending)?, transaction }))
    }
}

impl LedgerBooks {
    fn of(sale: Sale, counts: &PgRow, pending: Vec<Adjustment>) -> Result<Self, sqlx::Error> {
        Ok(Self {
            sale,
            active_units: counts.try_get("active_units")?,
            orders: counts.try_get("orders")?,
            active_orders: counts.try_get("active_orders")?,
            distinct_users: counts.try_get("distinct_users")?,
            refused_orders: counts.try_get("refused_orders")?,
            misfit_payments: counts.try_get("misfit_payments")?,
            payments_due: counts.try_get("payments_due")?,
            pending,
            dead_letter_units: counts.try_get("dead_letter_units")?,
            dead_letter_buyers: counts.try_get("dead_letter_buyers")?,
        })
    }
}

impl LockedBooks {
    /// As [`Ledger::known`], at the instant of the books.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn known(&mut self, ids: &[ReservationId]) -> Result<HashSet<ReservationId>, Error> {
        dead_letters::known(&mut *self.transaction, ids).await
    }

    /// Gives the sale's row free.
    ///
    /// # Errors
    /// PostgreSQL failed; the row is free all the same.
    pub async fn release(self) -> Result<(), Error> {
        Ok(self.transaction.rollback().await?)
    }
}
