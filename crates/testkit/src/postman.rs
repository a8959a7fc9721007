//! Carries webhooks from the test's Stripe to the shop, as badly as told.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::client::Client;
use crate::stripe::Stripe;

/// How often the postman looks for events.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// What is not late still comes out of order.
const JITTER_MS: u64 = 3;
const LATEST_MS: u64 = 3_000;
/// Stripe tries again after an answer other than 200 or none; for days, with longer pauses.
const AGAIN_AFTER: Duration = Duration::from_millis(200);
const MOST_TRIES: u32 = 100;

/// What becomes of webhooks, in percent of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Post {
    /// Never sent.
    pub lost: u32,
    /// Sent twice.
    pub doubled: u32,
    /// Sent up to three seconds late.
    pub late: u32,
}

/// Delivers each event of a Stripe to one of the APIs, chosen at random, until it is stopped.
pub struct Postman {
    stop: CancellationToken,
    deliveries: TaskTracker,
}

impl Postman {
    /// Begins. The seed decides what becomes of the first event, the second, and so on.
    ///
    /// # Panics
    /// There is no API.
    #[must_use]
    pub fn start(stripe: &Stripe, clients: &[Client], post: Post, seed: u64) -> Self {
        assert!(!clients.is_empty(), "somebody hears");
        let (stop, deliveries) = (CancellationToken::new(), TaskTracker::new());
        let (stripe, clients): (Stripe, Arc<[Client]>) = (stripe.clone(), clients.into());
        let (stopped, tracker) = (stop.clone(), deliveries.clone());
        let mut random = SmallRng::seed_from_u64(seed);
        deliveries.spawn(async move {
            while stopped.run_until_cancelled(sleep(LOOK_EVERY)).await.is_some() {
                for event in stripe.take_events() {
                    // One of its own each: what is drawn for one event does not move what is drawn for the next.
                    let mut random = SmallRng::seed_from_u64(random.random());
                    if chance(&mut random, post.lost) {
                        continue;
                    }
                    for _ in 0..=u32::from(chance(&mut random, post.doubled)) {
                        let latest = if chance(&mut random, post.late) { LATEST_MS } else { JITTER_MS };
                        let delay = Duration::from_millis(random.random_range(0..=latest));
                        let own = SmallRng::seed_from_u64(random.random());
                        tracker.spawn(deliver(Arc::clone(&clients), event.body.clone(), delay, own));
                    }
                }
            }
        });
        Self { stop, deliveries }
    }

    /// Takes no more events, and waits until all that were taken are delivered.
    pub async fn stop(self) {
        self.stop.cancel();
        self.deliveries.close();
        self.deliveries.wait().await;
    }
}

async fn deliver(clients: Arc<[Client]>, body: String, delay: Duration, mut random: SmallRng) {
    sleep(delay).await;
    for _ in 0..MOST_TRIES {
        let client = &clients[random.random_range(0..clients.len())];
        if client.webhook(&body).await.is_ok_and(|answer| answer.status == 200) {
            return;
        }
        sleep(AGAIN_AFTER).await;
    }
}

/// True for so many of a hundred.
fn chance(random: &mut SmallRng, percent: u32) -> bool {
    random.random_range(0..100) < percent
}
