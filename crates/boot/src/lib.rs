//! What every process of ours does first and last: read its settings, start its log, wait for the signal to stop.

pub mod clock;
mod logs;
mod outage;
mod settings;
mod signals;

pub use logs::{LogFormat, start as start_logs};
pub use outage::Outage;
pub use settings::{Api, InvalidSettings, Keeper, Log, Persister, Settings};
pub use signals::stop_requested;
