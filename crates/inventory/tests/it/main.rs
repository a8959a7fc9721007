//! Tests of the gate against a real Redis: the shared one of `FLASHSALE_TEST_REDIS_URL`, where every test has a sale of
//! its own, or one that the test starts itself where it has to break it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod adjust;
mod books;
mod claim;
mod configure;
mod connection;
mod install;
mod loss;
mod model;
mod outbox;
mod own_redis;
mod probe;
mod rates;
mod reserve;
mod sale;
