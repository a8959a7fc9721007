//! The ledger against a real PostgreSQL, each test with a database of its own.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its fixture too")]

mod apply;
mod books;
mod crowd;
mod dead_letters;
mod dead_letters_decided;
mod dead_letters_read;
mod drain;
mod epochs;
mod failures;
mod fixture;
mod model;
mod model_sale;
mod refusals;
mod sales;
