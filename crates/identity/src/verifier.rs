//! Verifies tokens: one algorithm, one issuer, one audience, and a subject until it expires.

use std::fmt;

use domain::{InvalidUserId, UserId};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Validation, decode, decode_header};
use secrecy::ExposeSecret;
use serde::Deserialize;

use crate::config::{Algorithm, Config, InvalidConfig};
use crate::keys::{InvalidKeys, Keys};

/// Why a token does not count. No text holds any of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// Not three parts of base64 and JSON, an `alg` such as `none` that nobody knows, or claims of wrong types.
    #[error("cannot be read: it is no signed JWT with the usual claims")]
    Malformed,
    /// Signed in another way than this API is set to.
    #[error("must be signed with {0}")]
    Algorithm(Algorithm),
    /// It demands an extension (RFC 7515, section 4.1.11).
    #[error("demands an extension by its header crit, and none is known here")]
    Critical,
    /// No key of this id, or none named where there are several.
    #[error("is signed with a key (kid) that is not known here")]
    UnknownKey,
    /// Signed with another key, or changed.
    #[error("has a wrong signature")]
    Signature,
    /// Past its `exp`.
    #[error("has expired; log in again")]
    Expired,
    /// Before its `nbf`.
    #[error("is not valid yet (nbf)")]
    NotYetValid,
    /// Another `iss`.
    #[error("is of another issuer (iss)")]
    Issuer,
    /// Another `aud`.
    #[error("is for another audience (aud)")]
    Audience,
    /// A claim that every token needs.
    #[error("has no {0}")]
    Missing(&'static str),
    /// A `sub` that is no user id.
    #[error("has a sub that is no user id: it {0}")]
    Subject(InvalidUserId),
    /// Keys have not come yet: whether the token counts is not known.
    #[error("cannot be verified yet: its issuer's keys could not be fetched; try again")]
    NoKeys,
}

/// Verifies tokens. Whoever shares one shares its keys.
pub struct Verifier {
    algorithm: Algorithm,
    validation: Validation,
    leeway_seconds: u32,
    keys: Keys,
}

/// What a token must say, besides `iss` and `aud`. Times are seconds since 1970 and may have a fraction.
#[derive(Deserialize)]
struct Claims {
    sub: Option<String>,
    exp: Option<f64>,
    nbf: Option<f64>,
}

impl Verifier {
    /// A verifier of the tokens that these settings describe. Keys at a URL ([`Config::jwks_url`]) are not here yet:
    /// they come with [`Verifier::replace_keys`].
    ///
    /// # Errors
    /// The settings do not fit, or the file with the keys cannot be read or has none that can be used.
    pub fn new(config: &Config) -> Result<Self, InvalidConfig> {
        config.check()?;
        let algorithm = config.algorithm;
        let mut validation = Validation::new(algorithm.of_tokens());
        validation.set_required_spec_claims(&["iss", "aud"]);
        validation.set_issuer(&[&config.issuer]);
        validation.set_audience(&[&config.audience]);
        // By the clock that the caller gives, below.
        validation.validate_exp = false;
        let keys = match algorithm {
            Algorithm::HS256 => Keys::secret(config.hs256_secret.expose_secret().as_bytes()),
            Algorithm::RS256 | Algorithm::EdDsa => Keys::default(),
        };
        let verifier = Self { algorithm, validation, leeway_seconds: config.leeway_seconds, keys };
        if algorithm != Algorithm::HS256 && config.jwks_url().is_none() {
            let invalid =
                |problem: &dyn fmt::Display| InvalidConfig::new("jwks", format!("{}: {problem}", config.jwks));
            let set = std::fs::read(&config.jwks).map_err(|error| invalid(&error))?;
            verifier.replace_keys(&set).map_err(|error| invalid(&error))?;
        }
        Ok(verifier)
    }

    /// The buyer whom the token names, at `now_ms` (Unix time, milliseconds).
    ///
    /// # Errors
    /// Why it does not count.
    pub fn verify(&self, token: &[u8], now_ms: u64) -> Result<UserId, Refusal> {
        let header = decode_header(token).map_err(|_| Refusal::Malformed)?;
        if header.alg != self.algorithm.of_tokens() {
            return Err(Refusal::Algorithm(self.algorithm));
        }
        if header.crit.is_some() {
            return Err(Refusal::Critical);
        }
        let key = self.keys.find(header.kid.as_deref())?;
        let claims: Claims = decode(token, &key, &self.validation).map_err(|error| refusal(error.kind()))?.claims;
        let exp = claims.exp.ok_or(Refusal::Missing("exp"))?;
        let (now, leeway) = (now_ms as f64 / 1_000.0, f64::from(self.leeway_seconds));
        if now >= exp + leeway {
            return Err(Refusal::Expired);
        }
        if claims.nbf.is_some_and(|nbf| now + leeway < nbf) {
            return Err(Refusal::NotYetValid);
        }
        claims.sub.ok_or(Refusal::Missing("sub"))?.try_into().map_err(Refusal::Subject)
    }

    /// Takes this JWKS (RFC 7517) in place of the one before, for all tokens from now on.
    ///
    /// # Errors
    /// It has no key that can be used; those from before stay.
    pub fn replace_keys(&self, set: &[u8]) -> Result<(), InvalidKeys> {
        self.keys.replace(set, self.algorithm)
    }
}

fn refusal(error: &ErrorKind) -> Refusal {
    match error {
        ErrorKind::InvalidSignature => Refusal::Signature,
        ErrorKind::InvalidIssuer => Refusal::Issuer,
        ErrorKind::InvalidAudience => Refusal::Audience,
        ErrorKind::MissingRequiredClaim(claim) if claim == "iss" => Refusal::Missing("iss"),
        ErrorKind::MissingRequiredClaim(_) => Refusal::Missing("aud"),
        _ => Refusal::Malformed,
    }
}
