//! Where the servers are, as far as a log may say it.

use secrecy::{ExposeSecret, SecretString};

use crate::Settings;

/// `host:port` of each server, and nothing of its user or password.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Servers {
    /// PostgreSQL's.
    pub postgres: String,
    /// Redis's.
    pub redis: String,
    /// RabbitMQ's.
    pub rabbitmq: String,
}

impl Servers {
    /// Where these settings lead.
    #[must_use]
    pub fn of(settings: &Settings) -> Self {
        Self {
            postgres: address(&settings.postgres.url, 5432),
            redis: address(&settings.redis.url, 6379),
            rabbitmq: address(&settings.rabbitmq.url, 5672),
        }
    }

    /// Tells where this process will look for its servers: what is away later need not be guessed.
    pub fn tell(&self) {
        let Self { postgres, redis, rabbitmq } = self;
        tracing::info!(postgres, redis, rabbitmq, "starting");
    }
}

/// `host:port` out of `scheme://user:password@host:port/path?query`.
fn address(url: &SecretString, default_port: u16) -> String {
    let url = url.expose_secret();
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (authority, beyond) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    // Where a password that should have been escaped begins and ends, nobody can tell.
    if beyond.contains('@') {
        return "an address with an unescaped secret".to_owned();
    }
    let address = authority.rsplit_once('@').map_or(authority, |(_, address)| address);
    // What is behind the colon without being a port may be a password: the rest of the address was forgotten.
    let behind_brackets = address.rsplit_once(']').map_or(address, |(_, rest)| rest);
    match behind_brackets.rsplit_once(':').map(|(_, port)| port.parse::<u16>()) {
        None => format!("{address}:{default_port}"),
        Some(Ok(_)) => address.to_owned(),
        Some(Err(_)) => "an address without a port number behind its colon".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_host_and_a_port_and_no_secret() {
        for (url, expected) in [
            ("amqp://guest:planted-secret@127.0.0.1:5673/%2f", "127.0.0.1:5673"),
            ("redis://:planted-secret@redis.example/0", "redis.example:5672"),
            ("postgres://u:planted-secret@[::1]:5432/flashsale?sslmode=disable", "[::1]:5432"),
            ("postgres://u:planted-secret@[::1]/flashsale", "[::1]:5672"),
            ("amqp://u:planted@secret/planted-secret@host:1/%2f", "an address with an unescaped secret"),
            ("postgres://host/flashsale?password=planted@secret", "an address with an unescaped secret"),
            ("amqp://host", "host:5672"),
            ("amqp://flashsale:planted-secret", "an address without a port number behind its colon"),
            ("amqp://flashsale:planted-secret/%2f", "an address without a port number behind its colon"),
            ("amqp://flashsale:planted@secret:planted-secret", "an address without a port number behind its colon"),
        ] {
            assert_eq!(address(&url.to_owned().into(), 5672), expected, "{url}");
        }
    }
}
