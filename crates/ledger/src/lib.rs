//! PostgreSQL: sales, orders, stock adjustments, dead letters, the audit trail and the books. All SQL of the project
//! stands here and in `migrations/`.
//!
//! Every method is one statement that commits by itself, so the caller may put it under a timeout or drop it: it
//! happened as a whole or not at all, and each can be repeated. The one exception is [`Ledger::lock_books`], which
//! opens a transaction and must be neither timed out nor dropped halfway.

mod accounts;
mod adjustments;
mod apply;
mod books;
mod claims;
mod dead_letters;
mod decisions;
mod demo;
mod drain;
mod edits;
mod error;
mod facts;
mod holds;
mod moves;
mod orders;
mod payments;
mod processes;
mod records;
mod refusals;
mod row;
mod sales;
mod stats;
mod traffic;
mod webhooks;

use std::str::FromStr;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

pub use accounts::Account;
pub use adjustments::Adjustment;
pub use books::{LedgerBooks, LockedBooks};
pub use claims::{ClaimState, Unheard};
pub use dead_letters::{BuriedLetter, DeadLetter, LISTED_BODY_BYTES, LetterFilter, Resolution, UnknownResolution};
pub use decisions::Verdict;
pub use demo::DEMO_SALE;
pub use drain::Settled;
pub use edits::{Edited, SaleChanges};
pub use error::Error;
pub use facts::{SchemaDrift, ServerFacts};
pub use moves::{CancelVerdict, Move, PaymentVerdict, StartVerdict};
pub use orders::{Moment, Order, OrderCursor, OrderOfUser, OrderView};
pub use payments::{CancelBy, Payment, PaymentEvent, PaymentNews};
pub use processes::{Heartbeat, Seen};
pub use records::{AuditEntry, OrderFilter, Waiting};
pub use refusals::RefusalCount;
pub use sales::{NewSale, Sale, SaleFilter};
pub use stats::{DayRevenue, Holds, Refused, Revenue, SaleRevenue, SellOut, Statistics, StatsFilter, Timed};
pub use traffic::TrafficSecond;
pub use webhooks::{
    LeasedWebhook, UnknownWebhookState, WEBHOOK_TYPES, Webhook, WebhookFailure, WebhookFilter, WebhookOutcome,
    WebhookState,
};

/// Where PostgreSQL is and how much of it one process may use.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `postgres://user:password@host:port/database`
    pub url: SecretString,
    /// The same as the database's owner, who migrates it; empty: [`Config::url`] does.
    pub owner_url: SecretString,
    /// The most connections one process opens.
    pub max_connections: u32,
    /// How long a call waits for a free or a new connection, in milliseconds, before it fails as transient.
    pub acquire_timeout_ms: u64,
    /// How long the server works on one statement, or waits inside a transaction for the next, in milliseconds.
    pub statement_timeout_ms: u64,
}

/// The doorway to PostgreSQL. Cheap to clone; all clones share one pool.
#[derive(Clone, Debug)]
pub struct Ledger {
    pool: PgPool,
}

impl Ledger {
    /// A ledger over a pool that connects when it is first used. To be called within a Tokio runtime.
    ///
    /// # Errors
    /// [`Error::Config`] where the URL cannot be read; the text never shows its password.
    pub fn new(config: &Config) -> Result<Self, Error> {
        Self::connecting_to(&config.url, config)
    }

    fn connecting_to(url: &SecretString, config: &Config) -> Result<Self, Error> {
        let pool = PgPoolOptions::new()
            .max_connections(config.max_connections)
            .acquire_timeout(Duration::from_millis(config.acquire_timeout_ms))
            // One round trip more, and a connection that a restart of the server has cut never reaches a caller.
            .test_before_acquire(true)
            .connect_lazy_with(Self::options(url, config.statement_timeout_ms)?);
        Ok(Self { pool })
    }

    /// How a connection is made on which a statement may take `timeout_ms`.
    pub(crate) fn options(url: &SecretString, timeout_ms: u64) -> Result<PgConnectOptions, Error> {
        let timeout_ms = timeout_ms.to_string();
        let options = PgConnectOptions::from_str(url.expose_secret())
            .map_err(Error::Config)?
            .application_name("flashsale")
            .options([
                ("statement_timeout", timeout_ms.as_str()),
                // A process that stops in the middle of a transaction must not hold a sale's row for long.
                ("idle_in_transaction_session_timeout", timeout_ms.as_str()),
                // The server notices within 45 s that a client's machine is gone, and drops its locks.
                ("tcp_keepalives_idle", "30"),
                ("tcp_keepalives_interval", "5"),
                ("tcp_keepalives_count", "3"),
            ]);
        Ok(options)
    }

    /// Brings the database to the schema of this build, as its owner. Any number of processes may call this at once.
    ///
    /// # Errors
    /// [`Error::Config`] where the owner's URL cannot be read, PostgreSQL failed, the role may not change the schema, or the database was migrated by a build that knows other migrations.
    pub async fn migrate(config: &Config) -> Result<(), Error> {
        let has_owner = !config.owner_url.expose_secret().is_empty();
        let owner = Self::connecting_to(if has_owner { &config.owner_url } else { &config.url }, config)?;
        let migrated = facts::MIGRATIONS.run(&owner.pool).await;
        owner.close().await;
        migrated.map_err(Error::from)
    }

    /// Asks PostgreSQL for nothing.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn ping(&self) -> Result<(), Error> {
        sqlx::query("SELECT 1").execute(&self.pool).await?;
        Ok(())
    }

    /// Waits until every connection is back and closes them all.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}
