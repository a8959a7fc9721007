//! What the buyers know and the three stores hold of one sale.
//!
//! There is no epoch number in here. *Live* is the epoch that was opened last; *new* is the one that a rebuild is
//! filling. Opening the new one makes it the live one and the old live one dead, and of a dead epoch only one thing can
//! still have an effect: a delivery in a persister's hands ([`Reservation::late`]). Its keys are never read again and
//! its routing key leads nowhere: whatever a stale process decides there is returned unroutable and never promised.

use std::fmt;

use crate::Size;

/// Attempts per buyer: the first click and one more under a new id.
pub const ATTEMPTS: usize = 2;

/// One attempt of one buyer, and the reservation it may become.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Id {
    /// Which buyer, counted from 0.
    pub buyer: u8,
    /// Which of the buyer's attempts, counted from 0.
    pub attempt: u8,
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.buyer, self.attempt)
    }
}

/// Where the API stands with an attempt, or what its buyer was told.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Said {
    /// Not asked, or asked and told that nothing was decided.
    #[default]
    Nothing,
    /// The gate has decided; nothing is published yet.
    Won,
    /// SUCCESS: the promise.
    Success,
    /// Sold out: the refusal.
    SoldOut,
    /// 503 with the reservation's id, or a reset connection.
    Unknown,
}

impl Said {
    /// Whether the buyer has an answer and may ask again.
    #[must_use]
    pub fn is_answer(self) -> bool {
        matches!(self, Self::Success | Self::SoldOut | Self::Unknown)
    }
}

/// A delivery of the live queue in a persister's hands.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Hand {
    /// None.
    #[default]
    Empty,
    /// Taken, neither committed nor acknowledged.
    Taken,
    /// Acknowledged and not committed: a planted bug only.
    Forgotten,
}

/// A row of `orders`.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Order {
    /// None.
    #[default]
    Absent,
    /// HELD, PAYING or CONFIRMED.
    Active,
    /// EXPIRED or CANCELLED: a tombstone, its unit went back.
    Expired,
    /// REFUSED: there was no unit left.
    Refused,
}

/// A row of `stock_adjustments` over one unit.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Adjustment {
    /// None.
    #[default]
    Absent,
    /// Written, and the gate has not seen it.
    Pending,
    /// In the gate's `adjusted`, or marked as applied, or counted into a stock.
    Applied,
}

/// Everything about one attempt, wherever it is.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Reservation {
    /// What the API said of it.
    pub said: Said,
    /// Redis: the live gate's buyers name it.
    pub holds: bool,
    /// Redis: the live gate decided it, so a lagging replica may lack it.
    pub recent: bool,
    /// Redis: it is in the live outbox, and PostgreSQL does not know it.
    pub outbox: bool,
    /// RabbitMQ: a message with it is ready in the live queue. A set and not a count: what matters of several copies is
    /// that one is delivered after another, and one copy in the queue plus one in hand show that.
    pub ready: bool,
    /// A delivery of it from the live queue.
    pub hand: Hand,
    /// A delivery of it from a dead queue.
    pub late: bool,
    /// PostgreSQL: its order.
    pub order: Order,
    /// PostgreSQL: +1, an expiry or a second order.
    pub back: Adjustment,
    /// PostgreSQL: -1, a late order.
    pub off: Adjustment,
}

impl Reservation {
    /// Whether the ledger has decided on it (`known.sql`).
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.order != Order::Absent || self.back != Adjustment::Absent
    }
}

/// One unit that an operator wants out of the sale: a row of `stock_adjustments` that the gate may refuse.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Claim {
    /// None, and none will come.
    #[default]
    Absent,
    /// None yet.
    Coming,
    /// Written, not booked.
    Pending {
        /// What the live gate remembers to have answered.
        gate: Option<bool>,
        /// What a keeper was answered and has not booked yet.
        told: Option<bool>,
        /// A late order was booked after it was written.
        overtaken: bool,
    },
    /// The sale has one unit less.
    Granted,
    /// It has not.
    Refused {
        /// What the gate gave all the same, and gets back.
        back: Adjustment,
    },
}

/// A buyer's attempts, each with an id of its own.
pub type Buyer = [Reservation; ATTEMPTS];

/// A gate's hash.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Gate {
    /// Units left.
    pub stock: i8,
    /// Whether it decides.
    pub open: bool,
}

/// Whose scripts a Redis server has loaded.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Scripts {
    /// The live epoch's.
    pub live: bool,
    /// The new epoch's.
    pub new: bool,
}

/// Redis: two servers with one set of data between them, that of the present master.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Redis {
    /// The live gate.
    pub gate: Option<Gate>,
    /// The new gate.
    pub new_gate: Option<Gate>,
    /// The new gate's buyers are there.
    pub new_buyers: bool,
    /// Scripts are a server's own and not data: no replication, no FLUSHALL touches them.
    pub scripts: [Scripts; 2],
    /// Which server is the master.
    pub master: usize,
    /// The master's `run_id` and replid are those recorded with the live installation.
    pub same_server: bool,
    /// As `same_server`, for those read for the new installation.
    pub new_same_server: bool,
}

impl Redis {
    /// The scripts that the present master has.
    #[must_use]
    pub fn loaded(&self) -> Scripts {
        self.scripts[self.master]
    }
}

