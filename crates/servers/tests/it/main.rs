//! Private servers, really started, killed and stopped.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod accounts;
mod port;
mod process;
mod servers;
