//! Buyers who never stop clicking, and a witness who never stops counting.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use domain::SaleId;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use sqlx::PgConnection;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::client::Client;
use crate::database::Database;
use crate::history::{History, Outcome};
use crate::wait::until;

/// An attempt that has no outcome by then counts as one without an answer; nothing may take this long.
pub const HUNG_AFTER: Duration = Duration::from_secs(20);
/// Longest wait for buyers to get somewhere.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the witness counts.
const COUNT_EVERY: Duration = Duration::from_millis(50);

/// How a load behaves.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Buyers that click at the same time.
    pub buyers: usize,
    /// How long each of them rests between two clicks.
    pub rest: Duration,
    /// Decides who clicks twice and who gives up.
    pub seed: u64,
}

impl Default for Pace {
    /// About a thousand clicks a second where answers are quick.
    fn default() -> Self {
        Self { buyers: 16, rest: Duration::from_millis(15), seed: 1 }
    }
}

/// A running load. Every buyer is new, but for those who were told to try again, or try their luck twice.
pub struct Load {
    history: History,
    stop: CancellationToken,
    buyers: JoinSet<()>,
    witness: tokio::task::JoinHandle<Result<usize, String>>,
}

impl Load {
    /// Starts buyers of `sale` at these APIs, chosen at random for each click.
    #[must_use]
    pub fn start(database: &Database, apis: &[&Client], sale: SaleId, pace: Pace) -> Self {
        let (history, stop) = (History::default(), CancellationToken::new());
        let newcomers = Arc::new(AtomicUsize::new(0));
        let apis: Arc<[Client]> = apis.iter().map(|&api| api.clone()).collect();
        let mut buyers = JoinSet::new();
        for number in 0..pace.buyers {
            let buyer = Buyer {
                apis: Arc::clone(&apis),
                sale,
                history: history.clone(),
                newcomers: Arc::clone(&newcomers),
                random: SmallRng::seed_from_u64(pace.seed.wrapping_mul(1_000).wrapping_add(number as u64)),
                rest: pace.rest,
            };
            buyers.spawn(buyer.run(stop.clone()));
        }
        let witness = tokio::spawn(never_oversold(database.clone(), sale, stop.clone()));
        Self { history, stop, buyers, witness }
    }

    /// What was seen so far.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Waits until so many buyers were promised an order.
    pub async fn until_promised(&self, count: usize) {
        let enough = async || (self.history.promised() >= count).then_some(());
        until(&format!("{count} buyers were promised an order"), PATIENCE, enough).await;
    }

    /// Waits until somebody who clicked after now was promised an order, and tells how long that took.
    pub async fn until_it_sells_again(&self) -> Duration {
        let since = self.history.now();
        let sold = async || self.history.promised_after(since);
        until("the sale sells again", PATIENCE, sold).await - since
    }

    /// Waits until somebody who clicked after now knows where they stand, and tells how long that took.
    pub async fn until_it_decides_again(&self) -> Duration {
        let since = self.history.now();
        let decided = async || self.history.decided_after(since);
        until("the sale decides again", PATIENCE, decided).await - since
    }

    /// Waits until somebody who clicked after now is told that everything is sold.
    pub async fn until_sold_out(&self) {
        let since = self.history.now();
        let told = async || {
            let attempts = self.history.attempts();
            attempts.iter().any(|one| one.began >= since && one.outcome == Outcome::SoldOut).then_some(())
        };
        until("the sale is sold out", PATIENCE, told).await;
    }

    /// Waits until somebody was left in the dark since `since`: a fault has been felt.
    pub async fn until_felt(&self, since: Duration) {
        let attempts = async || {
            let attempts = self.history.attempts();
            attempts.iter().any(|one| one.ended >= since && !one.outcome.is_decided()).then_some(())
        };
        until("buyers feel the fault", PATIENCE, attempts).await;
    }

    /// Lets everybody finish their click and returns what was seen.
    ///
    /// # Panics
    /// The witness saw more units sold than there are.
    pub async fn stop(mut self) -> History {
        self.stop.cancel();
        while let Some(buyer) = self.buyers.join_next().await {
            buyer.expect("no buyer panics");
        }
        let counts = self.witness.await.expect("the witness does not panic").expect("I1: never oversold, at any time");
        assert!(counts > 0, "the witness has counted");
        self.history
    }
}

struct Buyer {
    apis: Arc<[Client]>,
    sale: SaleId,
    history: History,
    newcomers: Arc<AtomicUsize>,
    random: SmallRng,
    rest: Duration,
}

impl Buyer {
    async fn run(mut self, stop: CancellationToken) {
        let mut user = self.newcomer();
        while !stop.is_cancelled() {
            let outcome = self.click(&user).await;
            let comes_back = match outcome {
                Outcome::Unknown => self.random.random_bool(0.7),
                Outcome::Promised(_) => self.random.random_bool(0.05),
                _ => false,
            };
            if !comes_back {
                user = self.newcomer();
            }
            let _ = tokio::time::timeout(self.rest, stop.cancelled()).await;
        }
    }

    fn newcomer(&self) -> String {
        format!("buyer-{}", self.newcomers.fetch_add(1, Ordering::Relaxed))
    }

    async fn click(&mut self, user: &str) -> Outcome {
        let api = &self.apis[self.random.random_range(0..self.apis.len())];
        let began = self.history.now();
        let answer = tokio::time::timeout(HUNG_AFTER, api.try_purchase(self.sale, user)).await;
        let Ok(answer @ Ok(_)) = answer else {
            self.history.record_unanswered(user, began);
            return Outcome::Unknown;
        };
        let outcome = Outcome::of(&answer);
        self.history.record(user, began, outcome.clone());
        outcome
    }
}

/// Counts the units of active orders until `stop` and answers how often; or what it says if they ever exceed the stock.
async fn never_oversold(database: Database, sale: SaleId, stop: CancellationToken) -> Result<usize, String> {
    let mut counts = 0;
    let mut connection: Option<PgConnection> = None;
    while !stop.is_cancelled() {
        if let Some(open) = &mut connection {
            let count = sqlx::query_as::<_, (i64, i64)>(
                "SELECT total_stock::bigint, (SELECT coalesce(sum(quantity), 0) FROM orders
                     WHERE sale_id = $1 AND status IN ('HELD', 'PAYING', 'CONFIRMED'))
                 FROM sales WHERE id = $1",
            );
            match tokio::time::timeout(PATIENCE, count.bind(sale.0).fetch_one(open)).await {
                Ok(Ok((total, active))) if active > total => {
                    return Err(format!("{active} of {total} units are sold"));
                }
                Ok(Ok(_)) => counts += 1,
                _ => connection = None,
            }
        } else {
            connection = tokio::time::timeout(PATIENCE, database.try_connect()).await.ok().and_then(Result::ok);
        }
        let _ = tokio::time::timeout(COUNT_EVERY, stop.cancelled()).await;
    }
    Ok(counts)
}
