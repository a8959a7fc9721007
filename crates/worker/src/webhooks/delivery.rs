//! Sending what is due, and writing down what came of it.

use std::error::Error as _;
use std::time::Duration;

use anyhow::{Context, Result};
use backon::BackoffBuilder;
use boot::{Outage, Watchdog};
use failpoints::Point;
use ledger::{LeasedWebhook, Ledger, WebhookFailure, WebhookOutcome};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Response, Url, redirect};
use secrecy::{ExposeSecret, SecretSlice};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::signature::signature;
use super::{LONGEST_PAUSE, stopped_within};

/// Longest pause between two attempts, before chance lengthens it.
const LONGEST_RETRY: Duration = Duration::from_secs(6 * 3_600);
/// How long writing down an attempt may take before another keeper takes the event for lost.
const LEASE_AFTER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long other answers are waited for when one has come: a transaction for each would be slower than the receiver.
const GATHER: Duration = Duration::from_millis(10);
/// How much of a refusal's body is kept, for an operator to see why. No more than about that is read.
const EXCERPT_BYTES: usize = 500;

/// Carries events to the receiver.
pub(super) struct Courier {
    ledger: Ledger,
    watchdog: Watchdog,
    door: Door,
    at_once: usize,
    lease: Duration,
    poll: Duration,
}

/// The receiver, and how it is spoken to. Cheap to clone.
#[derive(Clone)]
struct Door {
    http: Client,
    url: Url,
    keys: Vec<SecretSlice<u8>>,
    max_attempts: i64,
    retry: Duration,
}

impl Courier {
    pub(super) fn new(ledger: Ledger, settings: &boot::Webhooks, watchdog: Watchdog) -> Result<Self> {
        let timeout = Duration::from_millis(settings.timeout_ms);
        let url: Url = settings.url.expose_secret().parse().context("webhooks.url is no URL")?;
        let client = Client::builder()
            .timeout(timeout)
            // What is signed is for this receiver alone.
            .redirect(redirect::Policy::none())
            .pool_max_idle_per_host(settings.at_once);
        // Over plain HTTP no certificate is needed, and a machine may have none.
        let client = if url.scheme() == "http" { client.tls_certs_only([]) } else { client };
        let door = Door {
            http: client.build().context("webhooks.url cannot be called from here")?,
            url,
            keys: settings.keys()?,
            max_attempts: settings.max_attempts.into(),
            retry: Duration::from_millis(settings.retry_ms),
        };
        let (lease, poll) = (timeout + LEASE_AFTER_TIMEOUT, Duration::from_millis(settings.poll_ms));
        Ok(Self { ledger, watchdog, door, at_once: settings.at_once, lease, poll })
    }

    /// Sends what is due, so many at a time, until told to stop; then waits for what is under way.
    pub(super) async fn keep_delivering(&self, stop: &CancellationToken) {
        let mut outage = Outage::of("webhook events cannot be read, they will be sent later");
        let mut sending: JoinSet<WebhookOutcome> = JoinSet::new();
        while !stop.is_cancelled() || !sending.is_empty() {
            let mut pause = self.poll;
            let free = self.at_once - sending.len();
            if free > 0 && !stop.is_cancelled() {
                let leased = self.lease(free).await;
                pause = outage.note_and_pause(&leased, (self.poll, LONGEST_PAUSE)).unwrap_or(pause);
                for event in leased.unwrap_or_default() {
                    let door = self.door.clone();
                    sending.spawn(async move { door.send(&event).await });
                }
            }
            let mut outcomes = Vec::new();
            tokio::select! {
                Some(sent) = sending.join_next() => {
                    outcomes.extend(sent.ok());
                    tokio::time::sleep(GATHER).await;
                }
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled(), if !stop.is_cancelled() => {}
            }
            while let Some(sent) = sending.try_join_next() {
                outcomes.extend(sent.ok());
            }
            self.settle(&outcomes, stop).await;
        }
    }

