//! `[webhooks]`: where the shop's back end hears what happens.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ledger::WEBHOOK_TYPES;
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use serde::Deserialize;

use crate::settings::{InvalidSettings, comma_separated};

/// What a secret begins with, and how long it is without that: <https://www.standardwebhooks.com>.
const SECRET_PREFIX: &str = "whsec_";
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// `[webhooks]`: the keeper's.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each field is documented once, in default.toml")]
pub struct Webhooks {
    pub url: SecretString,
    pub secret: SecretString,
    #[serde(deserialize_with = "comma_separated")]
    pub events: Vec<String>,
    pub timeout_ms: u64,
    pub max_attempts: u32,
    pub retry_ms: u64,
    pub at_once: usize,
    pub poll_ms: u64,
    pub keep_days: u32,
}

impl Webhooks {
    /// Whether there is anybody to tell.
    #[must_use]
    pub fn are_on(&self) -> bool {
        !self.url.expose_secret().is_empty()
    }

    /// The keys to sign with, as many as the secret names.
    ///
    /// # Errors
    /// There is none, or one is not `whsec_` and the Base64 of 24 to 64 bytes.
    pub fn keys(&self) -> Result<Vec<SecretSlice<u8>>, InvalidSettings> {
        let invalid = |problem: &str| InvalidSettings::field("webhooks.secret", &problem);
        let key = |text: &str| {
            let key = BASE64_STANDARD.decode(text.strip_prefix(SECRET_PREFIX)?).ok()?;
            KEY_BYTES.contains(&key.len()).then(|| SecretSlice::from(key))
        };
        let keys: Option<Vec<_>> = self.secret.expose_secret().split_whitespace().map(key).collect();
        let keys =
            keys.ok_or_else(|| invalid("must be whsec_ and 24 to 64 bytes in Base64, or two such with a blank"))?;
        if keys.is_empty() {
            return Err(invalid("is not set, and without it nobody can tell our events from anybody's"));
        }
        Ok(keys)
    }

    pub(crate) fn check(&self) -> Result<(), InvalidSettings> {
        let least_one = [
            ("webhooks.timeout_ms", self.timeout_ms),
            ("webhooks.max_attempts", self.max_attempts.into()),
            ("webhooks.retry_ms", self.retry_ms),
            ("webhooks.at_once", self.at_once as u64),
            ("webhooks.poll_ms", self.poll_ms),
            ("webhooks.keep_days", self.keep_days.into()),
        ];
        if let Some((name, _)) = least_one.into_iter().find(|(_, value)| *value == 0) {
            return Err(InvalidSettings::field(name, &"must be at least 1"));
        }
        if let Some(unknown) = self.events.iter().find(|event| !WEBHOOK_TYPES.contains(&event.as_str())) {
            let problem = format!("there is no {unknown:?}, only {}", WEBHOOK_TYPES.join(", "));
            return Err(InvalidSettings::field("webhooks.events", &problem));
        }
        if self.are_on() {
            // The value is withheld: it may hold a password.
            if !["http://", "https://"].iter().any(|scheme| self.url.expose_secret().starts_with(scheme)) {
                return Err(InvalidSettings::field("webhooks.url", &"must begin with https:// or http://"));
            }
            self.keys()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::Settings;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn problem(name: &str, value: &str) -> Option<String> {
        let usual = [("URL", "https://shop.example/hooks"), ("SECRET", SECRET), (name, value)];
        let variables = usual.map(|(name, value)| (format!("FLASHSALE__WEBHOOKS__{name}"), value.to_owned()));
        Settings::from_variables(variables.into()).err().map(|error| error.to_string())
    }

    #[test]
    fn what_cannot_be_sent_or_signed_or_asked_for_is_named_at_start_and_no_secret_is() {
        for (name, value, field) in [
            ("URL", "shop.example/planted", "webhooks.url"),
            ("SECRET", "", "webhooks.secret"),
            ("SECRET", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "webhooks.secret"),
            ("SECRET", "whsec_planted", "webhooks.secret"),
            ("SECRET", "whsec_cGxhbnRlZA==", "webhooks.secret"),
            ("EVENTS", "order.reserved,order.lost", "webhooks.events"),
            ("MAX_ATTEMPTS", "0", "webhooks.max_attempts"),
        ] {
            let problem = problem(name, value).unwrap();
            assert!(problem.contains(field), "{name}={value}: {problem}");
            assert!(!problem.contains("planted"), "{problem}");
        }
    }

    #[test]
    fn two_secrets_are_two_keys_and_no_url_needs_none() {
        assert_eq!(problem("SECRET", &format!("{SECRET} {SECRET}")), None);
        assert_eq!(problem("EVENTS", "order.reserved, sale.sold_out"), None);
        let off = [("FLASHSALE__WEBHOOKS__SECRET".to_owned(), String::new())];
        assert!(!Settings::from_variables(off.into()).unwrap().webhooks.are_on());
    }
}
