//! The rebuild: fence, drain, install, open. Every step may be the last one a crash allows.

use std::time::{Duration, Instant};

use broker::{Delivery, Drain};
use domain::{Applied, Epoch, Installation, ReservationBatch, SaleId};
use failpoints::{Bug, Point};
use inventory::NewGate;
use ledger::{DeadLetter, Sale, Settled};
use uuid::Uuid;

use crate::plan::Reason;
use crate::reconciler::{Error, Reconciler};
use crate::report::Report;

/// How long persisters get to let go of a dead epoch's queue. Twice RabbitMQ's patience with a frozen peer (two
/// heartbeats of 10 s) fits in, so only a live persister that ignores the fence runs into it.
const HANDS_EMPTY_SECONDS: u64 = 25;
const HANDS_POLL: Duration = Duration::from_millis(100);
/// A publish that was being routed while the binding went away may arrive just after: an empty answer counts only
/// when a second one follows this much later.
const EMPTY_TWICE_APART: Duration = Duration::from_secs(1);
const OUTBOX_PAGE: usize = 256;
const BUYERS_PAGE: i64 = 5_000;

/// Where the new gate's stock comes from.
pub(crate) enum Seeding<'a> {
    /// From the orders: nothing promised is lost.
    Recover,
    /// From the whole stock: the orders are deleted on this operator's word.
    Reset { actor: &'a str },
}

/// A rebuild that holds the sale's drain lock and has raised its epoch.
pub(crate) struct Rebuild<'a> {
    stores: &'a Reconciler,
    sale: Sale,
    reason: Reason,
    /// Holds the lock, and every message that was taken but not acknowledged, exactly as long as its connection.
    drain: Drain,
    /// The new epoch.
    epoch: Epoch,
    token: Uuid,
    started: Instant,
}

impl<'a> Rebuild<'a> {
    /// Takes the drain lock and raises the epoch. `None`: another reconciler has the lock, or was done with the sale
    /// since `seen` was read.
    pub(crate) async fn begin(stores: &'a Reconciler, seen: &Sale, reason: Reason) -> Result<Option<Self>, Error> {
        let started = Instant::now();
        let Some(drain) = Drain::lock(&stores.broker, seen.id).await? else { return Ok(None) };
        let sale = stores.ledger.sale(seen.id).await?.ok_or(Error::UnknownSale(seen.id))?;
        let token = Uuid::new_v4();
        let epoch = if (sale.epoch, sale.state) == (seen.epoch, seen.state) {
            stores.ledger.begin_drain(sale.id, sale.epoch, token).await?
        } else {
            None
        };
        let Some(epoch) = epoch else {
            drain.release().await;
            return Ok(None);
        };
        tracing::info!(sale = %sale.id, %epoch, %reason, "rebuilding the gate");
        stores.made_progress();
        Ok(Some(Self { stores, sale, reason, drain, epoch, token, started }))
    }

    /// Does the rest: fence, drain, install, open.
    pub(crate) async fn run(self, seeding: Seeding<'_>) -> Result<Report, Error> {
        failpoints::reach(Point::ReconcileFenced);
        let stock_before = self.close_old_gate().await;
        // Early, so that it settles while the old one is drained.
        self.drain.declare(self.epoch).await?;
        let declared = Instant::now();
        let mut report = Report {
            reason: self.reason,
            from_epoch: self.sale.epoch,
            epoch: self.epoch,
            drained: 0,
            recovered: 0,
            stock_before,
            stock: 0,
            buyers: 0,
            took_ms: 0,
        };
        let settled = match seeding {
            Seeding::Recover => {
                let dead = self.last_opened().filter(|_| !failpoints::planted(Bug::RebuildWithoutDrain));
                if let Some(dead) = dead {
                    report.drained = self.drain_queue(dead).await?;
                    report.recovered = self.persist_outbox(dead).await?;
                }
                failpoints::reach(Point::ReconcileDrained);
                self.stores.ledger.settle_stock(self.sale.id, self.epoch, self.token).await?
            }
            Seeding::Reset { actor } => {
                if let Some(dead) = self.last_opened() {
                    self.drain.unbind(dead).await?;
                }
                self.stores.ledger.reset(self.sale.id, self.epoch, self.token, actor).await?
            }
        };
        let settled = settled.ok_or(Error::TakenOver)?;
        failpoints::reach(Point::ReconcileSettled);
        self.stores.made_progress();
        let installation = self.install(&settled, declared).await?;
        report.stock = settled.stock;
        report.buyers = settled.buyers;
        failpoints::reach(Point::ReconcileOpened);
        self.stores.made_progress();
        report.took_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.open(&installation, &report).await?;
        self.forget_dead_epochs().await;
        self.drain.release().await;
        Ok(report)
    }

