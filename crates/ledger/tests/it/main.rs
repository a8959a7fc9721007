//! The ledger against a real PostgreSQL, each test with a database of its own.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its fixture too")]

mod apply;
mod books;
mod claims;
mod crowd;
mod dead_letters;
mod dead_letters_decided;
mod dead_letters_read;
mod drain;
mod edits;
mod epochs;
mod failures;
mod fixture;
mod holds;
mod late_payments;
mod live;
mod model;
mod model_sale;
mod money;
mod orders;
mod paying;
mod payments;
mod refusals;
mod sales;
mod stats;
mod trail;
mod webhooks;
