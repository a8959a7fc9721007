//! Who is at work, for people who look: each process writes that it is there, and what it has done. Nothing decides by it.

use chrono::{DateTime, Utc};
use sqlx::FromRow;
use uuid::Uuid;

use crate::{Error, Ledger};

/// What a process says of itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Heartbeat {
    /// Another one for each start.
    pub id: Uuid,
    /// `api`, `persister` or `keeper`.
    pub role: &'static str,
    /// The machine's name.
    pub host: String,
    /// Its number there.
    pub pid: i32,
    /// Its version.
    pub version: &'static str,
    /// What it has done since its start: an API's attempts to purchase, a persister's reservations, a keeper's rounds.
    pub handled: i64,
}

/// A process as it was last heard of.
#[derive(Clone, Debug, FromRow, PartialEq)]
pub struct Seen {
    /// Another one for each start.
    pub id: Uuid,
    /// `api`, `persister` or `keeper`.
    pub role: String,
    /// The machine's name.
    pub host: String,
    /// Its number there.
    pub pid: i32,
    /// Its version.
    pub version: String,
    /// What it has done since its start.
    pub handled: i64,
    /// Of that, how much a second of late.
    pub per_second: f64,
    /// When it was heard of first.
    pub started_at: DateTime<Utc>,
    /// When it was heard of last.
    pub seen_at: DateTime<Utc>,
    /// How long ago that is, in milliseconds, by PostgreSQL's clock.
    pub age_ms: i64,
}

impl Ledger {
    /// Writes that a process is there, and forgets those that have not been for ten minutes.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn beat(&self, heartbeat: &Heartbeat) -> Result<(), Error> {
        sqlx::query(include_str!("beat.sql"))
            .bind(heartbeat.id)
            .bind(heartbeat.role)
            .bind(&heartbeat.host)
            .bind(heartbeat.pid)
            .bind(heartbeat.version)
            .bind(heartbeat.handled)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Forgets a process that stops on purpose.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn stopped(&self, process: Uuid) -> Result<(), Error> {
        sqlx::query("DELETE FROM processes WHERE id = $1").bind(process).execute(&self.pool).await?;
        Ok(())
    }

    /// Every process that was heard of in the last ten minutes and has not stopped on purpose, by role, host and start.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn processes(&self) -> Result<Vec<Seen>, Error> {
        let seen = sqlx::query_as(
            "SELECT id, role, host, pid, version, handled, per_second, started_at, seen_at,
                    greatest(0, extract(epoch FROM clock_timestamp() - seen_at) * 1000)::bigint AS age_ms
             FROM processes ORDER BY role, host, started_at, id",
        );
        Ok(seen.fetch_all(&self.pool).await?)
    }
}
