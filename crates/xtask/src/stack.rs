//! The ports and secrets of a stack: made once, kept in `stack.json`.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use servers::{Postgres, RabbitMq, RabbitMqPorts, Redis, Server, free_port, holder, is_free, password_of};
use uuid::Uuid;

use crate::home::Home;
use crate::roles::API;

/// The servers' names in `run/` and `log/`, in the order in which they are started.
pub const SERVERS: [&str; 3] = ["postgres", "redis", "rabbitmq"];

const FILE: &str = "stack.json";

/// The database of the local PostgreSQL.
const DATABASE: &str = "flashsale";

/// Everything about a stack that must not change between two starts. All ports are on 127.0.0.1.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Stack {
    /// The API's port.
    pub api_port: u16,
    /// Redis.
    pub redis_port: u16,
    /// RabbitMQ, for AMQP.
    pub amqp_port: u16,
    /// RabbitMQ, for Erlang's distribution.
    pub amqp_dist_port: u16,
    /// RabbitMQ's port mapper.
    pub amqp_epmd_port: u16,
    /// PostgreSQL.
    pub postgres_port: u16,
    /// The bearer token of the admin endpoints.
    pub admin_token: String,
    /// Redis' secret: its default user's password, of which the others are made (see [`servers::password_of`]).
    pub redis_password: String,
    /// RabbitMQ's secret, in the same way its administrator's password; and the node's cookie.
    pub amqp_password: String,
    /// PostgreSQL's secret, in the same way its superuser's password.
    pub postgres_password: String,
}

impl Stack {
    /// The stack of this folder, if it was ever started.
    ///
    /// # Errors
    /// When its file cannot be read.
    pub fn load(home: &Path) -> Result<Option<Self>> {
        let path = home.join(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        };
        let stack = serde_json::from_str(&text)
            .with_context(|| format!("{} is damaged; `cargo xtask down --wipe` starts afresh", path.display()))?;
        Ok(Some(stack))
    }

    /// The stack of this folder, or the message that there is none.
    ///
    /// # Errors
    /// When it was never started, or its file cannot be read.
    pub fn require(home: &Path) -> Result<Self> {
        Self::load(home)?.context("there is no stack yet; start one with `cargo xtask up`")
    }

    /// A new stack with random secrets. A server whose usual port is taken gets a free one.
    ///
    /// # Errors
    /// When there is no free port.
    pub fn invent() -> Result<Self> {
        let usual_or_free = |usual: u16| if is_free(usual) { Ok(usual) } else { free_port() };
        Ok(Self {
            api_port: 3000,
            redis_port: usual_or_free(6390)?,
            amqp_port: usual_or_free(5690)?,
            amqp_dist_port: usual_or_free(25690)?,
            amqp_epmd_port: usual_or_free(4390)?,
            postgres_port: usual_or_free(5490)?,
            admin_token: secret(),
            redis_password: secret(),
            amqp_password: secret(),
            postgres_password: secret(),
        })
    }

    /// Keeps the stack, readable by its owner only.
    ///
    /// # Errors
    /// When its file cannot be written.
    pub fn save(&self, home: &Home) -> Result<()> {
        let (unfinished, path) = (home.join("stack.json.new"), home.join(FILE));
        let write = || -> Result<()> {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
            file.write_all(serde_json::to_string_pretty(self)?.as_bytes())?;
            fs::rename(&unfinished, &path)?;
            Ok(())
        };
        write().with_context(|| format!("write {}", path.display()))
    }

    /// The servers, in the order of [`SERVERS`].
    #[must_use]
    pub fn servers(&self, home: &Home) -> [Box<dyn Server>; 3] {
        [Box::new(self.postgres(home)), Box::new(self.redis(home)), Box::new(self.rabbitmq(home))]
    }

    fn postgres(&self, home: &Home) -> Postgres {
        let log = home.log("postgres");
        let database = DATABASE.to_owned();
        Postgres { log, database, ..Postgres::new(home.join("postgres"), self.postgres_port, &self.postgres_password) }
    }

    fn redis(&self, home: &Home) -> Redis {
        Redis { log: home.log("redis"), ..Redis::new(home.join("redis"), self.redis_port, &self.redis_password) }
    }

