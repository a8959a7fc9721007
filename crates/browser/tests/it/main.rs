//! The pages in real Chromium, over real processes and real servers.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod access;
mod buying;
mod elsewhere;
mod faults;
mod fixture;
mod harness;
mod identity;
mod operating;
mod site;
