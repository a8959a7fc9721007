//! What a sale needs, decided from what was seen. Pure: no I/O, no clock.

use std::fmt;

use domain::SaleState;
use failpoints::Bug;
use inventory::Probe;
use ledger::Sale;
use serde::Serialize;
use utoipa::ToSchema;

/// What to do for one sale.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Plan {
    /// The gate is as it was installed: change nothing.
    Nothing,
    /// Raise the epoch, drain, and install a new gate.
    Rebuild(Reason),
    /// The window has passed or an operator has ended the sale, and nothing is on its way any more.
    End,
}

/// Why a gate is rebuilt.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The sale never had a gate.
    NeverOpened,
    /// An earlier reconciler did not finish.
    Unfinished,
    /// Redis holds no gate of the recorded epoch.
    GateLost,
    /// Redis holds the gate but not its scripts: it was restarted, or a replica was promoted.
    ScriptsLost,
    /// RabbitMQ has no queue for the epoch.
    QueueLost,
    /// RabbitMQ has the queue, but what is published for the epoch does not reach it.
    Unroutable,
    /// Another server, or another history of the same server, than the one the gate was installed on.
    OtherServer,
    /// An operator asked for it.
    Reset,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NeverOpened => "the sale never had a gate",
            Self::Unfinished => "an earlier reconcile did not finish",
            Self::GateLost => "Redis lost the gate",
            Self::ScriptsLost => "Redis lost the scripts",
            Self::QueueLost => "RabbitMQ lost the queue",
            Self::Unroutable => "RabbitMQ lost the way to the queue",
            Self::OtherServer => "Redis is another server, or has another history, than at install",
            Self::Reset => "an operator asked for a reset",
        })
    }
}

/// What Redis and RabbitMQ hold of a sale that has a recorded installation.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// What Redis holds.
    pub probe: Probe,
    /// Messages that wait in the epoch's queue; `None` where RabbitMQ has no such queue.
    pub queued: Option<u32>,
}

impl Seen {
    /// At least how many reservations are on their way to PostgreSQL. Where Redis has lost the outbox, the messages
    /// still tell.
    pub(crate) fn in_flight(&self) -> u64 {
        self.probe.outbox_len.max(self.queued.unwrap_or(0).into())
    }
}

/// What `sale` needs, given what the other two stores hold of it; `None` where it was never installed.
#[must_use]
pub fn plan(sale: &Sale, seen: Option<&Seen>) -> Plan {
    match sale.state {
        SaleState::Ended => return Plan::Nothing,
        SaleState::Closed => return Plan::Rebuild(Reason::NeverOpened),
        SaleState::Draining => return Plan::Rebuild(Reason::Unfinished),
        SaleState::Open => {}
    }
    let (Some(installation), Some(Seen { probe, queued })) = (&sale.installation, seen) else {
        return Plan::Rebuild(Reason::GateLost);
    };
    let Some(gate) = probe.gate.filter(|gate| gate.epoch == sale.epoch && gate.open) else {
        return Plan::Rebuild(Reason::GateLost);
    };
    // A gate that goes by other rules may still let somebody win, or will once it has heard of newer ones.
    let is_over = sale.rules().are_over(probe.now_ms) && gate.rules.revision == sale.revision;
    if !probe.scripts_present {
        Plan::Rebuild(Reason::ScriptsLost)
    } else if probe.server != installation.server && !failpoints::planted(Bug::ServerNotCompared) {
        Plan::Rebuild(Reason::OtherServer)
    } else if is_over && probe.outbox_len == 0 && queued.unwrap_or(0) == 0 {
        Plan::End
    } else if queued.is_none() {
        Plan::Rebuild(Reason::QueueLost)
    } else {
        Plan::Nothing
    }
}
