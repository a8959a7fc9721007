//! Settings: `default.toml`, then the file that `FLASHSALE_CONFIG` names, then the environment.
//!
//! `default.toml` is the manual: each field is explained there, once.

use std::collections::HashMap;
use std::fmt;

use config::{Config, Environment, File, FileFormat};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};

use crate::limits::Limits;
use crate::logs::LogFormat;
use crate::webhooks::Webhooks;

const DEFAULTS: &str = include_str!("../default.toml");
const FILE_VARIABLE: &str = "FLASHSALE_CONFIG";
const SHORTEST_TOKEN: usize = 16;

/// All settings of all processes: one file, one set of variables, whatever is started.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// `[postgres]`
    pub postgres: ledger::Config,
    /// `[redis]`
    pub redis: inventory::Config,
    /// `[rabbitmq]`
    pub rabbitmq: broker::Config,
    /// `[payments]`
    pub payments: payments::Config,
    /// `[api]`
    pub api: Api,
    /// `[auth]`
    pub auth: identity::Config,
    /// `[limits]`
    pub limits: Limits,
    /// `[persister]`
    pub persister: Persister,
    /// `[keeper]`
    pub keeper: Keeper,
    /// `[webhooks]`
    pub webhooks: Webhooks,
    /// `[worker]`
    pub worker: Worker,
    /// `[log]`
    pub log: Log,
}

/// `[api]`: the HTTP process.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each field is documented once, in default.toml")]
pub struct Api {
    pub host: String,
    pub port: u16,
    pub http_workers: usize,
    pub admin_token: SecretString,
    pub allow_no_admin_token: bool,
    #[serde(deserialize_with = "comma_separated")]
    pub cors_origins: Vec<String>,
    #[serde(deserialize_with = "comma_separated")]
    pub image_origins: Vec<String>,
    pub max_connections: usize,
    pub keep_alive_seconds: u64,
    pub max_waiting: usize,
    pub max_wait_ms: u64,
    pub refresh_ms: u64,
    pub flush_ms: u64,
    pub max_streams: usize,
    pub heartbeat_ms: u64,
    pub stop_seconds: u64,
}

/// `[persister]`: the process that writes orders.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each field is documented once, in default.toml")]
pub struct Persister {
    pub batch_reservations: usize,
    pub discover_ms: u64,
}

/// `[keeper]`: the process that watches gates and sweeps outboxes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each field is documented once, in default.toml")]
pub struct Keeper {
    pub tick_ms: u64,
    pub sweep_after_ms: u64,
    pub republish_seconds: u64,
    pub cleanup_after_seconds: u32,
    pub holds_ms: u64,
    pub payments_ms: u64,
    pub late_payment_seconds: u32,
}

/// `[worker]`: persisters and keepers alike.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each field is documented once, in default.toml")]
pub struct Worker {
    pub watchdog_seconds: u64,
    pub stop_seconds: u64,
}

/// `[log]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each field is documented once, in default.toml")]
pub struct Log {
    pub filter: String,
    pub format: LogFormat,
}

/// What is wrong with the settings, naming the field and where its value came from.
#[derive(Debug, thiserror::Error)]
#[error("invalid settings: {0}")]
pub struct InvalidSettings(String);

impl InvalidSettings {
    pub(crate) fn field(name: &str, problem: &dyn fmt::Display) -> Self {
        Self(format!("{name}: {problem}"))
    }
}

impl Settings {
    /// Settings from the defaults, the file that `FLASHSALE_CONFIG` names, and `FLASHSALE__SECTION__FIELD`.
    ///
    /// # Errors
    /// A file cannot be read, a field is unknown, or a value does not fit its field.
    pub fn load() -> Result<Self, InvalidSettings> {
        Self::from_variables(std::env::vars().collect())
    }

    /// [`Settings::load`] with the environment given.
    ///
    /// # Errors
    /// As [`Settings::load`].
    pub fn from_variables(variables: HashMap<String, String>) -> Result<Self, InvalidSettings> {
        let mut sources = Config::builder().add_source(File::from_str(DEFAULTS, FileFormat::Toml));
        if let Some(path) = variables.get(FILE_VARIABLE) {
            sources = sources.add_source(File::new(path, FileFormat::Toml));
        }
        let environment = Environment::with_prefix("FLASHSALE").prefix_separator("__").separator("__");
        let settings: Self = sources
            .add_source(environment.source(Some(variables)))
            .build()
            .and_then(Config::try_deserialize)
            .map_err(|error| InvalidSettings(error.to_string()))?;
        settings.check()?;
        Ok(settings)
    }

