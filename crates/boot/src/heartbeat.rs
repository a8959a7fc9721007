//! Says every two seconds that this process is there and how much it has done, so that operators see who is at work.
//! Nothing decides by it: who holds messages of a sale, RabbitMQ knows better (ADR 1, ADR 23).

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use ledger::{Heartbeat, Ledger};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How often a process says that it is there.
const EVERY: Duration = Duration::from_secs(2);
/// How long saying good-bye may take: whoever does not hear it notices the silence.
const GOOD_BYE: Duration = Duration::from_secs(1);

/// What kind of process this is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// Answers over HTTP.
    Api,
    /// Writes orders.
    Persister,
    /// Looks after sales.
    Keeper,
}

impl Role {
    fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Persister => "persister",
            Self::Keeper => "keeper",
        }
    }
}

/// How much this process has done. Cheap to clone, and to count.
#[derive(Clone, Debug, Default)]
pub struct Handled(Arc<AtomicI64>);

impl Handled {
    /// Counts `more`.
    pub fn add(&self, more: usize) {
        self.0.fetch_add(i64::try_from(more).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The heart of this process; it stops with [`Heart::stop`] or with the runtime.
pub struct Heart {
    id: Uuid,
    stopping: CancellationToken,
    beating: Mutex<JoinHandle<()>>,
}

impl Heart {
    /// Begins to beat. To be called within a Tokio runtime.
    #[must_use]
    pub fn start(ledger: &Ledger, role: Role, handled: &Handled) -> Self {
        let (id, stopping) = (Uuid::new_v4(), CancellationToken::new());
        let heartbeat = Heartbeat {
            id,
            role: role.as_str(),
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            pid: i32::try_from(std::process::id()).unwrap_or_default(),
            version: env!("CARGO_PKG_VERSION"),
            handled: 0,
        };
        let beating = tokio::spawn(beat(ledger.clone(), heartbeat, handled.clone(), stopping.clone()));
        Self { id, stopping, beating: Mutex::new(beating) }
    }

    /// The process's id, another one for each start.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// Stops, and has the process forgotten: it ends on purpose.
    pub async fn stop(&self) {
        self.stopping.cancel();
        let mut beating = self.beating.lock().await;
        if tokio::time::timeout(GOOD_BYE, &mut *beating).await.is_err() {
            beating.abort();
        }
    }
}

async fn beat(ledger: Ledger, mut heartbeat: Heartbeat, handled: Handled, stopping: CancellationToken) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Whoever needs PostgreSQL for more than this tells when it is away.
    let note = |result: Result<(), ledger::Error>| {
        if let Err(error) = result {
            tracing::debug!(%error, "a heartbeat could not be written");
        }
    };
    while stopping.run_until_cancelled(ticks.tick()).await.is_some() {
        heartbeat.handled = handled.get();
        note(ledger.beat(&heartbeat).await);
    }
    note(ledger.stopped(heartbeat.id).await);
}
