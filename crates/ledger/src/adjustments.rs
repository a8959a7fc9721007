//! Units on their way from PostgreSQL back to the gate (or off it).

use domain::{Epoch, SaleId};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgExecutor, Row};

use crate::{Error, Ledger};

/// A change of the gate's stock that PostgreSQL has booked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Adjustment {
    /// Makes applying it idempotent.
    pub id: i64,
    /// The epoch whose gate it belongs to, and no other: later gates are filled with it taken into account.
    pub epoch: Epoch,
    /// Units to add to the stock; negative to take off.
    pub delta: i32,
    /// Whether the gate may refuse it: then its units are taken off only if they are there.
    pub is_claim: bool,
    /// Why: `late_epoch`, `second_order`, `expired`, `cancelled`, ...
    pub reason: String,
}

impl FromRow<'_, PgRow> for Adjustment {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: row.try_get("id")?,
            epoch: Epoch(row.try_get("epoch")?),
            delta: row.try_get("delta")?,
            is_claim: row.try_get("is_claim")?,
            reason: row.try_get("reason")?,
        })
    }
}

impl Ledger {
    /// Adjustments that the current gate still lacks and claims it has not answered, oldest first. None while there is
    /// no gate or a reconciler is filling one, because until its [`Ledger::settle_stock`] they may still be counted into
    /// the new stock.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn pending_adjustments(&self, sale: SaleId) -> Result<Vec<Adjustment>, Error> {
        let pending = sqlx::query_as(
            "SELECT a.id, a.epoch, a.delta, a.is_claim, a.reason
             FROM stock_adjustments a JOIN sales s ON s.id = a.sale_id
             WHERE a.sale_id = $1 AND a.applied_at IS NULL AND a.epoch = s.epoch AND s.state IN ('open', 'ended')
             ORDER BY a.id",
        )
        .bind(sale.0)
        .fetch_all(&self.pool)
        .await?;
        Ok(pending)
    }

    /// Records that the gate has these adjustments.
    ///
    /// # Errors
    /// PostgreSQL failed: apply them again, it changes nothing.
    pub async fn mark_applied(&self, ids: &[i64]) -> Result<(), Error> {
        sqlx::query(
            "UPDATE stock_adjustments SET applied_at = clock_timestamp() WHERE id = ANY ($1) AND applied_at IS NULL",
        )
        .bind(ids)
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}

/// Every adjustment nobody has recorded as applied, whatever the sale's state.
pub(crate) async fn unapplied(executor: impl PgExecutor<'_>, sale: SaleId) -> Result<Vec<Adjustment>, Error> {
    let unapplied = sqlx::query_as(
        "SELECT id, epoch, delta, is_claim, reason FROM stock_adjustments
         WHERE sale_id = $1 AND applied_at IS NULL ORDER BY id",
    )
    .bind(sale.0)
    .fetch_all(executor)
    .await?;
    Ok(unapplied)
}
