//! Private Redis, RabbitMQ and PostgreSQL processes: on loopback ports, in a folder of their own, without a service
//! manager, as root or as anybody.
//!
//! Describe a server ([`Redis`], [`RabbitMq`], [`Postgres`]), then [`Server::start`] it:
//!
//! ```no_run
//! use servers::{Redis, Server, free_port};
//!
//! let redis = Redis::new("/var/tmp/sale/redis", free_port()?, "a secret");
//! let mut running = redis.start()?;
//! running.wait_ready(std::time::Duration::from_secs(10))?;
//! running.kill()?; // and `redis.start()` again: its data is still there
//! # Ok::<(), servers::Error>(())
//! ```
//!
//! Each comes up with the accounts of `accounts.rs`: [`Running::url`] is that of our processes, who may do what they need,
//! and [`Running::operator_url`] that of somebody who may do everything.
//!
//! A [`Running`] server dies with its handle unless it is told to [`Running::leave_running`].

mod accounts;
mod error;
mod find;
mod port;
mod postgres;
mod process;
mod rabbitmq;
mod redis;
mod server;
mod wait;

pub use accounts::{APP, OWNER, POSTGRES_ACCOUNTS, REDIS_RULES, password_of, rabbitmq_definitions, url_as};
pub use error::Error;
pub use find::missing;
pub use port::{Holder, free_port, holder, is_free};
pub use postgres::Postgres;
pub use process::{Process, Stopped, inhabitants};
pub use rabbitmq::{RabbitMq, RabbitMqPorts};
pub use redis::Redis;
pub use rustix::process::Signal;
pub use server::{Profile, Running, Server};
pub use wait::poll;
