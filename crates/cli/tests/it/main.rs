//! The program itself, before a real API.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its fixture too")]

mod dead_letters;
mod token;
