//! Reconcile: makes Redis and RabbitMQ agree with PostgreSQL, which is the only authority.
//!
//! One procedure serves start-up, a lost epoch, a crashed reconciler and an operator's reset. [`plan`] decides from
//! what was seen and does nothing; [`Reconciler`] looks, plans and acts; [`Report`] tells what was done.
//! [`Verification`] reads the books of a sale without changing anything.
//!
//! Several reconcilers may run at once. The sale's drain lock (held in RabbitMQ) lets one of them work, the epoch
//! (raised in PostgreSQL) makes whatever an earlier one still writes meaningless, and a crash at any step leaves a
//! sale that the next one takes up.

mod plan;
mod rebuild;
mod reconciler;
mod redrive;
mod report;
mod synchronize;
mod teller;
mod verify;

pub use plan::{Plan, Reason, Seen, plan};
pub use reconciler::{Error, Outcome, Reconciler};
pub use report::Report;
pub use teller::Teller;
pub use verify::{Books, Invariant, Verification};
