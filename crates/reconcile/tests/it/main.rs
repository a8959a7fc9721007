//! Reconcile against real servers and real processes of ours. Each test has a database and a sale of its own; a test
//! that kills or wipes Redis has a Redis of its own.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod intact;
mod late_hands;
mod plan;
mod reset;
mod restart;
mod several;
