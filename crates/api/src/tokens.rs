//! Buyers' tokens, and where the keys come from that they are verified with.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use boot::Outage;
use domain::UserId;
use identity::{Config, InvalidConfig, Mode, Refusal, Verifier};
use reqwest::{Client, Url, redirect};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::error::{Code, Problem};

/// How long fetching the keys may take as a whole.
const FETCH_TIMEOUT: Duration = Duration::from_secs(3);
/// Largest set of keys: dozens of them.
const LARGEST_SET: usize = 256 * 1024;
/// First and longest pause after a fetch that failed.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// Least pause between a fetch and one that is made because a token names an unknown key: whoever invents names cannot
/// have us ask the identity provider more often.
const LEARN_PAUSE: Duration = Duration::from_secs(10);

/// What verifies the tokens of all requests.
pub(crate) struct Tokens {
    verifier: Verifier,
    remote: Option<Remote>,
}

/// Keys at a URL.
struct Remote {
    http: Client,
    url: Url,
    pause: Duration,
    /// When a fetch was last begun. Whoever holds this fetches; the others wait for what it brings.
    begun: Mutex<Option<Instant>>,
}

impl Tokens {
    /// `None` where the requests' own word counts. Keys at a URL are fetched by [`Tokens::keep_learning`].
    pub(crate) fn of(config: &Config) -> Result<Option<Self>> {
        config.check()?;
        if config.mode == Mode::Trusted {
            return Ok(None);
        }
        let verifier = Verifier::new(config)?;
        let remote = config.jwks_url().map(|url| Remote::new(url, config)).transpose()?;
        Ok(Some(Self { verifier, remote }))
    }

    /// The buyer whom the token names.
    pub(crate) async fn verify(&self, token: &[u8]) -> Result<UserId, Problem> {
        let now_ms = boot::clock::now_ms();
        let mut verified = self.verifier.verify(token, now_ms);
        if let (Err(Refusal::UnknownKey), Some(remote)) = (&verified, &self.remote) {
            // The issuer may have exchanged its keys since the last fetch.
            remote.learn(&self.verifier).await;
            verified = self.verifier.verify(token, now_ms);
        }
        verified.map_err(|refusal| {
            let code = if refusal == Refusal::NoKeys { Code::Unavailable } else { Code::InvalidToken };
            Problem::new(code, format!("The token {refusal}"))
        })
    }

    /// Fetches keys at a URL again and again. Where that fails, those from before stay. Returns where there are none
    /// to fetch.
    pub(crate) async fn keep_learning(&self) {
        let Some(remote) = &self.remote else { return };
        let mut outage = Outage::of("the keys of tokens (auth.jwks) cannot be fetched, those from before stay");
        loop {
            let fetched = remote.refresh(&self.verifier).await;
            let pause =
                outage.note_and_pause(&fetched.map_err(|error| format!("{error:#}")), PAUSES).unwrap_or(remote.pause);
            tokio::time::sleep(pause).await;
        }
    }

    pub(crate) fn are_fetched(&self) -> bool {
        self.remote.is_some()
    }
}

impl Remote {
    fn new(url: &str, config: &Config) -> Result<Self> {
        let invalid = |problem: &dyn std::fmt::Display| InvalidConfig::new("jwks", format!("{url}: {problem}"));
        let parsed = Url::parse(url).map_err(|error| invalid(&error))?;
        let http = Client::builder().timeout(FETCH_TIMEOUT).redirect(redirect::Policy::limited(3));
        let http = match parsed.scheme() {
            // Who asks for https gets nothing that came without.
            "https" => http.https_only(true),
            // Without a certificate of the system's: a container need not have any.
            _ => http.tls_certs_only([]),
        };
        let http = http.build().map_err(|error| invalid(&error))?;
        let pause = Duration::from_secs(config.jwks_refresh_seconds);
        Ok(Self { http, url: parsed, pause, begun: Mutex::default() })
    }

    async fn refresh(&self, verifier: &Verifier) -> Result<()> {
        let mut begun = self.begun.lock().await;
        *begun = Some(Instant::now());
        self.fetch(verifier).await
    }

    /// Fetches the keys because a token names one that is not among them, unless that was done a moment ago.
    async fn learn(&self, verifier: &Verifier) {
        let mut begun = self.begun.lock().await;
        if begun.is_none_or(|at| at.elapsed() >= LEARN_PAUSE) {
            *begun = Some(Instant::now());
            if let Err(error) = self.fetch(verifier).await {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "a token names an unknown key, and the keys (auth.jwks) cannot be fetched"
                );
            }
        }
    }

    async fn fetch(&self, verifier: &Verifier) -> Result<()> {
        let answer = self.http.get(self.url.clone()).send().await?;
        let mut answer = answer.error_for_status()?;
        let mut set = Vec::new();
        while let Some(part) = answer.chunk().await? {
            set.extend_from_slice(&part);
            ensure!(set.len() <= LARGEST_SET, "the answer has more than {LARGEST_SET} bytes");
        }
        verifier.replace_keys(&set).context("the answer cannot be used")
    }
}
