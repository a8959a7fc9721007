//! What the tasks stand on, and how they fail.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod cli;
mod home;
mod house;
mod stack;
