//! Tokens: which count, which do not, and that nothing else ever does.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod fuzz;
mod keys;
mod settings;
mod tokens;