    fn check(&self) -> Result<(), InvalidSettings> {
        let least_one = [
            ("api.max_connections", self.api.max_connections as u64),
            ("api.keep_alive_seconds", self.api.keep_alive_seconds),
            ("api.max_waiting", self.api.max_waiting as u64),
            ("api.max_wait_ms", self.api.max_wait_ms),
            ("api.refresh_ms", self.api.refresh_ms),
            ("api.flush_ms", self.api.flush_ms),
            ("api.heartbeat_ms", self.api.heartbeat_ms),
            ("persister.batch_reservations", self.persister.batch_reservations as u64),
            ("persister.discover_ms", self.persister.discover_ms),
            ("keeper.tick_ms", self.keeper.tick_ms),
            ("keeper.republish_seconds", self.keeper.republish_seconds),
            ("keeper.holds_ms", self.keeper.holds_ms),
            ("keeper.payments_ms", self.keeper.payments_ms),
        ];
        if let Some((name, _)) = least_one.into_iter().find(|(_, value)| *value == 0) {
            return Err(InvalidSettings::field(name, &"must be at least 1"));
        }
        if let Some(other) = self.api.image_origins.iter().find(|origin| !is_origin(origin)) {
            let problem = format!("{other:?} is no origin such as https://images.shop.example, without a path");
            return Err(InvalidSettings::field("api.image_origins", &problem));
        }
        let invalid = |error: payments::InvalidConfig| InvalidSettings(error.to_string());
        self.payments.check().map_err(invalid)?;
        self.webhooks.check()?;
        let patience_ms = self.postgres.acquire_timeout_ms.saturating_add(self.postgres.statement_timeout_ms);
        let patience_ms = patience_ms.max(2_000 * u64::from(self.rabbitmq.heartbeat_seconds));
        if self.worker.watchdog_seconds.saturating_mul(1_000) <= patience_ms {
            let problem = format!("must exceed {patience_ms} ms, the longest that a server may take to answer");
            return Err(InvalidSettings::field("worker.watchdog_seconds", &problem));
        }
        // The clients find out late, one of them only when it connects. The value is withheld: it holds a password.
        let ledger::Config { url, owner_url, .. } = &self.postgres;
        let owner_url = if owner_url.expose_secret().is_empty() { url } else { owner_url };
        let schemes = [
            ("postgres.url", url, ["postgres://", "postgresql://"].as_slice()),
            ("postgres.owner_url", owner_url, &["postgres://", "postgresql://"]),
            ("redis.url", &self.redis.url, &["redis://"]),
            ("rabbitmq.url", &self.rabbitmq.url, &["amqp://"]),
        ];
        let is_foreign = |url: &SecretString, schemes: &[&str]| {
            !schemes.iter().any(|scheme| url.expose_secret().starts_with(scheme))
        };
        match schemes.into_iter().find(|(_, url, schemes)| is_foreign(url, schemes)) {
            Some((name, _, schemes)) => Err(InvalidSettings::field(name, &format!("must begin with {}", schemes[0]))),
            None => Ok(()),
        }
    }
}

impl Api {
    /// The operator's token; `None` where the API was told to run without one (every admin request is refused then).
    ///
    /// # Errors
    /// There is none and nobody said that this is meant, or it is too short to be a secret.
    pub fn admin_token(&self) -> Result<Option<&SecretString>, InvalidSettings> {
        let length = self.admin_token.expose_secret().len();
        match length {
            0 if self.allow_no_admin_token => Ok(None),
            0 => Err(InvalidSettings::field(
                "api.admin_token",
                &"is not set. Set FLASHSALE__API__ADMIN_TOKEN, or FLASHSALE__API__ALLOW_NO_ADMIN_TOKEN=true to run \
                  with every admin request refused",
            )),
            1..SHORTEST_TOKEN => Err(InvalidSettings::field(
                "api.admin_token",
                &format!("has {length} characters, at least {SHORTEST_TOKEN} are needed"),
            )),
            _ => Ok(Some(&self.admin_token)),
        }
    }
}

/// Scheme, host and perhaps a port, and nothing that would mean more in a header.
fn is_origin(text: &str) -> bool {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
    host.is_some_and(|host| !host.is_empty() && host.bytes().all(fits))
}