    fn rabbitmq(&self, home: &Home) -> RabbitMq {
        let ports = RabbitMqPorts { amqp: self.amqp_port, dist: self.amqp_dist_port, epmd: self.amqp_epmd_port };
        RabbitMq { log: home.log("rabbitmq"), ..RabbitMq::new(home.join("rabbitmq"), ports, &self.amqp_password) }
    }

    /// Where the API answers.
    #[must_use]
    pub fn api_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.api_port)
    }

    /// What the payment provider signs its webhooks with.
    fn payments_webhook_secret(&self) -> String {
        password_of("payments", &self.admin_token)
    }

    /// What a person or a load test wants to know, as environment variables: our processes' URLs of the servers, and
    /// those of somebody who may do everything.
    #[must_use]
    pub fn exports(&self, home: &Home) -> Vec<(&'static str, String)> {
        let owner_url = self.postgres(home).owner_url();
        let [postgres, redis, rabbitmq] = self.servers(home).map(|server| server.profile());
        vec![
            ("FLASHSALE_URL", self.api_url()),
            ("FLASHSALE_ADMIN_TOKEN", self.admin_token.clone()),
            ("FLASHSALE_PAYMENTS_WEBHOOK_SECRET", self.payments_webhook_secret()),
            ("DATABASE_URL", postgres.url),
            ("DATABASE_OWNER_URL", owner_url),
            ("DATABASE_OPERATOR_URL", postgres.operator_url),
            ("REDIS_URL", redis.url),
            ("REDIS_OPERATOR_URL", redis.operator_url),
            ("AMQP_URL", rabbitmq.url),
            ("AMQP_OPERATOR_URL", rabbitmq.operator_url),
        ]
    }

    /// The configuration of our processes that go on running, as environment variables.
    #[must_use]
    pub fn configuration(&self, home: &Home) -> Vec<(&'static str, String)> {
        let [postgres, redis, rabbitmq] = self.servers(home).map(|server| server.profile().url);
        vec![
            ("FLASHSALE__POSTGRES__URL", postgres),
            ("FLASHSALE__REDIS__URL", redis),
            ("FLASHSALE__RABBITMQ__URL", rabbitmq),
            ("FLASHSALE__PAYMENTS__PROVIDER", "simulated".to_owned()),
            ("FLASHSALE__PAYMENTS__WEBHOOK_SECRET", self.payments_webhook_secret()),
            ("FLASHSALE__API__HOST", "127.0.0.1".to_owned()),
            ("FLASHSALE__API__PORT", self.api_port.to_string()),
            ("FLASHSALE__API__ADMIN_TOKEN", self.admin_token.clone()),
        ]
    }

    /// What `flashsale-reconcile` has to know beyond [`Stack::configuration`].
    #[must_use]
    pub fn owner_configuration(&self, home: &Home) -> (&'static str, String) {
        ("FLASHSALE__POSTGRES__OWNER_URL", self.postgres(home).owner_url())
    }
}

/// Says who has the port and what to do, if it is taken.
///
/// # Errors
/// When it is taken.
pub fn require_free(port: u16, wanted_by: &str, way_out: &str) -> Result<()> {
    if is_free(port) {
        return Ok(());
    }
    let by = holder(port).map_or_else(String::new, |holder| format!(" by {} (process {})", holder.name, holder.pid));
    bail!("port {port}, which {wanted_by} needs, is taken{by}; {way_out}")
}

/// Checks the ports of everything that does not run yet.
///
/// # Errors
/// When one is taken.
pub fn require_free_ports(stack: &Stack, home: &Home) -> Result<()> {
    for profile in stack.servers(home).map(|server| server.profile()) {
        if home.process(profile.name).is_some() {
            continue;
        }
        profile.bury_leftovers()?;
        for &port in &profile.ports {
            let file = home.join(FILE);
            let way_out = format!("stop that process, or write another port into {}", file.display());
            require_free(port, profile.name, &way_out)?;
        }
    }
    if home.process(API).is_none() {
        require_free(stack.api_port, "the API", "choose another with `cargo xtask up --port <PORT>`")?;
    }
    Ok(())
}

/// 122 random bits, in 32 characters that need no quoting anywhere.
pub(crate) fn secret() -> String {
    Uuid::new_v4().simple().to_string()
}