    /// Epochs whose queue or keys may still exist. More than one where earlier reconcilers crashed.
    fn dead_epochs(&self) -> impl Iterator<Item = Epoch> + use<> {
        (self.sale.drained_through.0 + 1..self.epoch.0).map(Epoch)
    }

    /// The one dead epoch that ever decided anything: those after it belong to reconcilers that crashed before they
    /// could open.
    fn last_opened(&self) -> Option<Epoch> {
        self.sale.installation.is_some().then(|| self.sale.drained_through.next())
    }

    fn sale_id(&self) -> SaleId {
        self.sale.id
    }

    /// Closes the old gate where it still stands, so that buyers are refused rather than left in the unknown.
    /// The fence is the unbinding, so a failure here costs nothing.
    async fn close_old_gate(&self) -> Option<i64> {
        let installation = self.sale.installation.as_ref()?;
        let gates = self.stores.inventory.gates(&[(self.sale_id(), self.sale.epoch)]).await.ok()?;
        let gate = gates.into_iter().next().flatten()?;
        if let Err(error) = self.stores.inventory.close(self.sale_id(), self.sale.epoch, &installation.scripts).await {
            tracing::debug!(sale = %self.sale_id(), %error, "the old gate could not be closed");
        }
        Some(gate.stock)
    }

    /// Persists what a dead epoch's outbox still holds: reservations that perhaps no message carries.
    ///
    /// After the queue, so that whoever was promised units comes first; and after the fence, so that nothing is
    /// promised any more that is not read here or there.
    async fn persist_outbox(&self, dead: Epoch) -> Result<u64, Error> {
        let mut recovered = 0;
        let mut after: Option<String> = None;
        loop {
            let page = self.stores.inventory.outbox(self.sale_id(), dead, after.as_deref(), 0, OUTBOX_PAGE).await?;
            let Some(last) = page.last() else { return Ok(recovered) };
            after = Some(last.id.clone());
            for batch in inventory::batches(self.sale_id(), dead, page) {
                recovered += self.persist(&batch).await?;
                self.stores.made_progress();
            }
        }
    }

    /// Fences a dead epoch's queue, waits until nobody holds a message of it, and empties it into PostgreSQL.
    async fn drain_queue(&self, dead: Epoch) -> Result<u64, Error> {
        // From here on a late publish is returned, so it is never promised.
        self.drain.unbind(dead).await?;
        let mut drained = 0;
        while self.wait_for_empty_hands(dead).await? {
            drained += self.drain_until_empty(dead).await?;
            tokio::time::sleep(EMPTY_TWICE_APART).await;
            // A persister that had just read the sale as open may have come since. Both numbers in one answer, so that
            // no message can hide in hands that come or go between two questions.
            let depth = self.drain.depth(dead).await?;
            let deserted = depth.is_none_or(|depth| (depth.ready, depth.consumers) == (0, 0));
            match self.drain.get(dead).await? {
                Some(late) => drained += self.persist_delivery(dead, late).await?,
                None if deserted => break,
                None => {}
            }
        }
        Ok(drained)
    }

    async fn drain_until_empty(&self, dead: Epoch) -> Result<u64, Error> {
        let mut drained = 0;
        while let Some(delivery) = self.drain.get(dead).await? {
            drained += self.persist_delivery(dead, delivery).await?;
        }
        Ok(drained)
    }

