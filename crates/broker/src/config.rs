//! Where the broker is, and the limits of what we send and take.

use std::time::Duration;

use lapin::uri::AMQPUri;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

/// How to reach RabbitMQ, and how long and how much to wait for.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `amqp://user:password@host:port/vhost`; the default virtual host is written `%2f`.
    pub url: SecretString,
    /// Heartbeat offered to the broker, in seconds; a peer silent for twice this long is given up.
    pub heartbeat_seconds: u16,
    /// How long a connection attempt, or the answer to one command, may take, in milliseconds.
    pub connect_timeout_ms: u64,
    /// How long a publish waits for its confirm, in milliseconds; after that its outcome is unknown.
    pub confirm_timeout_ms: u64,
    /// The most messages published and not yet confirmed, per publisher. Each occupies one channel, and RabbitMQ allows
    /// 2047 of those on a connection.
    pub max_unconfirmed: usize,
    /// `x-delivery-limit` of the queues: how often a message may come back before the broker drops it. Keep it far
    /// above what restarts can reach: the worker buries poison itself, and a dropped message is an order that waits
    /// for the keeper's sweep. It is fixed when a queue is declared.
    pub delivery_limit: u32,
    /// How long a new queue is left alone before anything is promised on it, in milliseconds. RabbitMQ writes its table
    /// of queues up to 2 s late: a node that is killed before that comes back with a queue that never answers.
    pub queue_settle_ms: u64,
    /// The most unacknowledged deliveries a consumer holds.
    pub prefetch: u16,
}

impl Config {
    /// `host:port`, as far as the URL can be read.
    pub(crate) fn address(&self) -> String {
        let uri = self.url.expose_secret().parse::<AMQPUri>();
        uri.map_or_else(|_| "?".to_owned(), |uri| format!("{}:{}", uri.authority.host, uri.authority.port))
    }

    /// How long the broker may take to answer.
    pub(crate) fn answer_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }

    /// How long a publish waits for its confirm.
    pub(crate) fn confirm_timeout(&self) -> Duration {
        Duration::from_millis(self.confirm_timeout_ms)
    }
}
