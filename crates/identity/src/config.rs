//! `[auth]`: who a request is believed to come from.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

/// HMAC keys are at least as long as their hash: RFC 7518, section 3.2.
pub(crate) const SHORTEST_SECRET: usize = 32;

/// How buyers are known, and what a token must be like.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each field is documented once, in default.toml")]
pub struct Config {
    pub mode: Mode,
    pub algorithm: Algorithm,
    pub hs256_secret: SecretString,
    pub jwks: String,
    pub jwks_refresh_seconds: u64,
    pub issuer: String,
    pub audience: String,
    pub leeway_seconds: u32,
    pub accounts: bool,
    pub token_seconds: u64,
}

/// Whose word counts.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The request's own: a gateway in front has authenticated the buyer.
    Trusted,
    /// The subject's of a verified token.
    Jwt,
}

/// How tokens are signed. One only: a token cannot choose.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
pub enum Algorithm {
    /// HMAC with SHA-256 and a secret.
    HS256,
    /// RSASSA-PKCS1-v1_5 with SHA-256 and a key of a JWKS.
    RS256,
    /// Ed25519 with a key of a JWKS.
    #[serde(rename = "EdDSA")]
    EdDsa,
}

impl Algorithm {
    pub(crate) fn of_tokens(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::HS256 => jsonwebtoken::Algorithm::HS256,
            Self::RS256 => jsonwebtoken::Algorithm::RS256,
            Self::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HS256 => "HS256",
            Self::RS256 => "RS256",
            Self::EdDsa => "EdDSA",
        })
    }
}

/// What is wrong with `[auth]`, and which field to set.
#[derive(Debug, thiserror::Error)]
#[error("invalid settings: auth.{field}: {problem}")]
pub struct InvalidConfig {
    field: &'static str,
    problem: String,
}

impl InvalidConfig {
    /// The field of `[auth]`, and what is wrong with it.
    pub fn new(field: &'static str, problem: impl Into<String>) -> Self {
        Self { field, problem: problem.into() }
    }
}

impl Config {
    /// Where the keys are fetched from; `None` where there are none to fetch.
    #[must_use]
    pub fn jwks_url(&self) -> Option<&str> {
        let is_remote = ["http://", "https://"].iter().any(|scheme| self.jwks.starts_with(scheme));
        (self.mode == Mode::Jwt && self.algorithm != Algorithm::HS256 && is_remote).then_some(&self.jwks)
    }

    /// Whether the fields fit each other.
    ///
    /// # Errors
    /// They do not; the text names the field and what to do.
    pub fn check(&self) -> Result<(), InvalidConfig> {
        if self.accounts && (self.mode != Mode::Jwt || self.algorithm != Algorithm::HS256) {
            return Err(InvalidConfig::new("accounts", "needs auth.mode = \"jwt\" and auth.algorithm = \"HS256\""));
        }
        if self.mode == Mode::Trusted {
            return Ok(());
        }
        for (field, value) in [("issuer", &self.issuer), ("audience", &self.audience)] {
            if value.is_empty() {
                return Err(InvalidConfig::new(field, "must be what the tokens say"));
            }
        }
        for (field, value) in
            [("token_seconds", self.token_seconds), ("jwks_refresh_seconds", self.jwks_refresh_seconds)]
        {
            if value == 0 {
                return Err(InvalidConfig::new(field, "must be at least 1"));
            }
        }
        match self.algorithm {
            Algorithm::HS256 => check_secret(&self.hs256_secret),
            algorithm if self.jwks.is_empty() => {
                Err(InvalidConfig::new("jwks", format!("is not set; {algorithm} needs a file or a URL with its keys")))
            }
            // Whoever is on the way could put in keys of their own.
            _ if self.jwks.starts_with("http://") && !is_on_this_machine(&self.jwks) => {
                Err(InvalidConfig::new("jwks", "must begin with https://, or be on this machine"))
            }
            _ => Ok(()),
        }
    }
}

fn is_on_this_machine(url: &str) -> bool {
    let authority = url["http://".len()..].split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    // Before an @ stands no host.
    !authority.contains('@') && matches!(host, "127.0.0.1" | "localhost")
}

pub(crate) fn check_secret(secret: &SecretString) -> Result<(), InvalidConfig> {
    match secret.expose_secret().len() {
        0 => Err(InvalidConfig::new("hs256_secret", "is not set. Set FLASHSALE__AUTH__HS256_SECRET")),
        length @ 1..SHORTEST_SECRET => {
            let problem = format!("has {length} bytes, at least {SHORTEST_SECRET} are needed");
            Err(InvalidConfig::new("hs256_secret", problem))
        }
        _ => Ok(()),
    }
}
