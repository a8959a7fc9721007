//! What can happen, one atomic step of one participant at a time.

use crate::state::Id;

/// One step.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action {
    /// API: the gate decides an attempt (`reserve.lua`).
    Reserve(Id),
    /// API: the message of a win reaches the exchange; it is queued, or returned where no queue is bound.
    Publish(Id),
    /// Persister: takes a delivery of the live queue.
    Take(Id),
    /// Persister: acknowledges first (a planted bug).
    AckFirst(Id),
    /// Persister: applies a delivery (`apply_batch`), or is fenced and puts it back.
    Commit(Id),
    /// Persister: applies a delivery of a dead queue.
    CommitLate(Id),
    /// Keeper: publishes an outbox entry that PostgreSQL does not know, while the queue is empty.
    Republish(Id),
    /// Keeper: gives a unit back to the gate, or takes one off (`adjust.lua`).
    Adjust(Id),
    /// An operator wants a unit out of the sale: the claim is written.
    Claim,
    /// Keeper: asks the gate for the unit (`claim.lua`).
    AskClaim,
    /// Keeper: books what the gate said (`settle_claim`).
    BookClaim,
    /// PostgreSQL: a hold runs out, and its unit is booked back.
    Expire(Id),
    /// PostgreSQL: an expiry reads the counter without the sale's lock (a planted bug).
    ExpireRead(Id),
    /// PostgreSQL: that expiry writes (a planted bug).
    ExpireWrite,
    /// Reconciler: takes the lock and raises the epoch.
    Begin,
    /// Reconciler: persists one message of the live queue.
    Drain(Id),
    /// Reconciler: persists one entry of the live outbox.
    Recover(Id),
    /// Reconciler: does the next step, or fails at it and lets go.
    Proceed,
    /// Something breaks.
    Fault(Fault),
}

/// What breaks.
///
/// A keeper has no memory between its steps: that it was killed shows as steps that do not come, at any point.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// The API process that holds this attempt is killed.
    ApiKilled(Id),
    /// The confirm does not come in time.
    ConfirmLost(Id),
    /// The persister that holds this delivery is killed, or loses its channel.
    PersisterKilled(Id),
    /// The persister is killed after it has committed this delivery, before it acknowledges it.
    PersisterKilledBeforeAck(Id),
    /// The reconciler is killed between two steps.
    ReconcilerKilled,
    /// The reconciler is killed after it has persisted this message, before it acknowledges it.
    ReconcilerKilledBeforeAck(Id),
    /// Redis ends and comes back with its data: a new `run_id`, no scripts.
    RedisRestarted,
    /// FLUSHALL: scripts stay, data is gone.
    RedisWiped,
    /// The other server becomes the master. Its scripts are those it had.
    RedisFailsOver(Lag),
    /// The live queue is deleted with all it holds.
    QueueLost,
    /// The new queue is deleted.
    NewQueueLost,
    /// A message is delivered again.
    MessageRepeated(Id),
}

/// What the new master lacks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Lag {
    /// Nothing.
    Nothing,
    /// One recent reservation.
    One(Id),
    /// The new gate's buyers.
    NewBuyers,
    /// Every recent reservation and the new gate.
    Everything,
}

/// The name of each kind of action, faults among them: a check asserts that it has seen each.
pub const KINDS: [&str; 31] = [
    "Reserve",
    "Publish",
    "Take",
    "AckFirst",
    "Commit",
    "CommitLate",
    "Republish",
    "Adjust",
    "Expire",
    "ExpireRead",
    "ExpireWrite",
    "Begin",
    "Drain",
    "Recover",
    "Proceed",
    "ApiKilled",
    "ConfirmLost",
    "PersisterKilled",
    "PersisterKilledBeforeAck",
    "ReconcilerKilled",
    "ReconcilerKilledBeforeAck",
    "RedisRestarted",
    "RedisWiped",
    "RedisFailsOver",
    "RedisFailsOverWithLoss",
    "QueueLost",
    "NewQueueLost",
    "MessageRepeated",
    "Claim",
    "AskClaim",
    "BookClaim",
];

impl Action {
    /// Its place in [`KINDS`].
    #[must_use]
    pub fn kind(&self) -> usize {
        match self {
            Self::Reserve(_) => 0,
            Self::Publish(_) => 1,
            Self::Take(_) => 2,
            Self::AckFirst(_) => 3,
            Self::Commit(_) => 4,
            Self::CommitLate(_) => 5,
            Self::Republish(_) => 6,
            Self::Adjust(_) => 7,
            Self::Expire(_) => 8,
            Self::ExpireRead(_) => 9,
            Self::ExpireWrite => 10,
            Self::Begin => 11,
            Self::Drain(_) => 12,
            Self::Recover(_) => 13,
            Self::Proceed => 14,
            Self::Claim => 28,
            Self::AskClaim => 29,
            Self::BookClaim => 30,
            Self::Fault(fault) => fault.kind(),
        }
    }
}

impl Fault {
    fn kind(self) -> usize {
        match self {
            Self::ApiKilled(_) => 15,
            Self::ConfirmLost(_) => 16,
            Self::PersisterKilled(_) => 17,
            Self::PersisterKilledBeforeAck(_) => 18,
            Self::ReconcilerKilled => 19,
            Self::ReconcilerKilledBeforeAck(_) => 20,
            Self::RedisRestarted => 21,
            Self::RedisWiped => 22,
            Self::RedisFailsOver(Lag::Nothing) => 23,
            Self::RedisFailsOver(_) => 24,
            Self::QueueLost => 25,
            Self::NewQueueLost => 26,
            Self::MessageRepeated(_) => 27,
        }
    }
}
