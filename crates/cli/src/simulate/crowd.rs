//! Buyers who click, click again where they were left in doubt, and pay for what they got.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::{Instant as Clock, sleep, sleep_until};
use uuid::Uuid;

use super::Plan;
use super::history::{History, Paid, Told};
use super::shop::Shop;

/// How long a buyer who is left in doubt goes on asking, and how long a payment may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a sale that is open may say that it is not: a replica sees that a moment later.
const PATIENCE_WITH_CLOSED: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long units of failed payments may take until they are on sale again.
const BACK_WITHIN: Duration = Duration::from_secs(10);
/// How long buyers come back for units of failed payments.
const COMING_BACK: Duration = Duration::from_secs(120);

/// What a progress bar shows.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) done: AtomicUsize,
    pub(super) won: AtomicUsize,
    pub(super) refused: AtomicUsize,
    pub(super) paid: AtomicUsize,
}

/// All buyers of a simulation.
pub(super) struct Crowd {
    plan: Plan,
    shop: Shop,
    /// Names the run: no two have the same buyers.
    run: String,
    counts: Arc<Counts>,
}

/// What came of one buyer's clicks.
struct Outcome {
    won: Option<Uuid>,
    refused: bool,
}

/// What one worker brings home.
#[derive(Default)]
struct Harvest {
    history: History,
    refused: Vec<u32>,
    /// When it had served its last buyer, since the wave began.
    clicked: Duration,
}

impl Crowd {
    pub(super) fn new(plan: Plan, shop: Shop, run: String, counts: Arc<Counts>) -> Self {
        Self { plan, shop, run, counts }
    }

    pub(super) fn name_of(&self, buyer: u32) -> String {
        format!("sim-{}-{buyer}", self.run)
    }

    pub(super) fn shop(&self) -> &Shop {
        &self.shop
    }

    /// Lets everybody buy, and those who were refused come back for units of failed payments.
    pub(super) async fn buy(self: &Arc<Self>) -> History {
        let mut buyers: Vec<u32> = (0..self.plan.buyers).collect();
        buyers.shuffle(&mut SmallRng::seed_from_u64(self.plan.seed));
        let mut history = History::default();
        let until = Instant::now() + COMING_BACK;
        loop {
            let refused = self.wave(buyers, &mut history).await;
            // Units of failed payments that nobody has bought again meanwhile.
            let (payments, quantity) = (&history.payments, self.plan.quantity as usize);
            let kept = quantity * payments.iter().filter(|paid| !paid.has_failed()).count();
            let is_over = !payments.iter().any(Paid::has_failed) || kept + quantity > self.plan.stock as usize;
            if is_over || refused.is_empty() {
                return history;
            }
            if Instant::now() >= until || !self.units_come_back().await {
                history.cut_short = true;
                return history;
            }
            self.counts.refused.fetch_sub(refused.len(), Ordering::Relaxed);
            self.counts.done.fetch_sub(refused.len(), Ordering::Relaxed);
            buyers = refused;
        }
    }

    /// Each of these buyers clicks, and pays where they won. Returns those who were refused.
    async fn wave(self: &Arc<Self>, buyers: Vec<u32>, history: &mut History) -> Vec<u32> {
        let clicks_at_once = self.plan.duplicates as usize + 1;
        let workers = (self.plan.connections / clicks_at_once).clamp(1, buyers.len().max(1));
        let (buyers, next, began) = (Arc::new(buyers), Arc::new(AtomicU32::new(0)), Clock::now());
        let mut wave = JoinSet::new();
        for _ in 0..workers {
            let (crowd, buyers, next) = (Arc::clone(self), Arc::clone(&buyers), Arc::clone(&next));
            wave.spawn(async move { crowd.work(&buyers, &next, began).await });
        }
        let (mut refused, mut clicked) = (Vec::new(), Duration::ZERO);
        while let Some(worker) = wave.join_next().await {
            let harvest = worker.expect("no worker panics");
            history.absorb(harvest.history);
            refused.extend(harvest.refused);
            clicked = clicked.max(harvest.clicked);
        }
        history.clicking += clicked;
        refused
    }

