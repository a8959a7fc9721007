//! Redis: the gate that decides who gets a unit, fast and in one atomic step, and the outbox of what it decided.
//!
//! The scripts in `lua/` hold the logic; this crate is the typed doorway to them. One sale has, per [`Epoch`], a gate,
//! its buyers, an outbox and a set of adjustments already booked. Scripts are called by `EVALSHA` only and loaded by
//! [`Inventory::install`] only: Redis forgets scripts when it restarts, so a missing script tells that it lost the
//! epoch ([`Error::Lost`]).
//!
//! Who calls what: the API calls [`Inventory::reserve`] and reads [`Inventory::gates`]; a persister calls
//! [`Inventory::settle`] after its commit; a keeper sweeps [`Inventory::outbox`], books with [`Inventory::adjust`], [`Inventory::claim`] and [`Inventory::configure`] and
//! watches with [`Inventory::probe_all`]; a reconciler installs, loads, opens and removes.

mod adjust;
mod books;
mod claim;
mod configure;
mod connection;
mod error;
mod facts;
mod gate;
mod install;
mod keys;
mod limit;
mod mark;
mod outbox;
mod probe;
mod rate;
mod reserve;
mod scripts;

use std::fmt;
use std::sync::Arc;

use secrecy::SecretString;
use serde::Deserialize;

pub use books::Snapshot;
pub use error::{Error, Loss};
pub use facts::ServerFacts;
pub use gate::Gate;
pub use install::NewGate;
pub use limit::Limiter;
pub use mark::Mark;
pub use outbox::{Backlog, OutboxEntry, Sought, batches, reserved_at};
pub use probe::Probe;
pub use rate::{InvalidRate, Rate};
pub use reserve::{Attempt, Decision, LimitedBy, MAX_BATCH, Rates, Reserved};

use connection::Connection;
#[cfg(doc)]
use domain::Epoch;

/// Where Redis is and how long to wait for it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `redis://[user]:[password]@host:port/[database]`
    pub url: SecretString,
    /// How long making a connection may take, in milliseconds.
    pub connect_timeout_ms: u64,
    /// How long an answer may take, in milliseconds. A reservation waits at most twice as long.
    pub response_timeout_ms: u64,
    /// The most entries a sale's outbox may hold; beyond it nobody wins until the ledger catches up.
    pub outbox_limit: u64,
}

/// A handle on one Redis server: cheap to clone, one multiplexed connection shared by the clones.
///
/// The connection is made by the first call and made anew after it broke, timed out or turned out to lead to a
/// replica. Only [`Inventory::reserve`] repeats a call by itself.
#[derive(Clone)]
pub struct Inventory {
    connection: Arc<Connection>,
    outbox_limit: u64,
    rates: Rates,
}

impl Inventory {
    /// A handle that is not connected yet. Does no I/O and needs no runtime.
    ///
    /// # Errors
    /// [`Error::Url`] if the URL is none of Redis.
    pub fn new(config: &Config) -> Result<Self, Error> {
        let connection = Arc::new(Connection::new(config)?);
        Ok(Self { connection, outbox_limit: config.outbox_limit, rates: Rates::default() })
    }

    /// The same handle, counting attempts to reserve.
    #[must_use]
    pub fn counting(self, rates: Rates) -> Self {
        Self { rates, ..self }
    }

    /// Asks Redis whether it is there.
    ///
    /// # Errors
    /// [`Error::Unreachable`]
    pub async fn ping(&self) -> Result<(), Error> {
        self.connection.call(&redis::cmd("PING")).await
    }
}

impl fmt::Debug for Inventory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inventory").field("outbox_limit", &self.outbox_limit).finish_non_exhaustive()
    }
}
