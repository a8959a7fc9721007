//! Webhooks: the shop's back end is told what happens, at least once, signed. Any number of keepers may do this at once.
//!
//! Two loops that never wait for each other: one writes events out of the audit trail into the outbox, one sends what is
//! due there. Neither touches a sale, and no transaction is open while the receiver thinks.

mod delivery;
mod signature;

use std::time::Duration;

use anyhow::Result;
use boot::{Outage, Watchdog};
use ledger::Ledger;
use tokio_util::sync::CancellationToken;

use delivery::Courier;

/// Pause after a failure of PostgreSQL.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How often old events are looked for.
const FORGET_EVERY: Duration = Duration::from_secs(3_600);

/// Tells the shop's back end what happens.
pub struct Webhooks {
    ledger: Ledger,
    settings: boot::Webhooks,
    /// `None`: nobody is to be told.
    courier: Option<Courier>,
    watchdog: Watchdog,
}

impl Webhooks {
    /// Over this ledger, which the settings' receiver hears of. Does nothing before [`Webhooks::run`].
    ///
    /// # Errors
    /// The URL or the secret is none, or no HTTP client can be made, for want of certificates as a rule.
    pub fn new(ledger: Ledger, settings: boot::Webhooks, watchdog: Watchdog) -> Result<Self> {
        let courier =
            settings.are_on().then(|| Courier::new(ledger.clone(), &settings, watchdog.clone())).transpose()?;
        Ok(Self { ledger, settings, courier, watchdog })
    }

    /// Tells until `stop` is cancelled, then waits for the answers that are still to come. Without a receiver it says so
    /// to PostgreSQL and is done.
    pub async fn run(mut self, stop: CancellationToken) {
        let Some(courier) = self.courier.take() else {
            self.subscribe(None, &stop).await;
            return;
        };
        self.subscribe(Some(&self.settings.events), &stop).await;
        tracing::info!("subscribed: the shop's back end is told what happens from now on");
        tokio::join!(self.keep_collecting(&stop), courier.keep_delivering(&stop), self.keep_forgetting(&stop));
    }

    async fn subscribe(&self, events: Option<&[String]>, stop: &CancellationToken) {
        let mut outage = Outage::of("PostgreSQL cannot be told which events the shop's back end wants");
        let subscribe = async || {
            let _busy = self.watchdog.busy("subscribing to webhook events");
            self.ledger.subscribe_webhooks(events).await
        };
        while let Some(pause) = outage.note_and_pause(&subscribe().await, (self.poll(), LONGEST_PAUSE)) {
            if stopped_within(pause, stop).await {
                return;
            }
        }
    }

    /// Writes events out of the trail, step by step while there are more, then now and then.
    async fn keep_collecting(&self, stop: &CancellationToken) {
        let mut outage = Outage::of("webhook events cannot be written, they will be later");
        loop {
            let busy = self.watchdog.busy("writing webhook events");
            let collected = self.ledger.collect_webhooks().await;
            drop(busy);
            let pause = outage.note_and_pause(&collected, (self.poll(), LONGEST_PAUSE));
            let pause = if matches!(collected, Ok(true)) { Duration::ZERO } else { pause.unwrap_or(self.poll()) };
            if stopped_within(pause, stop).await {
                return;
            }
        }
    }

    /// Deletes what was delivered long ago.
    async fn keep_forgetting(&self, stop: &CancellationToken) {
        let mut outage = Outage::of("old webhook events cannot be deleted");
        loop {
            let busy = self.watchdog.busy("deleting old webhook events");
            let forgotten = self.ledger.forget_webhooks(self.settings.keep_days).await;
            drop(busy);
            outage.note(&forgotten);
            let pause = if matches!(forgotten, Ok(true)) { self.poll() } else { FORGET_EVERY };
            if stopped_within(pause, stop).await {
                return;
            }
        }
    }

    fn poll(&self) -> Duration {
        Duration::from_millis(self.settings.poll_ms)
    }
}

/// Waits; `true` where it was told to stop meanwhile.
async fn stopped_within(pause: Duration, stop: &CancellationToken) -> bool {
    tokio::time::timeout(pause, stop.cancelled()).await.is_ok()
}
