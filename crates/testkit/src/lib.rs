//! For tests only: what integration tests of several crates need to run against real servers.

mod client;
mod crowd;
pub mod database;
mod process;
mod stack;
mod wait;

pub use client::{ADMIN_TOKEN, Answer, Client};
pub use crowd::{Told, buy_one_by_one, rush};
pub use process::Process;
pub use stack::{Api, REDIS_PASSWORD, Stack, new_sale};
pub use wait::until;
