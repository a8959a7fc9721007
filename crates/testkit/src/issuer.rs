//! An identity provider of a test's own: it signs tokens of any kind, right and wrong ones, and serves its public keys.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// What the tests' APIs verify HS256 with.
pub const TOKEN_SECRET: &str = "the-token-secret-of-the-tests-32-bytes-and-more";

/// One key that signs.
pub struct Issuer {
    key: Key,
    /// What its tokens name as `kid`.
    key_id: Option<String>,
}

enum Key {
    Hmac(Box<hmac::Key>),
    Rsa(RsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Issuer {
    /// Signs with HS256 and this secret.
    #[must_use]
    pub fn hs256(secret: &[u8]) -> Self {
        Self { key: Key::Hmac(Box::new(hmac::Key::new(hmac::HMAC_SHA256, secret))), key_id: None }
    }

    /// Signs with RS256 and a key made for it.
    ///
    /// # Panics
    /// The crypto library fails.
    #[must_use]
    pub fn rs256(key_id: &str) -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
        Self { key: Key::Rsa(pair), key_id: Some(key_id.to_owned()) }
    }

    /// Signs with Ed25519 and a key made for it.
    ///
    /// # Panics
    /// The crypto library fails.
    #[must_use]
    pub fn eddsa(key_id: &str) -> Self {
        Self { key: Key::Ed25519(Ed25519KeyPair::generate().expect("a key")), key_id: Some(key_id.to_owned()) }
    }

    /// The same key under another name, or under none.
    #[must_use]
    pub fn named(self, key_id: Option<&str>) -> Self {
        Self { key_id: key_id.map(str::to_owned), ..self }
    }

    /// The `alg` of its tokens.
    #[must_use]
    pub fn algorithm(&self) -> &'static str {
        match &self.key {
            Key::Hmac(_) => "HS256",
            Key::Rsa(_) => "RS256",
            Key::Ed25519(_) => "EdDSA",
        }
    }

    /// Claims as an API with the default settings wants them, good for ten minutes.
    #[must_use]
    pub fn claims(&self, subject: &str) -> Value {
        let now = boot::clock::now_ms() / 1_000;
        json!({ "iss": "flashsale", "aud": "flashsale", "sub": subject, "iat": now, "exp": now + 600 })
    }

    /// A token that counts.
    #[must_use]
    pub fn token(&self, subject: &str) -> String {
        self.sign(&self.claims(subject))
    }

    /// A token with these claims.
    #[must_use]
    pub fn sign(&self, claims: &Value) -> String {
        let mut header = json!({ "alg": self.algorithm(), "typ": "JWT" });
        if let Some(id) = &self.key_id {
            header["kid"] = id.as_str().into();
        }
        self.sign_with(&header, claims)
    }

    /// A token with this header and these claims, whatever the header says.
    ///
    /// # Panics
    /// The crypto library fails.
    #[must_use]
    pub fn sign_with(&self, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", encoded(header.to_string()), encoded(claims.to_string()));
        let signature = match &self.key {
            Key::Hmac(key) => hmac::sign(key, message.as_bytes()).as_ref().to_vec(),
            Key::Ed25519(pair) => pair.sign(message.as_bytes()).as_ref().to_vec(),
            Key::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let signed = pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature);
                signed.expect("a signature");
                signature
            }
        };
        format!("{message}.{}", encoded(signature))
    }

    /// What its tokens name as `kid`.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// The public key's bytes, which are no secret. None for HS256.
    #[must_use]
    pub fn public_key(&self) -> Vec<u8> {
        match &self.key {
            Key::Hmac(_) => Vec::new(),
            Key::Rsa(pair) => pair.public_key().as_ref().to_vec(),
            Key::Ed25519(pair) => pair.public_key().as_ref().to_vec(),
        }
    }

    /// The public key as a JWK; null for HS256.
    #[must_use]
    pub fn jwk(&self) -> Value {
        let mut jwk = match &self.key {
            Key::Hmac(_) => return Value::Null,
            Key::Rsa(pair) => {
                let (n, e) = (pair.public_key().modulus(), pair.public_key().exponent());
                let [n, e] = [n, e].map(|number| encoded(number.big_endian_without_leading_zero()));
                json!({ "kty": "RSA", "alg": "RS256", "use": "sig", "n": n, "e": e })
            }
            Key::Ed25519(pair) => json!({ "kty": "OKP", "crv": "Ed25519", "x": encoded(pair.public_key()) }),
        };
        if let Some(id) = &self.key_id {
            jwk["kid"] = id.as_str().into();
        }
        jwk
    }
}

/// base64url without padding, as in a JWT.
#[must_use]
pub fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The JWKS of these issuers.
#[must_use]
pub fn jwks<'a>(issuers: impl IntoIterator<Item = &'a Issuer>) -> String {
    json!({ "keys": issuers.into_iter().map(Issuer::jwk).collect::<Vec<_>>() }).to_string()
}

/// Serves a JWKS over HTTP until it is dropped.
pub struct KeyServer {
    /// Where the set is.
    pub url: String,
    set: Arc<Mutex<Option<String>>>,
    asked: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

impl KeyServer {
    /// Serves this set; `None` answers with 503.
    ///
    /// # Panics
    /// There is no free port.
    pub async fn start(set: Option<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/keys", listener.local_addr().expect("an address"));
        let (set, asked) = (Arc::new(Mutex::new(set)), Arc::new(AtomicUsize::new(0)));
        let (served, count) = (Arc::clone(&set), Arc::clone(&asked));
        let serving = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = [0; 4096];
                // A request without a body: what comes first is all of it.
                if stream.read(&mut head).await.is_err() {
                    continue;
                }
                count.fetch_add(1, Ordering::Relaxed);
                let set = served.lock().expect("nobody panics with it").clone();
                let status = if set.is_some() { "200 OK" } else { "503 Service Unavailable" };
                let body = set.unwrap_or_default();
                let answer =
                    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Self { url, set, asked, serving }
    }

    /// Serves another set from now on.
    ///
    /// # Panics
    /// Never: nobody panics while holding the set.
    pub fn serve(&self, set: Option<String>) {
        *self.set.lock().expect("nobody panics with it") = set;
    }

    /// How often it was asked.
    #[must_use]
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Drop for KeyServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
