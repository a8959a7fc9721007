//! The two worker processes: the persister (queue -> ledger) and the keeper (sweep, adjust, watch, reconcile, end).
//! Any number of either may run.

mod holds;
mod keeper;
mod lane;
mod payments;
mod persister;
mod webhooks;

pub use crate::payments::Payments;
pub use holds::Holds;
pub use keeper::Keeper;
pub use persister::Persister;
pub use webhooks::Webhooks;
