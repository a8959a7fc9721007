//! The API over HTTP: real processes, real servers, a database and sales of each test's own.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod audit;
mod bad_input;
mod cors;
mod crowd;
mod dead_letters;
mod fixture;
mod fuzz;
mod health;
mod logs;
mod malformed;
mod operators;
mod overload;
mod problems;
mod purchase;
mod refusals;
mod reset;
mod routes;
mod sales;
mod secrets;
mod slow;
mod start;
mod stop;
mod verify;
mod wire;
