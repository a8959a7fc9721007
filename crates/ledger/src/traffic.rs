//! How clicks are answered, second by second, for people who look. Nothing decides by it.

use sqlx::FromRow;
use uuid::Uuid;

use crate::{Error, Ledger};

/// What one API process answered within one second.
#[derive(Clone, Debug, Eq, FromRow, PartialEq)]
pub struct TrafficSecond {
    /// Which second: Unix time.
    pub at_second: i64,
    /// Attempts that won.
    pub successes: i64,
    /// Attempts that did not.
    pub refusals: i64,
    /// Attempts that may have won.
    pub unknown: i64,
    /// How long they waited for their answers, in microseconds: an `HdrHistogram` in its V2 form.
    pub latencies: Vec<u8>,
}

impl Ledger {
    /// Adds seconds that are over to what is known of a process, and forgets what is ten minutes older than the last of
    /// them. A second that is known already stays as it is, so whoever does not know what came of it may try again.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn record_traffic(&self, process: Uuid, seconds: &[TrafficSecond]) -> Result<(), Error> {
        sqlx::query(include_str!("record_traffic.sql"))
            .bind(process)
            .bind(seconds.iter().map(|second| second.at_second).collect::<Vec<_>>())
            .bind(seconds.iter().map(|second| second.successes).collect::<Vec<_>>())
            .bind(seconds.iter().map(|second| second.refusals).collect::<Vec<_>>())
            .bind(seconds.iter().map(|second| second.unknown).collect::<Vec<_>>())
            .bind(seconds.iter().map(|second| second.latencies.as_slice()).collect::<Vec<_>>())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// What all processes answered from `first` to `last` (Unix seconds, both of them too), by the second.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn traffic(&self, first: i64, last: i64) -> Result<Vec<TrafficSecond>, Error> {
        let seconds = sqlx::query_as(
            "SELECT extract(epoch FROM at_second)::bigint AS at_second, successes, refusals, unknown, latencies
             FROM traffic WHERE at_second BETWEEN to_timestamp($1) AND to_timestamp($2) ORDER BY at_second",
        );
        Ok(seconds.bind(first).bind(last).fetch_all(&self.pool).await?)
    }
}
