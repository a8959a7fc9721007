//! Claims: units that leave the gate only if it has them. Whoever wants some writes a claim (`claim_units` in
//! `migrations/0010_sale_edits.sql`), the gate decides, and what it said is booked here.

use std::collections::HashMap;

use domain::{Epoch, SaleId};
use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::{Error, Ledger};

/// Where a claim stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClaimState {
    /// The gate has not answered, or its answer is not booked.
    Undecided,
    /// The units are where the claim wanted them.
    Granted,
    /// There were fewer units.
    Refused,
    /// There is no such claim, or it was reset away.
    Gone,
}

/// What of a sale's stock the gate has not heard yet.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Unheard {
    /// Units by which the stock is to be lowered, if the gate agrees; 0 or less.
    pub lowering: i64,
    /// Units that were added.
    pub raising: i64,
}

impl Ledger {
    /// Books what the gate of `epoch` said about a claim. Answers how the claim was decided, by this call or before it;
    /// `None`: the epoch has moved on, and a later gate or a rebuild decides.
    ///
    /// # Errors
    /// PostgreSQL failed: ask the gate again, it says the same.
    pub async fn settle_claim(&self, id: i64, epoch: Epoch, taken: bool) -> Result<Option<bool>, Error> {
        let granted = sqlx::query_scalar("SELECT settle_claim($1, $2, $3)")
            .bind(id)
            .bind(epoch.0)
            .bind(taken)
            .fetch_one(&self.pool)
            .await?;
        Ok(granted)
    }

    /// Where a claim stands.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn claim_state(&self, id: i64) -> Result<ClaimState, Error> {
        let granted: Option<Option<bool>> =
            sqlx::query_scalar("SELECT granted FROM stock_adjustments WHERE id = $1 AND is_claim")
                .bind(id)
                .fetch_optional(&self.pool)
                .await?;
        Ok(match granted {
            None => ClaimState::Gone,
            Some(None) => ClaimState::Undecided,
            Some(Some(true)) => ClaimState::Granted,
            Some(Some(false)) => ClaimState::Refused,
        })
    }

    /// What operators have changed of these sales' stocks and the gate has not heard yet; nothing of the others.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn unheard_stock(&self, sales: &[SaleId]) -> Result<HashMap<SaleId, Unheard>, Error> {
        let ids: Vec<_> = sales.iter().map(|sale| sale.0).collect();
        let rows = sqlx::query(
            "SELECT sale_id, coalesce(sum(delta) FILTER (WHERE is_claim), 0) AS lowering,
                    coalesce(sum(delta) FILTER (WHERE NOT is_claim), 0) AS raising
             FROM stock_adjustments
             WHERE sale_id = ANY ($1) AND applied_at IS NULL AND reason IN ('stock_raised', 'stock_lowered')
             GROUP BY sale_id",
        )
        .bind(ids)
        .fetch_all(&self.pool)
        .await?;
        let unheard = |row: &PgRow| {
            let unheard = Unheard { lowering: row.try_get("lowering")?, raising: row.try_get("raising")? };
            Ok((SaleId(row.try_get("sale_id")?), unheard))
        };
        rows.iter().map(unheard).collect()
    }
}
