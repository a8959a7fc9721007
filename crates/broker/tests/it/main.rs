//! The broker crate against a real RabbitMQ, named by `FLASHSALE_TEST_AMQP_URL`. Each test has a sale of its own, so
//! tests share the server and nothing else; tests that break a server start their own.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod connection;
mod consumer;
mod drain;
mod fixture;
mod message;
mod message_fuzz;
mod monitor;
mod own_broker;
mod publisher;
