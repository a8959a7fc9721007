//! The API over HTTP: real processes, real servers, a database and sales of each test's own.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod audit;
mod bad_input;
mod cors;
mod crowd;
mod fixture;
mod health;
mod logs;
mod operators;
mod problems;
mod purchase;
mod refusals;
mod reset;
mod sales;
mod start;
mod stop;
mod verify;
