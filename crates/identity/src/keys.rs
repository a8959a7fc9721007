//! The keys that tokens are verified with: one secret, or a JWKS (RFC 7517).

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use serde::Deserialize;
use serde_json::Value;

use crate::config::Algorithm;
use crate::verifier::Refusal;

/// The keys of one algorithm.
#[derive(Default)]
pub(crate) struct Keys {
    /// `None` until a set has come.
    set: ArcSwapOption<Vec<Key>>,
}

struct Key {
    id: Option<String>,
    key: Arc<DecodingKey>,
}

/// Why a text is no set of keys that helps.
#[derive(Debug, thiserror::Error)]
pub enum InvalidKeys {
    /// It is not what RFC 7517 calls a JWK Set.
    #[error("is no JWKS: {0}")]
    Malformed(serde_json::Error),
    /// No key in it is public, for signatures and of the algorithm.
    #[error("has no public key that verifies {0}")]
    NoneFits(Algorithm),
}

impl Keys {
    /// A secret, whatever id tokens name.
    pub(crate) fn secret(secret: &[u8]) -> Self {
        let key = Key { id: None, key: Arc::new(DecodingKey::from_secret(secret)) };
        Self { set: ArcSwapOption::from_pointee(vec![key]) }
    }

    /// Takes this set in place of the one before.
    pub(crate) fn replace(&self, set: &[u8], algorithm: Algorithm) -> Result<(), InvalidKeys> {
        self.set.store(Some(Arc::new(read(set, algorithm)?)));
        Ok(())
    }

    /// The key of this id; without one the only key there is.
    pub(crate) fn find(&self, id: Option<&str>) -> Result<Arc<DecodingKey>, Refusal> {
        let set = self.set.load();
        let keys = set.as_ref().ok_or(Refusal::NoKeys)?;
        let found = match (keys.as_slice(), id) {
            ([only], None) => Some(only),
            // A key without an id is meant by every token: a secret, or a set of one.
            ([only], Some(_)) if only.id.is_none() => Some(only),
            (keys, Some(_)) => keys.iter().find(|key| key.id.as_deref() == id),
            (_, None) => None,
        };
        found.map(|key| Arc::clone(&key.key)).ok_or(Refusal::UnknownKey)
    }
}

/// The keys of a set that verify tokens of this algorithm. Others, and those nobody can read, are passed over: a set
/// may hold keys for other purposes, and of kinds that came later than this program.
fn read(text: &[u8], algorithm: Algorithm) -> Result<Vec<Key>, InvalidKeys> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<Value>,
    }
    let set: Set = serde_json::from_slice(text).map_err(InvalidKeys::Malformed)?;
    let keys: Vec<Key> = set.keys.into_iter().filter_map(|value| usable(value, algorithm)).collect();
    if keys.is_empty() {
        return Err(InvalidKeys::NoneFits(algorithm));
    }
    Ok(keys)
}

/// Never a symmetric key: a set is public.
fn usable(value: Value, algorithm: Algorithm) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(value).ok()?;
    let fits = match (&jwk.algorithm, algorithm) {
        (AlgorithmParameters::RSA(_), Algorithm::RS256) => true,
        (AlgorithmParameters::OctetKeyPair(pair), Algorithm::EdDsa) => pair.curve == EllipticCurve::Ed25519,
        _ => false,
    };
    let named = jwk.common.key_algorithm.is_none_or(|named| named == KeyAlgorithm::from(algorithm.of_tokens()));
    let signs = jwk.common.public_key_use.as_ref().is_none_or(|usage| *usage == PublicKeyUse::Signature);
    let key = DecodingKey::from_jwk(&jwk).ok().filter(|_| fits && named && signs)?;
    Some(Key { id: jwk.common.key_id, key: Arc::new(key) })
}
