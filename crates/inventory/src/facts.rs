//! What a Redis server is and how it is set: for whoever looks whether a sale may run on it.

use redis::{Value, from_redis_value_ref};

use crate::probe::unix_ms;
use crate::{Error, Inventory};

/// What a server tells of itself to an account that may ask for `INFO` and `TIME`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServerFacts {
    /// Such as `7.0.15`.
    pub version: String,
    /// `master` or `slave`.
    pub role: String,
    /// Whether it keeps an append-only file.
    pub aof_enabled: bool,
    /// Whether the last write to that file succeeded.
    pub aof_write_ok: bool,
    /// What it does when its memory is full, such as `noeviction`.
    pub maxmemory_policy: String,
    /// Bytes it uses.
    pub used_memory: u64,
    /// Bytes it may use; 0: no limit.
    pub maxmemory: u64,
    /// Its clock: Unix time, milliseconds.
    pub now_ms: i64,
}

const SECTIONS: [&str; 4] = ["server", "replication", "persistence", "memory"];

impl Inventory {
    /// What the server tells of itself.
    ///
    /// # Errors
    /// [`Error::Unreachable`]; [`Error::Protocol`] where `INFO` lacks a field.
    pub async fn server_facts(&self) -> Result<ServerFacts, Error> {
        let mut ask = redis::pipe();
        ask.cmd("TIME").cmd("INFO").arg(&SECTIONS);
        let answers: Vec<Value> = self.connection.pipeline(&ask).await?;
        let [time, info] = answers.as_slice() else {
            return Err(Error::Protocol(format!("TIME and INFO gave {} answers", answers.len())));
        };
        facts(unix_ms(time)?, &from_redis_value_ref::<String>(info)?)
    }

    /// The setting `appendfsync`, which an operator's account may read and ours may not.
    ///
    /// # Errors
    /// [`Error::Unreachable`], also where the account may not.
    pub async fn appendfsync(&self) -> Result<String, Error> {
        let answer: Vec<String> = self.connection.call(redis::cmd("CONFIG").arg("GET").arg("appendfsync")).await?;
        answer.into_iter().nth(1).ok_or_else(|| Error::Protocol("CONFIG GET appendfsync gave nothing".to_owned()))
    }
}

fn facts(now_ms: i64, info: &str) -> Result<ServerFacts, Error> {
    let field = |name: &str| {
        let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.ok_or_else(|| Error::Protocol(format!("INFO has no {name}")))
    };
    let bytes = |name: &str| field(name)?.parse().map_err(|_| Error::Protocol(format!("INFO's {name} is no number")));
    Ok(ServerFacts {
        version: field("redis_version")?.to_owned(),
        role: field("role")?.to_owned(),
        aof_enabled: field("aof_enabled")? == "1",
        aof_write_ok: field("aof_last_write_status")? == "ok",
        maxmemory_policy: field("maxmemory_policy")?.to_owned(),
        used_memory: bytes("used_memory")?,
        maxmemory: bytes("maxmemory")?,
        now_ms,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_read_by_exact_field_names() {
        let info = "# Server\r\nredis_version:7.0.15\r\n# Memory\r\nused_memory:1048576\r\nused_memory_rss:7\r\n\
                    maxmemory:0\r\nmaxmemory_policy:noeviction\r\n# Persistence\r\naof_enabled:1\r\n\
                    aof_last_write_status:err\r\n# Replication\r\nrole:master\r\n";
        let found = facts(7, info).unwrap();
        assert_eq!((found.version.as_str(), found.role.as_str()), ("7.0.15", "master"));
        assert!(found.aof_enabled && !found.aof_write_ok);
        assert_eq!((found.used_memory, found.maxmemory, found.now_ms), (1_048_576, 0, 7));
        assert!(facts(7, "redis_version:7.0.15\r\n").is_err());
    }
}
