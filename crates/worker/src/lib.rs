//! The two worker processes: the persister (queue -> ledger) and the keeper (sweep, adjust, watch, reconcile, end).
//! Any number of either may run.

mod keeper;
mod lane;
mod persister;

pub use keeper::Keeper;
pub use persister::Persister;