    /// Serves one buyer after the other, as many as the other workers leave.
    async fn work(self: Arc<Self>, buyers: &[u32], next: &AtomicU32, began: Clock) -> Harvest {
        let mut harvest = Harvest::default();
        let mut paying = JoinSet::new();
        loop {
            let turn = next.fetch_add(1, Ordering::Relaxed);
            let Some(&buyer) = buyers.get(turn as usize) else { break };
            if let Some(rate) = self.plan.rate {
                sleep_until(began + Duration::from_secs_f64(f64::from(turn) / rate)).await;
            }
            let outcome = self.serve(buyer, &mut harvest.history).await;
            self.counts.done.fetch_add(1, Ordering::Relaxed);
            if outcome.refused {
                self.counts.refused.fetch_add(1, Ordering::Relaxed);
                harvest.refused.push(buyer);
            }
            if let Some(order) = outcome.won {
                self.counts.won.fetch_add(1, Ordering::Relaxed);
                if self.plan.pays {
                    let crowd = Arc::clone(&self);
                    paying.spawn(async move { crowd.pay(buyer, order).await });
                }
            }
        }
        harvest.clicked = began.elapsed();
        while let Some(paid) = paying.join_next().await {
            harvest.history.payments.push(paid.expect("no payment panics"));
        }
        harvest
    }

    /// All clicks of one buyer, at once: one with an idempotency key and, of its duplicates, one half with the same key
    /// and one half without any.
    async fn serve(&self, buyer: u32, history: &mut History) -> Outcome {
        let (user, key) = (self.name_of(buyer), format!("{}-{buyer}", self.run));
        let keys = (0..=self.plan.duplicates).map(|click| (click % 2 == 0).then_some(key.as_str()));
        let all = join_all(keys.map(|key| self.click_until_decided(&user, key))).await;
        let mut outcome = Outcome { won: None, refused: true };
        for (told, took, gave_up) in all.into_iter().flatten() {
            if let Told::Promised(order) = told {
                outcome.won = Some(order);
            }
            outcome.refused &= told.is_refusal() || !told.is_decided();
            history.record(buyer, told, took, gave_up);
        }
        outcome.refused &= outcome.won.is_none();
        outcome
    }

    /// Clicks as often as it takes, with the same key: what a good client does.
    async fn click_until_decided(&self, user: &str, key: Option<&str>) -> Vec<(Told, Duration, bool)> {
        let began = Instant::now();
        let mut answers = Vec::with_capacity(1);
        loop {
            let answer = self.shop.click(user, key).await;
            let patience = if answer.told == Told::NotActive { PATIENCE_WITH_CLOSED } else { PATIENCE };
            let is_over = began.elapsed() + answer.rest >= patience;
            let is_decided = answer.told.is_decided();
            answers.push((answer.told, answer.took, !is_decided && is_over));
            if is_decided || is_over {
                return answers;
            }
            sleep(answer.rest).await;
        }
    }

    /// Pays for an order and waits until that is decided.
    async fn pay(&self, buyer: u32, order: Uuid) -> Paid {
        let wanted = self.shop.can_speak_for_the_provider().then(|| !self.fails(buyer));
        let ended = tokio::time::timeout(PATIENCE, self.pay_until_decided(buyer, order, wanted)).await;
        let ended = ended.unwrap_or_else(|_| Err(format!("not decided within {} s", PATIENCE.as_secs())));
        self.counts.paid.fetch_add(1, Ordering::Relaxed);
        Paid { order, wanted, ended }
    }

    async fn pay_until_decided(&self, buyer: u32, order: Uuid, wanted: Option<bool>) -> Result<String, String> {
        let user = self.name_of(buyer);
        let payment = loop {
            match self.shop.pay(&user, order).await {
                Ok((payment, _)) => break payment,
                Err(Ok(rest)) => sleep(rest.min(LOOK_EVERY)).await,
                Err(Err(never)) => return Err(never),
            }
        };
        if let Some(succeeds) = wanted {
            while !self.shop.report(&payment, order, succeeds).await {
                sleep(LOOK_EVERY).await;
            }
        }
        loop {
            match self.shop.status_of(&user, order).await {
                Some(status) if matches!(status.as_str(), "CONFIRMED" | "CANCELLED" | "EXPIRED") => return Ok(status),
                _ => sleep(LOOK_EVERY).await,
            }
        }
    }

    /// Whether this buyer's payment is to fail: the same ones for the same seed.
    fn fails(&self, buyer: u32) -> bool {
        let mut random = SmallRng::seed_from_u64(self.plan.seed ^ (u64::from(buyer) << 32) ^ 0x5EED);
        random.random_range(0..100) < self.plan.pay_failures.unwrap_or(0)
    }

    async fn units_come_back(&self) -> bool {
        let back = async {
            while self.shop.on_sale().await.is_none_or(|(units, _)| units < i64::from(self.plan.quantity)) {
                sleep(LOOK_EVERY).await;
            }
        };
        tokio::time::timeout(BACK_WITHIN, back).await.is_ok()
    }
}
