//! Persisters and keepers as processes, against real servers. Each test has a database and sales of its own.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod adjust;
mod dead_queue;
mod edits;
mod ended;
mod fixture;
mod gate;
mod holds;
mod payments;
mod persist;
mod poison;
mod start;
mod stop;
mod sweep;
mod till;
mod watchdog;
mod webhooks;
