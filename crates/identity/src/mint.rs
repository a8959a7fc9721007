//! Makes the tokens of the built-in accounts, of tests and of demonstrations.

use jsonwebtoken::{EncodingKey, Header};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use uuid::Uuid;

use crate::config::{Config, InvalidConfig, check_secret};

/// Signs tokens with the HS256 secret.
pub struct Mint {
    key: EncodingKey,
    issuer: String,
    audience: String,
    token_seconds: u64,
}

/// A token, for its owner only.
pub struct Minted {
    /// To be sent as `Authorization: Bearer <token>`.
    pub token: String,
    /// Seconds until it is no longer accepted.
    pub expires_in: u64,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: &'a str,
    iat: u64,
    exp: u64,
    jti: Uuid,
}

impl Mint {
    /// A mint for tokens that an API with the same secret, issuer and audience accepts for `token_seconds`.
    ///
    /// # Errors
    /// The secret is too short.
    pub fn new(secret: &SecretString, issuer: &str, audience: &str, token_seconds: u64) -> Result<Self, InvalidConfig> {
        check_secret(secret)?;
        let key = EncodingKey::from_secret(secret.expose_secret().as_bytes());
        Ok(Self { key, issuer: issuer.to_owned(), audience: audience.to_owned(), token_seconds })
    }

    /// The mint of the built-in accounts.
    ///
    /// # Errors
    /// The secret is too short.
    pub fn of(config: &Config) -> Result<Self, InvalidConfig> {
        Self::new(&config.hs256_secret, &config.issuer, &config.audience, config.token_seconds)
    }

    /// A token for `subject`, issued at `now_ms` (Unix time, milliseconds) and unlike every other one.
    ///
    /// # Panics
    /// Never: these claims are always JSON and HMAC takes any key.
    #[must_use]
    pub fn mint(&self, subject: &str, now_ms: u64) -> Minted {
        let iat = now_ms / 1_000;
        let exp = iat.saturating_add(self.token_seconds);
        let claims = Claims { iss: &self.issuer, aud: &self.audience, sub: subject, iat, exp, jti: Uuid::new_v4() };
        let token = jsonwebtoken::encode(&Header::default(), &claims, &self.key).expect("HMAC signs anything");
        Minted { token, expires_in: self.token_seconds }
    }
}