/// RabbitMQ: the two queues; the messages are in [`Reservation`].
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Broker {
    /// The live queue stands.
    pub queue: bool,
    /// The live routing key leads to it.
    pub bound: bool,
    /// The new queue stands.
    pub new_queue: bool,
}

/// The last step that a rebuild has done, in their order.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Step {
    /// The epoch is raised, the sale is draining, the drain is this reconciler's, and the new queue stands.
    Begun,
    /// The old routing key leads nowhere. The queue is being drained.
    Unbound,
    /// The queue was empty while nobody consumed it. The outbox is being read.
    Drained,
    /// Everything in the outbox is an order, the stock is computed, all adjustments are marked.
    Settled,
    /// The server's identity is read.
    Identified,
    /// The scripts are loaded.
    Loaded,
    /// The gate is written, closed.
    Written,
    /// The buyers are written.
    Peopled,
    /// The new queue was seen standing after it settled.
    Checked,
    /// The gate is open. Nobody knows its scripts yet.
    Opened,
}

/// A rebuild under way.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Rebuild {
    /// How far it is.
    pub step: Step,
    /// The new gate's stock, once it is settled.
    pub stock: i8,
}

/// PostgreSQL's row of `sales`.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Sale {
    /// State `draining`; otherwise `open`.
    pub draining: bool,
    /// All units there are.
    pub total: i8,
    /// The counter.
    pub sold: i8,
    /// A unit to be taken out.
    pub claim: Claim,
    /// An expiry that has read the counter and not written it back: a planted bug only.
    pub expiring: Option<(Id, i8)>,
}

/// The whole world.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct State {
    /// Buyers with their reservations.
    pub buyers: Vec<Buyer>,
    /// PostgreSQL, but for the rows in [`Reservation`].
    pub sale: Sale,
    /// Redis, but for the keys in [`Reservation`].
    pub redis: Redis,
    /// RabbitMQ, but for the messages in [`Reservation`].
    pub broker: Broker,
    /// The reconciler that holds the drain. It is one at most: the lock dies with the connection that holds its
    /// messages, and each of its writes is guarded by the token.
    pub rebuild: Option<Rebuild>,
    /// Since the live epoch was opened, Redis has lost data. RabbitMQ loses none until the next opening.
    pub redis_lost: bool,
    /// Since the live epoch was opened, RabbitMQ has lost a queue. Redis loses no data until the next opening.
    pub queue_lost: bool,
    /// Faults that may still happen.
    pub faults_left: u8,
    /// Orders that may still expire.
    pub expiries_left: u8,
}

impl State {
    /// A sale that was just opened.
    #[must_use]
    pub fn opened(size: Size) -> Self {
        let Size { units, buyers, faults, claims } = size;
        let installed = Scripts { live: true, new: false };
        Self {
            buyers: vec![Buyer::default(); buyers.into()],
            sale: Sale {
                draining: false,
                total: units.cast_signed(),
                sold: 0,
                claim: if claims { Claim::Coming } else { Claim::Absent },
                expiring: None,
            },
            redis: Redis {
                gate: Some(Gate { stock: units.cast_signed(), open: true }),
                new_gate: None,
                new_buyers: false,
                scripts: [installed, Scripts::default()],
                master: 0,
                same_server: true,
                new_same_server: false,
            },
            broker: Broker { queue: true, bound: true, new_queue: false },
            rebuild: None,
            redis_lost: false,
            queue_lost: false,
            faults_left: faults,
            expiries_left: 1,
        }
    }

    /// The reservation of an attempt.
    #[must_use]
    pub fn at(&self, id: Id) -> &Reservation {
        &self.buyers[usize::from(id.buyer)][usize::from(id.attempt)]
    }

    pub(crate) fn at_mut(&mut self, id: Id) -> &mut Reservation {
        &mut self.buyers[usize::from(id.buyer)][usize::from(id.attempt)]
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Reservation> {
        self.buyers.iter().flatten()
    }

    pub(crate) fn all_mut(&mut self) -> impl Iterator<Item = &mut Reservation> {
        self.buyers.iter_mut().flatten()
    }

    /// Every attempt with what is known of it.
    pub(crate) fn each(&self) -> impl Iterator<Item = (Id, &Reservation)> {
        (0_u8..).zip(&self.buyers).flat_map(|(buyer, attempts)| {
            (0_u8..).zip(attempts).map(move |(attempt, reservation)| (Id { buyer, attempt }, reservation))
        })
    }

    /// S: active orders, counted.
    #[must_use]
    pub fn active(&self) -> i8 {
        self.count(|reservation| reservation.order == Order::Active)
    }

    /// Reservations of which something is true.
    pub(crate) fn count(&self, is: impl Fn(&Reservation) -> bool) -> i8 {
        self.all().map(|reservation| i8::from(is(reservation))).sum()
    }

    /// Whether the buyer of `id` has another order, in whatever state.
    pub(crate) fn has_another_order(&self, id: Id) -> bool {
        let mut attempts = (0_u8..).zip(&self.buyers[usize::from(id.buyer)]);
        attempts.any(|(attempt, other)| attempt != id.attempt && other.order != Order::Absent)
    }
}
