//! The protocol of one sale as a model, and a check of every order in which its steps can come.
//!
//! The model is written by hand after `lua/`, `migrations/`, `reconcile::rebuild`, `worker` and `api::batcher`, and it
//! follows `docs/LIFECYCLE.md`. It finds mistakes in the design; that the code follows the design is what the tests of
//! the other crates are for. Change one and change the other.
//!
//! # What is in it
//!
//! One sale with a few units. Buyers click, are told SUCCESS, sold out or nothing, and try once more. The API reserves,
//! publishes and promises; any number of persisters take, commit, acknowledge; a keeper sweeps, adjusts and looks at
//! the gate; a hold runs out; an operator takes a unit out of the sale; a reconciler rebuilds, one step at a time. At any point, within a budget: an API, a
//! persister or the reconciler is killed, also between commit and acknowledgement; a confirm is lost; a message is
//! delivered again; a queue is lost; Redis is restarted, is emptied, or fails over to a lagging replica and back to a
//! server that still has the old scripts. See [`Action`] and [`Fault`].
//!
//! # What must hold
//!
//! In every state: never oversold, nobody refused, one order per buyer, a refusal stays one, the counter is the sum of
//! the orders, every unit is somewhere. From every state the processes settle without help, and where a state is
//! settled, each SUCCESS has its order and each unit is sold or for sale. See [`properties()`].
//!
//! # What is not
//!
//! - Redis's data and RabbitMQ's confirmed messages lost in the same window. The promise does not cover it, so neither
//!   happens once the other has, until the sale is opened again.
//! - A binding lost without its queue; two masters of Redis at once; a second message while the first still waits, but
//!   for the fault that repeats one.
//! - Two reconcilers at once: the lock dies with the connection that holds the messages, the token guards each write.
//! - Batches, quantities, windows, dead letters, the outbox's limit, an admin's reset and the end of a sale.
//! - Time. A timeout is a step that may come at any moment, a view that is out of date is so without limit.
//!
//! # Where steps are put together
//!
//! A delivery is committed, acknowledged and its outbox entry deleted in one step, and a fault kills the persister in
//! between: an entry that PostgreSQL knows has no other use than to be deleted. A publish is queued and confirmed in
//! one step, and a fault loses the confirm: the promise is given as early as it can be. What a keeper reads and what it
//! then does are one step, as `Model::keeps` explains. Buyers that differ by name alone are the same.
//!
//! # Size
//!
//! 2 units, 3 buyers, 3 faults: 3.1 million states, 8.6 million transitions; with a claim and 2 faults 1.7 and 4.1
//! million; 10 to 20 s on two cores. At
//! 5 units, 12 buyers and 6 faults 10,000 random walks are taken instead, in 3 s. Each [`PlantedBug`] is found with 2
//! units and at most 2 faults.

mod action;
mod claim;
mod enabled;
mod fault;
mod properties;
mod rebuild;
mod state;
mod step;

use std::array;
use std::sync::atomic::{AtomicU64, Ordering};

pub use action::{Action, Fault, KINDS, Lag};
pub use properties::{
    ALWAYS_REPAIRED, BOOKS_SETTLE, COUNTER_IS_SUM, EVERY_UNIT_IS_SOMEWHERE, NEVER_OVERSOLD, NOBODY_REFUSED,
    ONE_ORDER_PER_BUYER, REFUSAL_STAYS, SUCCESS_STAYS, properties,
};
pub use state::{
    ATTEMPTS, Adjustment, Broker, Buyer, Claim, Gate, Hand, Id, Order, Rebuild, Redis, Reservation, Said, Sale,
    Scripts, State, Step,
};
use stateright::Property;

/// How much of the world is modelled.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Size {
    /// Units for sale.
    pub units: u8,
    /// Buyers, each with two attempts at one unit.
    pub buyers: u8,
    /// Faults that may happen, of whatever kind.
    pub faults: u8,
    /// Whether an operator takes a unit out of the sale.
    pub claims: bool,
}

/// A mistake made on purpose: a check that does not notice it is worth nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PlantedBug {
    /// The new stock is `total - sold`, with reservations still on their way.
    RebuildWithoutDrain,
    /// The old routing key still leads to the queue while that is drained.
    RebuildWithoutUnbind,
    /// The queue counts as drained while persisters hold deliveries of it.
    RebuildWithoutEmptyHands,
    /// A publish without a confirm gives its unit back at once.
    StockGivenBackOnPublishTimeout,
    /// The confirm, and not the commit, ends an outbox entry.
    OutboxDeletedOnConfirm,
    /// The API loads the scripts where Redis does not know them.
    ScriptsLoadedOnNoscript,
    /// Neither the gate nor the keeper compares the server's history with the one it was installed on.
    FailbackWithoutReplidCheck,
    /// The persister acknowledges before it commits.
    AckBeforeCommit,
    /// An expiry reads the counter and writes it back without the sale's lock.
    ExpiryWithoutSaleLock,
    /// The stock is lowered in PostgreSQL, without asking the gate.
    LoweredWithoutClaim,
    /// The gate answers a claim whatever history it is on.
    ClaimWithoutReplidCheck,
    /// A rebuild decides about a claim, while the old gate may still win reservations.
    ClaimDecidedByRebuild,
}

/// The model. See the crate's documentation.
pub struct Model {
    size: Size,
    bug: Option<PlantedBug>,
    /// Buyers are kept in order, so that states which differ by their names alone are one.
    canonical: bool,
    taken: [AtomicU64; KINDS.len()],
}

impl Model {
    /// The protocol at this size, with or without a mistake.
    #[must_use]
    pub fn new(size: Size, bug: Option<PlantedBug>) -> Self {
        Self { size, bug, canonical: false, taken: array::from_fn(|_| AtomicU64::new(0)) }
    }

    /// Treats states that differ by the buyers' names alone as one. No rule looks at a name.
    #[must_use]
    pub fn nameless(self) -> Self {
        Self { canonical: true, ..self }
    }

    /// How often each kind of action was taken, by name.
    #[must_use]
    pub fn taken(&self) -> Vec<(&'static str, u64)> {
        KINDS.into_iter().zip(self.taken.iter().map(|count| count.load(Ordering::Relaxed))).collect()
    }

    /// All units that are for sale at the beginning.
    #[must_use]
    pub fn units(&self) -> i8 {
        self.size.units.cast_signed()
    }
}

impl stateright::Model for Model {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::opened(self.size)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.steps(state, actions);
        if state.faults_left > 0 {
            self.faults(state, actions);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        self.step(&mut state, action);
        self.taken[action.kind()].fetch_add(1, Ordering::Relaxed);
        if self.canonical {
            state.buyers.sort_unstable();
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties()
    }
}
