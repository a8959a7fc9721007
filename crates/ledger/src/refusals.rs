//! Attempts that did not win, counted.

use domain::{Epoch, Refusal, SaleId};
use uuid::Uuid;

use crate::{Error, Ledger};

/// How many attempts one process refused for one reason within one second.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RefusalCount {
    /// The sale.
    pub sale_id: SaleId,
    /// The epoch the process knew; counts from before a reset are dropped.
    pub epoch: Epoch,
    /// Why they were refused.
    pub reason: Refusal,
    /// Which second: Unix time.
    pub at_second: i64,
    /// How many.
    pub count: i64,
}

impl Ledger {
    /// Adds a process's counts in one statement. A flush whose outcome is not known is to be sent again with the
    /// same `seq` and the same counts: it counts once. `seq` rises with each new flush of a process.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn flush_refusals(&self, process: Uuid, seq: i64, counts: &[RefusalCount]) -> Result<(), Error> {
        sqlx::query(include_str!("flush_refusals.sql"))
            .bind(process)
            .bind(seq)
            .bind(counts.iter().map(|count| count.sale_id.0).collect::<Vec<_>>())
            .bind(counts.iter().map(|count| count.epoch.0).collect::<Vec<_>>())
            .bind(counts.iter().map(|count| count.reason.as_str()).collect::<Vec<_>>())
            .bind(counts.iter().map(|count| count.at_second).collect::<Vec<_>>())
            .bind(counts.iter().map(|count| count.count).collect::<Vec<_>>())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// How many attempts of this sale were refused since it was created or reset, by reason; reasons that never
    /// occurred are left out.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn refusal_totals(&self, sale: SaleId) -> Result<Vec<(Refusal, i64)>, Error> {
        let totals: Vec<(String, i64)> = sqlx::query_as(
            "SELECT reason, sum(count)::bigint FROM refusals WHERE sale_id = $1 GROUP BY reason ORDER BY reason",
        )
        .bind(sale.0)
        .fetch_all(&self.pool)
        .await?;
        totals.into_iter().map(|(name, count)| Ok((refusal(&name)?, count))).collect()
    }
}

fn refusal(name: &str) -> Result<Refusal, Error> {
    Refusal::ALL
        .into_iter()
        .find(|reason| reason.as_str() == name)
        .ok_or_else(|| Error::Other(sqlx::Error::Decode(format!("{name:?} is not a refusal").into())))
}
