//! The program itself, before a real API.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its fixture too")]

mod completions;
mod dead_letters;
mod desk;
mod doctor;
mod orders;
mod reconcile;
mod sale;
mod simulate;
mod token;
mod verify;
mod watch;
