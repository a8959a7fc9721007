//! The keeper: looks after every sale on each tick. Any number may run; each step is idempotent.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use backon::{BackoffBuilder, ExponentialBackoff};
use boot::{Busy, Handled, Outage, REMIND_EVERY, Servers, Watchdog};
use broker::{Drain, PublishError, Publisher};
use domain::{ReservationId, SaleId, SaleState};
use failpoints::Point;
use inventory::{Inventory, OutboxEntry};
use ledger::{Ledger, Sale};
use reconcile::{Outcome, Reconciler};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// Entries looked at in one sweep; the next tick goes on.
const SWEEP_PAGE: usize = 2_000;
/// Pauses after failures: short enough that a sale is back within seconds of its servers.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How many times the watchdog's limit a round for one sale may go without progress. A rebuild over a long backlog takes
/// minutes, and makes progress with each message.
const ROUND_LIMITS: u32 = 3;

/// Looks after sales.
pub struct Keeper {
    tender: Arc<Tender>,
    tick: Duration,
    /// Whether the sales can be read.
    blind: Outage,
    /// Sales that are being looked after right now: a slow one must not hold up the others.
    busy: HashSet<SaleId>,
    tasks: JoinSet<SaleId>,
    rounds: Handled,
}

/// What looking after one sale takes.
struct Tender {
    ledger: Ledger,
    inventory: Inventory,
    reconciler: Reconciler,
    broker: broker::Config,
    publisher: Publisher,
    settings: boot::Keeper,
    watchdog: Watchdog,
    republished: Mutex<HashMap<SaleId, Instant>>,
    failing: Mutex<HashMap<SaleId, Failure>>,
}

/// What went wrong with a sale. It is told once and not once a tick, and tried again after longer and longer pauses: a
/// rebuild that cannot succeed must not raise the epoch each second.
struct Failure {
    error: String,
    told: Instant,
    pauses: ExponentialBackoff,
    again_at: Instant,
}

impl Keeper {
    /// A keeper over these stores, which counts its `rounds`. Must be called within a tokio runtime.
    #[must_use]
    pub fn new(
        (ledger, inventory, broker): (Ledger, Inventory, broker::Config),
        settings: boot::Keeper,
        (servers, rounds): (&Servers, Handled),
        watchdog: Watchdog,
    ) -> Self {
        let tick = Duration::from_millis(settings.tick_ms);
        let tender = Arc::new(Tender {
            reconciler: Reconciler::new(ledger.clone(), inventory.clone(), broker.clone()),
            publisher: Publisher::start(&broker),
            broker,
            ledger,
            inventory,
            settings,
            watchdog,
            republished: Mutex::default(),
            failing: Mutex::default(),
        });
        let blind = Outage::of(format!("the sales cannot be read, PostgreSQL is at {}", servers.postgres));
        Self { tender, tick, blind, busy: HashSet::new(), tasks: JoinSet::new(), rounds }
    }

    /// Ticks until `stop` is cancelled, then waits for what is under way.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(self.tick);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let ticked = self.tick().await;
            if let Some(pause) = self.blind.note_and_pause(&ticked, (self.tick, LONGEST_PAUSE)) {
                ticks.reset_after(pause);
            }
        }
        while self.tasks.join_next().await.is_some() {}
        self.tender.publisher.close().await;
    }

    /// Starts to look after each sale that is not being looked after already.
    async fn tick(&mut self) -> Result<()> {
        while let Some(ended) = self.tasks.try_join_next() {
            match ended {
                Ok(id) => drop(self.busy.remove(&id)),
                Err(panic) => {
                    tracing::error!(%panic, "looking after a sale failed");
                    // Whose task it was is not known. Looking after a sale twice at once does no harm.
                    self.busy.clear();
                }
            }
        }
        let reading = self.tender.watchdog.busy_with_much(2, "reading the sales");
        let mut sales = self.tender.reconciler.sales().await?;
        sales.extend(self.tender.ledger.ended_before(i64::from(self.tender.settings.cleanup_after_seconds)).await?);
        drop(reading);
        self.rounds.add(1);
        for sale in sales {
            if self.busy.insert(sale.id) {
                let tender = Arc::clone(&self.tender);
                self.tasks.spawn(async move {
                    tender.tend_and_tell(&sale).await;
                    sale.id
                });
            }
        }
        Ok(())
    }
}

impl Tender {
    async fn tend_and_tell(&self, sale: &Sale) {
        if self.failing().get(&sale.id).is_some_and(|failure| Instant::now() < failure.again_at) {
            return;
        }
        let busy = Arc::new(self.watchdog.busy_with_much(ROUND_LIMITS, "looking after a sale"));
        match self.tend(sale, &busy).await {
            Ok(()) => {
                if self.failing().remove(&sale.id).is_some() {
                    tracing::info!(sale = %sale.id, "looked after again");
                }
            }
            Err(error) => self.failed(sale, error.to_string()),
        }
    }

