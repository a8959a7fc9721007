//! RabbitMQ: carries reservations from the API to the workers, durably.
//!
//! - [`Publisher`] sends batches of reservations and says when the broker has taken them (the API's side).
//! - [`Consumers`] deliver them (the worker's side).
//! - [`Drain`] empties the queue of a dead epoch and declares the next one (the reconciler's side).
//! - [`Monitor`] tells how deep a queue is and whether the broker answers (health, verify).
//!
//! A message is one [`domain::ReservationBatch`], see [`encode`] and [`decode`]. Publishing and consuming never share
//! a connection: a broker short of memory stops reading connections that publish, acknowledgements included.

mod config;
mod connection;
mod consumer;
mod depth;
mod drain;
mod error;
mod facts;
mod message;
mod publisher;
mod topology;

pub use config::Config;
pub use consumer::{Consumer, Consumers, Delivery};
pub use depth::{Depth, Monitor};
pub use drain::Drain;
pub use error::{Error, PublishError};
pub use facts::{takes_a_message, version};
pub use message::{DecodeError, MAX_BODY_BYTES, MAX_RESERVATIONS, decode, encode};
pub use publisher::{Publisher, Status};
pub use topology::{EXCHANGE, queue_name, routing_key};
