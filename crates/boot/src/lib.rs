//! What every process of ours does first and last: read its settings, start its log, wait for the signal to stop. And
//! what keeps it going in between: outages that are waited out, a watchdog against being stuck.

pub mod clock;
mod heartbeat;
mod limits;
mod logs;
mod outage;
mod servers;
mod settings;
mod signals;
mod watchdog;
mod webhooks;

pub use heartbeat::{Handled, Heart, Role};
pub use limits::Limits;
pub use logs::{LogFormat, start as start_logs};
pub use outage::{Outage, REMIND_EVERY, pauses};
pub use servers::Servers;
pub use settings::{Api, InvalidSettings, Keeper, Log, Persister, Settings, Worker};
pub use signals::stop_requested;
pub use watchdog::{Busy, Watchdog};
pub use webhooks::Webhooks;
