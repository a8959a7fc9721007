//! Holds the deployment in containers against the settings and the code: no container engine is needed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod compose;
mod compose_accounts;
mod compose_file;
mod dockerfile;
mod repository;
