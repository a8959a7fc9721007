//! For tests only: what integration tests of several crates need to run against real servers.

mod client;
mod crowd;
pub mod database;
mod history;
mod host;
mod judge;
mod load;
mod process;
mod proxy;
mod scene;
mod stack;
mod wait;

pub use client::{ADMIN_TOKEN, Answer, Client};
pub use crowd::{Told, buy_one_by_one, rush};
pub use history::{Attempt, History, Outcome};
pub use host::Host;
pub use judge::Judgement;
pub use load::{HUNG_AFTER, Load, Pace};
pub use process::Process;
pub use proxy::{Proxy, Wire};
pub use scene::{Cast, Replica, Scene, Wires};
pub use stack::{Api, Own, REDIS_PASSWORD, Stack, new_sale};
pub use wait::until;
