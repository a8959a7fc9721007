//! A reconciler's steps. Each write is guarded by the epoch and the token of the drain it belongs to, and says
//! whether that drain still held: a reconciler that was overtaken changes nothing.

use domain::{Epoch, Installation, ReservationId, SaleId, UserId};
use sqlx::types::Json;
use sqlx::{FromRow, Row};
use uuid::Uuid;

use crate::row::checked;
use crate::{Error, Ledger};

/// What a new gate starts with.
#[derive(Clone, Copy, Debug, Eq, FromRow, PartialEq)]
pub struct Settled {
    /// Units for sale: all but those sold or withheld by dead letters.
    pub stock: i64,
    /// Buyers the gate has to know: as many as [`Ledger::buyers_page`] will list.
    #[sqlx(try_from = "i64")]
    pub buyers: u64,
}

impl Ledger {
    /// Takes the sale for a drain and raises its epoch, where it is still `seen`. From here on only the holder of
    /// `token` writes orders. Returns the new epoch; `None`: another reconciler was faster.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn begin_drain(&self, sale: SaleId, seen: Epoch, token: Uuid) -> Result<Option<Epoch>, Error> {
        let epoch: Option<i64> = sqlx::query_scalar(
            "UPDATE sales SET epoch = epoch + 1, state = 'draining', drain_token = $3
             WHERE id = $1 AND epoch = $2 RETURNING epoch",
        )
        .bind(sale.0)
        .bind(seen.0)
        .bind(token)
        .fetch_optional(&self.pool)
        .await?;
        Ok(epoch.map(Epoch))
    }

    /// Computes the new gate's stock from the orders and marks all adjustments as applied, in one transaction with
    /// the sale's row locked. `None`: the drain is no longer the caller's.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn settle_stock(&self, sale: SaleId, epoch: Epoch, token: Uuid) -> Result<Option<Settled>, Error> {
        let settled = sqlx::query_as("SELECT stock, buyers FROM settle_stock($1, $2, $3)")
            .bind(sale.0)
            .bind(epoch.0)
            .bind(token)
            .fetch_optional(&self.pool)
            .await?;
        Ok(settled)
    }

    /// Deletes the sale's orders, adjustments, dead letters, refusal counts and audit rows; messages of an epoch
    /// before `epoch` are stale from now on. Answers as [`Ledger::settle_stock`] does.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn reset(&self, sale: SaleId, epoch: Epoch, token: Uuid, actor: &str) -> Result<Option<Settled>, Error> {
        let settled = sqlx::query_as("SELECT stock, buyers FROM reset_sale($1, $2, $3, $4)")
            .bind(sale.0)
            .bind(epoch.0)
            .bind(token)
            .bind(actor)
            .fetch_optional(&self.pool)
            .await?;
        Ok(settled)
    }

    /// Up to `limit` buyers the gate has to know, by ascending reservation id, from just after `after` on: everyone
    /// with an order, whatever its state, and everyone without one who has a dead letter.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn buyers_page(
        &self,
        sale: SaleId,
        after: Option<ReservationId>,
        limit: i64,
    ) -> Result<Vec<(UserId, ReservationId)>, Error> {
        let rows = sqlx::query(
            "(SELECT user_id, id FROM orders WHERE sale_id = $1 AND id > $2 ORDER BY id LIMIT $3)
             UNION ALL
             (SELECT user_id, reservation_id FROM withheld_buyers WHERE sale_id = $1 AND reservation_id > $2
              ORDER BY reservation_id LIMIT $3)
             ORDER BY id LIMIT $3",
        )
        .bind(sale.0)
        // No reservation has the nil id: it stands before all of them.
        .bind(after.map_or(Uuid::nil(), |id| id.0))
        .bind(limit)
        .fetch_all(&self.pool)
        .await?;
        let buyer = |row| Ok((checked(row, "user_id", |text: &str| text.parse())?, ReservationId(row.try_get("id")?)));
        rows.iter().map(buyer).collect()
    }

    /// Ends the drain: the sale is open, and every older epoch's queue is gone. `report` goes to the audit trail.
    /// `false`: the drain is no longer the caller's, or the sale's rules have another revision by now, which the gate
    /// must learn first.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn open(
        &self,
        sale: SaleId,
        epoch: Epoch,
        (token, revision): (Uuid, i64),
        installation: &Installation,
        report: &serde_json::Value,
    ) -> Result<bool, Error> {
        let written = sqlx::query(
            "WITH opened AS (
                UPDATE sales SET state = 'open', drain_token = NULL, installation = $4, drained_through = epoch - 1,
                                 ended_at = NULL, cleaned_at = NULL
                WHERE id = $1 AND epoch = $2 AND drain_token = $3 AND revision = $6 RETURNING id)
             INSERT INTO audit (sale_id, event, detail) SELECT id, 'RECONCILED', $5 FROM opened",
        )
        .bind(sale.0)
        .bind(epoch.0)
        .bind(token)
        .bind(Json(installation))
        .bind(report)
        .bind(revision)
        .execute(&self.pool)
        .await?;
        Ok(written.rows_affected() == 1)
    }

    /// Marks an open sale as over. `false`: it is not open any more, not at this epoch or not of this revision, or a claim
    /// is undecided.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn end(&self, sale: SaleId, epoch: Epoch, revision: i64) -> Result<bool, Error> {
        let ended = sqlx::query_scalar("SELECT end_sale($1, $2, $3)")
            .bind(sale.0)
            .bind(epoch.0)
            .bind(revision)
            .fetch_one(&self.pool)
            .await?;
        Ok(ended)
    }
}