    async fn lease(&self, free: usize) -> Result<Vec<LeasedWebhook>, ledger::Error> {
        let _busy = self.watchdog.busy("taking webhook events to send");
        self.ledger.lease_webhooks(free, self.lease).await
    }

    /// Writes down what attempts have come to, and does not give up unless it is to stop: then, or if this process dies,
    /// the same events are sent again under the same ids.
    async fn settle(&self, outcomes: &[WebhookOutcome], stop: &CancellationToken) {
        if outcomes.is_empty() {
            return;
        }
        failpoints::reach(Point::KeeperDelivered);
        for (outcome, failure) in outcomes.iter().filter_map(|each| Some((each, each.failure.as_ref()?))) {
            if failure.again_after.is_none() {
                tracing::error!(webhook = %outcome.id, error = failure.error, "a webhook event is given up");
            }
        }
        let mut outage = Outage::of("what came of webhook events cannot be written, some may be sent twice");
        loop {
            let busy = self.watchdog.busy("writing what came of webhook events");
            let settled = self.ledger.settle_webhooks(outcomes).await;
            drop(busy);
            let Some(pause) = outage.note_and_pause(&settled, (self.poll, LONGEST_PAUSE)) else { return };
            if stopped_within(pause, stop).await {
                return;
            }
        }
    }
}

impl Door {
    /// One attempt.
    async fn send(&self, event: &LeasedWebhook) -> WebhookOutcome {
        let (id, now) = (event.id.to_string(), boot::clock::now_ms() / 1_000);
        let request = self
            .http
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", &id)
            .header("webhook-timestamp", now)
            .header("webhook-signature", signature(&self.keys, &id, now, &event.payload))
            .body(event.payload.clone());
        let (response_status, error) = match request.send().await {
            Ok(response) if response.status().is_success() => (Some(response.status()), None),
            Ok(response) => (Some(response.status()), Some(refusal(response).await)),
            Err(error) => (None, Some(reason(error))),
        };
        let failure = error.map(|error| WebhookFailure { error, again_after: self.again_after(event.attempts) });
        WebhookOutcome { id: event.id, response_status: response_status.map(|status| status.as_u16()), failure }
    }

    /// When to try again after so many attempts.
    fn again_after(&self, attempts: i32) -> Option<Duration> {
        let failed = usize::try_from(attempts - 1).unwrap_or_default();
        let pause = boot::pauses(self.retry, LONGEST_RETRY).build().nth(failed);
        pause.filter(|_| i64::from(attempts) < self.max_attempts)
    }
}

/// The status, and the beginning of the body: as a rule it says why.
async fn refusal(mut response: Response) -> String {
    let status = response.status();
    let mut body = Vec::new();
    while body.len() < EXCERPT_BYTES
        && let Ok(Some(chunk)) = response.chunk().await
    {
        body.extend_from_slice(&chunk[..chunk.len().min(EXCERPT_BYTES - body.len())]);
    }
    let body = String::from_utf8_lossy(&body);
    if body.trim().is_empty() { status.to_string() } else { format!("{status}: {}", body.trim()) }
}

/// Why no answer came, without the URL, which may hold a password.
fn reason(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_hours_differ_by_chance_and_end_with_the_last_attempt() {
        let url = "http://127.0.0.1:1/".parse().unwrap();
        let (http, retry) = (Client::builder().tls_certs_only([]).build().unwrap(), Duration::from_secs(5));
        let door = Door { http, url, keys: Vec::new(), max_attempts: 16, retry };
        for (attempts, seconds) in [(1, 5), (2, 10), (5, 80), (12, 10_240), (15, 21_600)] {
            let pause = door.again_after(attempts).unwrap();
            let least = Duration::from_secs(seconds);
            assert!((least..=least * 2).contains(&pause), "{attempts}: {pause:?}");
        }
        assert_eq!(door.again_after(16), None);
        let mut chances: Vec<_> = (0..10).filter_map(|_| door.again_after(3)).collect();
        chances.dedup();
        assert!(chances.len() > 5, "{chances:?}");
    }
}