    fn failed(&self, sale: &Sale, error: String) {
        let mut failing = self.failing();
        let last = failing.remove(&sale.id);
        let (told, mut pauses) = match last {
            Some(last) => ((last.error == error).then_some(last.told), last.pauses),
            None => (None, boot::pauses(FIRST_PAUSE, LONGEST_PAUSE).build()),
        };
        let told = told.filter(|told| told.elapsed() < REMIND_EVERY).unwrap_or_else(|| {
            tracing::warn!(sale = %sale.id, error, "could not be looked after, trying again");
            Instant::now()
        });
        let again_at = Instant::now() + pauses.next().unwrap_or(LONGEST_PAUSE);
        failing.insert(sale.id, Failure { error, told, pauses, again_at });
    }

    fn failing(&self) -> MutexGuard<'_, HashMap<SaleId, Failure>> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One round for one sale: is the gate what it was, are units to come back, is a reservation left behind. Of a sale
    /// that ended long ago only its traces are left to remove.
    async fn tend(&self, sale: &Sale, busy: &Arc<Busy>) -> Result<()> {
        if sale.state == SaleState::Ended {
            return self.clean_up(sale).await;
        }
        let going_on = Arc::clone(busy);
        let reconciler = self.reconciler.telling(move || going_on.renew());
        let outcome = reconciler.reconcile(sale).await?;
        if outcome == Outcome::Intact {
            // Whatever the gate could not be told, what was promised is published again.
            let told = reconciler.bring_up_to_date(sale).await;
            self.sweep(sale, &reconciler, busy).await?;
            told?;
        }
        Ok(())
    }

    /// Looks into reservations that have been on their way for long: known to PostgreSQL, their entry goes; unknown,
    /// they are published again.
    async fn sweep(&self, sale: &Sale, reconciler: &Reconciler, busy: &Busy) -> Result<()> {
        let age = i64::try_from(self.settings.sweep_after_ms).unwrap_or(i64::MAX);
        let mut page = self.inventory.outbox(sale.id, sale.epoch, None, age, SWEEP_PAGE).await?;
        // As a rule nothing is left behind, and then RabbitMQ need not be asked.
        if page.is_empty() {
            return Ok(());
        }
        let republish = self.may_republish(sale).await?;
        while let Some(last) = page.last() {
            let after = last.id.clone();
            let ids: Vec<ReservationId> = page.iter().map(|entry| entry.reservation.id).collect();
            let known = self.ledger.known(&ids).await?;
            let (settled, lost): (Vec<OutboxEntry>, Vec<OutboxEntry>) =
                page.into_iter().partition(|entry| known.contains(&entry.reservation.id));
            let settled: Vec<&str> = settled.iter().map(|entry| entry.id.as_str()).collect();
            self.inventory.settle(sale.id, sale.epoch, &settled).await?;
            busy.renew();
            if !republish {
                // A backlog: messages are on their way, and reading all of it each second helps nobody.
                return Ok(());
            }
            self.republish(sale, lost, reconciler, busy).await?;
            page = self.inventory.outbox(sale.id, sale.epoch, Some(&after), age, SWEEP_PAGE).await?;
        }
        Ok(())
    }

    /// Messages that still wait in the queue need no second copy: a reservation counts as left behind where the
    /// queue is empty. A queue that never empties must not hide one for ever, hence the longest pause.
    async fn may_republish(&self, sale: &Sale) -> Result<bool> {
        let waiting = self.reconciler.monitor().depth(sale.id, sale.epoch).await?.map_or(0, |depth| depth.ready);
        let longest_pause = Duration::from_secs(self.settings.republish_seconds);
        let last = *self.republished().entry(sale.id).or_insert_with(Instant::now);
        Ok(waiting == 0 || last.elapsed() >= longest_pause)
    }

    async fn republish(&self, sale: &Sale, lost: Vec<OutboxEntry>, reconciler: &Reconciler, busy: &Busy) -> Result<()> {
        if lost.is_empty() {
            return Ok(());
        }
        tracing::info!(sale = %sale.id, reservations = lost.len(), "publishing again what no message carries");
        self.republished().insert(sale.id, Instant::now());
        for batch in inventory::batches(sale.id, sale.epoch, lost) {
            busy.renew();
            match self.publisher.publish(&batch).await {
                // Confirmed, or perhaps: either way the next sweep sees what became of it.
                Ok(()) | Err(PublishError::Unknown(_)) => failpoints::reach(Point::KeeperRepublished),
                // The queue stands, or the gate would not have been intact, but nothing leads to it any more.
                Err(PublishError::Returned) => {
                    reconciler.rebuild_unroutable(sale).await?;
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn republished(&self) -> MutexGuard<'_, HashMap<SaleId, Instant>> {
        self.republished.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Deletes what an ended sale has left in RabbitMQ and Redis.
    async fn clean_up(&self, sale: &Sale) -> Result<()> {
        // Under the drain lock: a reset may be bringing this very sale back.
        let Some(drain) = Drain::lock(&self.broker, sale.id).await? else { return Ok(()) };
        drain.delete(sale.epoch).await?;
        self.inventory.remove(sale.id, sale.epoch).await?;
        self.ledger.mark_cleaned(sale.id, sale.epoch).await?;
        self.republished().remove(&sale.id);
        drain.release().await;
        tracing::info!(sale = %sale.id, "the ended sale's queue and keys are gone");
        Ok(())
    }
}
