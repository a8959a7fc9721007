//! The API over HTTP: real processes, real servers, a database and sales of each test's own.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod accounts;
mod asyncapi;
mod audit;
mod bad_input;
mod cors;
mod crowd;
mod dead_letters;
mod events;
mod fixture;
mod fuzz;
mod health;
mod idempotency;
mod identity;
mod limits;
mod live;
mod logs;
mod malformed;
mod openapi;
mod operators;
mod orders;
mod overload;
mod pages;
mod payments;
mod problems;
mod purchase;
mod records;
mod refusals;
mod reset;
mod routes;
mod sales;
mod sales_admin;
mod schemathesis;
mod secrets;
mod slow;
mod sold_out;
mod start;
mod stats;
mod stop;
mod till;
mod undecided;
mod verify;
mod webhooks;
mod wire;
