//! `[payments]`: which provider, and how to reach it.

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

const SHORTEST_SECRET: usize = 16;

/// Which provider takes the money.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Nobody: orders that would have to be paid for expire.
    None,
    /// One that decides by itself and moves no money: for development and tests.
    Simulated,
    /// Stripe.
    Stripe,
}

/// `[payments]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Which provider takes the money.
    pub provider: Kind,
    /// What webhooks are signed with; Stripe shows it as `whsec_...`.
    pub webhook_secret: SecretString,
    /// How long a buyer who has begun to pay may take, in seconds; then the units go to somebody else.
    pub pay_limit_seconds: u32,
    /// How long the simulated provider takes to decide, in milliseconds.
    pub simulated_delay_ms: u64,
    /// How many of a hundred payments the simulated provider refuses.
    pub simulated_failure_percent: u8,
    /// Where Stripe's API is.
    pub stripe_url: String,
    /// The secret API key, `sk_...` or a restricted one, `rk_...`.
    pub stripe_secret_key: SecretString,
}

/// A setting that cannot be.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("payments.{field} {problem}")]
pub struct InvalidConfig {
    /// The field's name within `[payments]`.
    pub field: &'static str,
    /// What is wrong with it; never shows a secret.
    pub problem: String,
}

impl InvalidConfig {
    pub(crate) fn new(field: &'static str, problem: impl Into<String>) -> Self {
        Self { field, problem: problem.into() }
    }
}

impl Config {
    /// Whether the provider can work with these settings.
    ///
    /// # Errors
    /// Names the first field that cannot be.
    pub fn check(&self) -> Result<(), InvalidConfig> {
        if self.pay_limit_seconds == 0 {
            return Err(InvalidConfig::new("pay_limit_seconds", "must be at least 1"));
        }
        if self.simulated_failure_percent > 100 {
            return Err(InvalidConfig::new("simulated_failure_percent", "must be at most 100"));
        }
        if self.provider == Kind::None {
            return Ok(());
        }
        if self.webhook_secret.expose_secret().len() < SHORTEST_SECRET {
            let problem = format!("needs at least {SHORTEST_SECRET} characters where a provider is set");
            return Err(InvalidConfig::new("webhook_secret", problem));
        }
        if self.provider == Kind::Stripe {
            if !self.webhook_secret.expose_secret().starts_with("whsec_") {
                return Err(InvalidConfig::new("webhook_secret", "must be the one that Stripe shows, whsec_..."));
            }
            if self.stripe_secret_key.expose_secret().is_empty() {
                return Err(InvalidConfig::new("stripe_secret_key", "is needed for the provider stripe"));
            }
            if !is_private(&self.stripe_url) {
                return Err(InvalidConfig::new("stripe_url", "must begin with https://, or be on this machine"));
            }
        }
        Ok(())
    }
}

/// Whether nobody on the way can read the secret key.
fn is_private(url: &str) -> bool {
    let Ok(url) = reqwest::Url::parse(url) else { return false };
    match url.scheme() {
        "https" => url.has_host(),
        "http" => matches!(url.host_str(), Some("127.0.0.1" | "localhost")),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(provider: Kind) -> Config {
        Config {
            provider,
            webhook_secret: "whsec_of_a_unit_test".into(),
            pay_limit_seconds: 900,
            simulated_delay_ms: 0,
            simulated_failure_percent: 0,
            stripe_url: "https://api.stripe.com".to_owned(),
            stripe_secret_key: "sk_test_1".into(),
        }
    }

    fn field(config: &Config) -> Option<&'static str> {
        config.check().err().map(|invalid| invalid.field)
    }

    #[test]
    fn a_provider_needs_its_secrets_and_none_needs_nothing() {
        for kind in [Kind::None, Kind::Simulated, Kind::Stripe] {
            assert_eq!(field(&config(kind)), None);
        }
        let no_secret = |kind| Config { webhook_secret: "".into(), ..config(kind) };
        assert_eq!(field(&no_secret(Kind::None)), None);
        assert_eq!(field(&no_secret(Kind::Simulated)), Some("webhook_secret"));
        let invented = Config { webhook_secret: "development-webhooks".into(), ..config(Kind::Stripe) };
        assert_eq!(field(&invented), Some("webhook_secret"));
        let no_key = Config { stripe_secret_key: "".into(), ..config(Kind::Stripe) };
        assert_eq!(field(&no_key), Some("stripe_secret_key"));
    }

    #[test]
    fn the_secret_key_goes_over_https_or_stays_on_this_machine() {
        for (url, private) in [
            ("https://api.stripe.com", true),
            ("http://127.0.0.1:4242", true),
            ("http://localhost/x", true),
            ("http://api.stripe.com", false),
            ("http://127.0.0.1.example", false),
            ("http://localhost@example", false),
            ("http://127.0.0.1:1@example", false),
            ("https:", false),
            ("", false),
        ] {
            let config = Config { stripe_url: url.to_owned(), ..config(Kind::Stripe) };
            assert_eq!(field(&config).is_none(), private, "{url}");
        }
    }
}