/// A list, or one text with commas, which is all an environment variable can hold.
pub(crate) fn comma_separated<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum ListOrText {
        List(Vec<String>),
        Text(String),
    }
    Ok(match ListOrText::deserialize(deserializer)? {
        ListOrText::List(list) => list,
        ListOrText::Text(text) => {
            text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(variables: &[(&str, &str)]) -> Result<Settings, InvalidSettings> {
        Settings::from_variables(variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect())
    }

    #[test]
    fn the_defaults_alone_are_valid_settings() {
        let settings = load(&[]).unwrap();
        assert_eq!(settings.api.port, 3000);
        assert!(settings.api.cors_origins.is_empty());
    }

    #[test]
    fn every_default_is_explained() {
        let mut explained = false;
        for line in DEFAULTS.lines() {
            if line.contains(" = ") && !line.starts_with('#') {
                assert!(explained, "no comment above: {line}");
            }
            explained = line.starts_with('#');
        }
    }

    #[test]
    fn the_environment_wins_and_lists_are_comma_separated() {
        let settings = load(&[
            ("FLASHSALE__API__PORT", "3999"),
            ("FLASHSALE__API__CORS_ORIGINS", "https://a.example, https://b.example"),
            ("FLASHSALE__API__ADMIN_TOKEN", "123456789012345678e2"),
            ("FLASHSALE__LIMITS__PURCHASE_PER_USER", "10/60"),
            ("FLASHSALE__LIMITS__TRUSTED_PROXIES", "10.0.0.0/8, ::1"),
            ("FLASHSALE_URL", "http://a.client.variable"),
        ])
        .unwrap();
        assert_eq!(settings.api.port, 3999);
        assert_eq!(settings.api.cors_origins, ["https://a.example", "https://b.example"]);
        assert_eq!(settings.limits.purchase_per_user.map(|rate| (rate.count(), rate.seconds())), Some((10, 60)));
        assert_eq!(settings.limits.read_per_ip, None);
        let proxies: Vec<String> = settings.limits.trusted_proxies.iter().map(ToString::to_string).collect();
        assert_eq!(proxies, ["10.0.0.0/8", "::1/128"]);
        assert_eq!(settings.api.admin_token().unwrap().unwrap().expose_secret(), "123456789012345678e2");
    }

    #[test]
    fn a_wrong_value_is_named() {
        for (name, value, field) in [
            ("FLASHSALE__API__PORT", "many", "api.port"),
            ("FLASHSALE__API__PORT", "70000", "api.port"),
            ("FLASHSALE__API__PROT", "3000", "prot"),
            ("FLASHSALE__LOG__FORMAT", "xml", "log.format"),
            ("FLASHSALE__KEEPER__TICK_MS", "0", "keeper.tick_ms"),
            ("FLASHSALE__RABBITMQ__PREFETCH", "-1", "rabbitmq.prefetch"),
            ("FLASHSALE__LIMITS__LOGIN_PER_IP", "10/minute", "limits.login_per_ip"),
            ("FLASHSALE__LIMITS__TRUSTED_PROXIES", "10.0.0.0/8,proxy", "limits.trusted_proxies"),
            ("FLASHSALE__WORKER__WATCHDOG_SECONDS", "20", "worker.watchdog_seconds"),
            ("FLASHSALE__POSTGRES__STATEMENT_TIMEOUT_MS", "28000", "worker.watchdog_seconds"),
            ("FLASHSALE__RABBITMQ__URL", "http://planted-secret@h", "rabbitmq.url"),
            ("FLASHSALE__POSTGRES__URL", "mysql://planted-secret@h", "postgres.url"),
            ("FLASHSALE__POSTGRES__OWNER_URL", "mysql://planted-secret@h", "postgres.owner_url"),
            ("FLASHSALE__REDIS__URL", "127.0.0.1:6379", "redis.url"),
            ("FLASHSALE__PAYMENTS__PROVIDER", "paypal", "payments.provider"),
            ("FLASHSALE__PAYMENTS__PROVIDER", "stripe", "payments.webhook_secret"),
            ("FLASHSALE__PAYMENTS__PAY_LIMIT_SECONDS", "0", "payments.pay_limit_seconds"),
            ("FLASHSALE__PAYMENTS__SIMULATED_FAILURE_PERCENT", "101", "payments.simulated_failure_percent"),
        ] {
            let problem = load(&[(name, value)]).unwrap_err().to_string();
            assert!(problem.contains(field), "{name}={value}: {problem}");
            assert!(!problem.contains("planted-secret"), "{problem}");
        }
    }

    #[test]
    fn the_api_needs_an_admin_token_or_a_word_that_there_is_none() {
        let missing = load(&[]).unwrap();
        assert!(missing.api.admin_token().unwrap_err().to_string().contains("FLASHSALE__API__ADMIN_TOKEN"));
        let short = load(&[("FLASHSALE__API__ADMIN_TOKEN", "secret")]).unwrap();
        assert!(short.api.admin_token().unwrap_err().to_string().contains("at least 16"));
        let meant = load(&[("FLASHSALE__API__ALLOW_NO_ADMIN_TOKEN", "true")]).unwrap();
        assert!(meant.api.admin_token().unwrap().is_none());
    }

    #[test]
    fn no_secret_shows_in_the_debug_text() {
        let settings = load(&[
            ("FLASHSALE__API__ADMIN_TOKEN", "planted-secret-token"),
            ("FLASHSALE__POSTGRES__URL", "postgres://u:planted-secret@h/d"),
            ("FLASHSALE__PAYMENTS__WEBHOOK_SECRET", "planted-secret-of-webhooks"),
            ("FLASHSALE__PAYMENTS__STRIPE_SECRET_KEY", "sk_test_planted-secret"),
        ])
        .unwrap();
        assert!(!format!("{settings:?}").contains("planted-secret"));
    }
}