    /// A message that a persister holds cannot be drained. RabbitMQ itself knows who may hold one: a consumer is
    /// gone only together with its channel, and then its messages are back in the queue. `false`: there is no queue.
    async fn wait_for_empty_hands(&self, dead: Epoch) -> Result<bool, Error> {
        let deadline = Instant::now() + Duration::from_secs(HANDS_EMPTY_SECONDS);
        loop {
            let depth = self.drain.depth(dead).await?;
            self.stores.made_progress();
            match depth.map(|depth| depth.consumers) {
                None => return Ok(false),
                Some(0) => return Ok(true),
                Some(consumers) if Instant::now() >= deadline => {
                    return Err(Error::HandsFull { consumers, epoch: dead, waited_seconds: HANDS_EMPTY_SECONDS });
                }
                Some(_) => tokio::time::sleep(HANDS_POLL).await,
            }
        }
    }

    async fn persist_delivery(&self, dead: Epoch, delivery: Delivery) -> Result<u64, Error> {
        let count = match broker::decode(&delivery.body, (self.sale_id(), dead)) {
            Ok(batch) => self.persist(&batch).await?,
            Err(error) => {
                let letter = DeadLetter::unreadable(self.sale_id(), dead, error.to_string(), delivery.body);
                self.stores.ledger.bury(&letter).await?;
                0
            }
        };
        self.drain.ack(delivery.tag).await?;
        self.stores.made_progress();
        Ok(count)
    }

    /// Writes orders as the only one who may; returns how many of them were new.
    async fn persist(&self, batch: &ReservationBatch) -> Result<u64, Error> {
        let applied = self.stores.ledger.persist(batch, Some(self.token)).await?;
        if applied.iter().any(|(_, outcome)| *outcome == Applied::Fenced) {
            return Err(Error::TakenOver);
        }
        Ok(applied.iter().filter(|(_, outcome)| *outcome == Applied::Inserted).count() as u64)
    }

    /// Writes the new epoch's gate and its buyers, and opens it once its queue can be relied on.
    async fn install(&self, settled: &Settled, declared: Instant) -> Result<Installation, Error> {
        let gate = NewGate { stock: settled.stock, rules: self.sale.rules() };
        let nonce = Uuid::new_v4().simple().to_string();
        let installation = self.stores.inventory.install(self.sale_id(), self.epoch, &nonce, &gate).await?;
        let mut after = None;
        loop {
            let page = self.stores.ledger.buyers_page(self.sale_id(), after, BUYERS_PAGE).await?;
            let Some((_, last)) = page.last() else { break };
            after = Some(*last);
            self.stores.inventory.load_buyers(self.sale_id(), self.epoch, &page).await?;
            self.stores.made_progress();
        }
        let settles = declared + Duration::from_millis(self.stores.broker.queue_settle_ms);
        tokio::time::sleep_until(settles.into()).await;
        // A broker that died meanwhile took the lock with it: then this fails, and nothing is opened.
        if self.drain.depth(self.epoch).await?.is_none() {
            return Err(Error::QueueVanished);
        }
        self.stores.inventory.open(self.sale_id(), self.epoch, &installation.scripts, settled.buyers).await?;
        Ok(installation)
    }

    /// The last step: until PostgreSQL says so, no process knows the new epoch's scripts. An operator who edits the sale
    /// meanwhile is heard first: what was paused does not open for a moment.
    async fn open(&self, installation: &Installation, report: &Report) -> Result<(), Error> {
        let Reconciler { ledger, inventory, .. } = self.stores;
        let (id, report) = (self.sale_id(), serde_json::json!(report));
        loop {
            let sale = ledger.sale(id).await?.filter(|sale| sale.drain_token == Some(self.token));
            let rules = sale.ok_or(Error::TakenOver)?.rules();
            inventory.configure(id, self.epoch, &installation.scripts, &rules).await?;
            if ledger.open(id, self.epoch, (self.token, rules.revision), installation, &report).await? {
                return Ok(());
            }
        }
    }

    /// The dead epochs are drained and can never be reached again: a failure here leaves garbage, nothing worse.
    async fn forget_dead_epochs(&self) {
        for dead in self.dead_epochs() {
            self.stores.made_progress();
            if let Err(error) = self.drain.delete(dead).await {
                tracing::warn!(sale = %self.sale_id(), epoch = %dead, %error, "a drained queue could not be deleted");
            }
            if let Err(error) = self.stores.inventory.remove(self.sale_id(), dead).await {
                tracing::warn!(sale = %self.sale_id(), epoch = %dead, %error, "dead keys could not be deleted");
            }
        }
    }
}
