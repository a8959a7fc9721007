//! One queue, one lane: gather deliveries, commit them, acknowledge them, delete their outbox entries. In that order; the
//! entries of one batch are deleted while the next one is written.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use boot::{Busy, Handled, Outage, Watchdog};
use broker::{Consumer, Delivery};
use domain::{Applied, Epoch, ReservationBatch, ReservationId, SaleId};
use failpoints::{Bug, Point};
use inventory::Inventory;
use ledger::{DeadLetter, Ledger};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A message that came back this often is applied alone: whatever is wrong with it must not hold others up.
const SUSPECT_AFTER_DELIVERIES: i64 = 3;
/// The first and the longest pause while PostgreSQL fails.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// How many times the watchdog's limit it may take to find the bad reservations of a batch. Where all of them are bad that
/// is three statements for each, all of them quick.
const BISECTION_LIMITS: u32 = 10;

/// What a lane works on.
pub(crate) struct Stores {
    pub(crate) ledger: Ledger,
    pub(crate) inventory: Inventory,
    pub(crate) batch_reservations: usize,
    pub(crate) watchdog: Watchdog,
    /// Where PostgreSQL is, for the log.
    pub(crate) postgres: String,
    /// Redis does not take what is deleted from the outbox.
    pub(crate) unsettled: Mutex<Outage>,
    /// Reservations, for the heartbeat.
    pub(crate) written: Handled,
}

/// Why a lane leaves its queue. Whatever it holds goes back to the queue with the channel.
enum Leave {
    /// The process stops, or the sale is no longer open at this epoch.
    Cancelled,
    /// The consumer's channel or connection is gone.
    Lost(broker::Error),
    /// A reconciler drains the sale.
    Fenced,
}

pub(crate) struct Lane {
    consumer: Consumer,
    writer: Writer,
    /// What has come while the last batch was written.
    ahead: Gathered,
    /// Outbox entries that are being deleted.
    settling: Option<JoinHandle<()>>,
}

/// What writes a lane's orders.
struct Writer {
    sale: SaleId,
    epoch: Epoch,
    stores: Arc<Stores>,
    cancelled: CancellationToken,
}

/// Deliveries that are persisted together, in the order they came.
#[derive(Default)]
struct Gathered {
    last_tag: u64,
    batches: Vec<ReservationBatch>,
    undecodable: Vec<(Delivery, String)>,
    reservations: usize,
    /// As much as one transaction takes, or a suspect is in it.
    is_full: bool,
}

impl Lane {
    pub(crate) fn new(
        (sale, epoch): (SaleId, Epoch),
        stores: Arc<Stores>,
        consumer: Consumer,
        cancelled: CancellationToken,
    ) -> Self {
        let writer = Writer { sale, epoch, stores, cancelled };
        Self { consumer, writer, ahead: Gathered::default(), settling: None }
    }

    /// Works until the lane has to leave its queue, then closes the channel.
    pub(crate) async fn run(mut self) {
        let leave = loop {
            if let Err(leave) = self.step().await {
                break leave;
            }
        };
        self.settled().await;
        let Writer { sale, epoch, .. } = self.writer;
        match leave {
            Leave::Cancelled => tracing::debug!(%sale, %epoch, "left the queue"),
            Leave::Fenced => tracing::info!(%sale, %epoch, "fenced by a reconciler"),
            Leave::Lost(error) => tracing::warn!(%sale, %epoch, %error, "lost the queue"),
        }
        self.consumer.close().await;
    }

    /// Takes what is there, persists it, acknowledges it.
    async fn step(&mut self) -> Result<(), Leave> {
        let gathered = self.next_batch().await?;
        failpoints::reach(Point::PersisterGathered);
        if failpoints::planted(Bug::AckBeforeCommit) {
            self.consumer.ack(gathered.last_tag, true).await.map_err(Leave::Lost)?;
        }
        // Decoding takes as long as PostgreSQL would wait for the next batch.
        let (written, came) =
            tokio::join!(self.writer.write(&gathered), self.ahead.take_what_is_there(&mut self.consumer, &self.writer));
        written?;
        // Committed: from here on a crash costs a redelivery or a sweep, nothing else.
        failpoints::reach(Point::PersisterCommitted);
        if !failpoints::planted(Bug::AckBeforeCommit) {
            let _busy = self.writer.stores.watchdog.busy("acknowledging to RabbitMQ");
            self.consumer.ack(gathered.last_tag, true).await.map_err(Leave::Lost)?;
        }
        failpoints::reach(Point::PersisterAcknowledged);
        self.settle(gathered.outbox_ids()).await;
        came
    }

    /// The first delivery and all that wait behind it, up to a transaction's worth.
    async fn next_batch(&mut self) -> Result<Gathered, Leave> {
        if self.writer.cancelled.is_cancelled() {
            return Err(Leave::Cancelled);
        }
        let mut gathered = std::mem::take(&mut self.ahead);
        if gathered.is_empty() {
            let first = self.writer.cancelled.run_until_cancelled(self.consumer.next()).await.flatten();
            gathered.add(first.ok_or(Leave::Cancelled)?.map_err(Leave::Lost)?, &self.writer);
        }
        gathered.take_what_is_there(&mut self.consumer, &self.writer).await?;
        Ok(gathered)
    }

    /// Deletes outbox entries while the next batch is written, one call at a time. Where that fails they are left to the
    /// keepers' sweep.
    async fn settle(&mut self, entries: Vec<String>) {
        self.settled().await;
        let Writer { sale, epoch, .. } = self.writer;
        let stores = Arc::clone(&self.writer.stores);
        self.settling = Some(tokio::spawn(async move {
            let settled = stores.inventory.settle(sale, epoch, &entries).await;
            stores.unsettled.lock().unwrap_or_else(PoisonError::into_inner).note(&settled);
        }));
    }

    /// Waits for [`Lane::settle`].
    async fn settled(&mut self) {
        if let Some(settling) = self.settling.take()
            && let Err(panic) = settling.await
        {
            tracing::error!(sale = %self.writer.sale, %panic, "outbox entries are left to the keepers");
        }
    }
}

impl Writer {
    /// Writes everything gathered: orders, and the letters that nobody can read.
    async fn write(&self, gathered: &Gathered) -> Result<(), Leave> {
        self.bury_undecodable(gathered).await?;
        for batch in &gathered.batches {
            let applied = self.until_it_succeeds(|| self.persist(batch)).await?;
            self.tell_refused(&applied);
            if applied.iter().any(|(_, outcome)| *outcome == Applied::Fenced) {
                return Err(Leave::Fenced);
            }
            self.stores.written.add(applied.len());
        }
        Ok(())
    }

    async fn bury_undecodable(&self, gathered: &Gathered) -> Result<(), Leave> {
        for (delivery, reason) in &gathered.undecodable {
            tracing::error!(sale = %self.sale, %reason, "a message cannot be read and goes to the dead letters");
            let letter = DeadLetter::unreadable(self.sale, self.epoch, reason.clone(), delivery.body.clone());
            let bury = async || {
                let _busy = self.waiting();
                self.stores.ledger.bury(&letter).await
            };
            self.until_it_succeeds(bury).await?;
        }
        Ok(())
    }

    /// Writes a batch, at first as one statement. Only where PostgreSQL refuses its data the bad reservations are looked
    /// for, which takes many.
    async fn persist(&self, batch: &ReservationBatch) -> Result<Vec<(ReservationId, Applied)>, ledger::Error> {
        let busy = self.waiting();
        let applied = self.stores.ledger.apply(batch, None).await;
        drop(busy);
        match applied {
            Err(ledger::Error::Data { .. } | ledger::Error::NotFound(_)) => {
                let _busy = self.stores.watchdog.busy_with_much(BISECTION_LIMITS, "looking for bad reservations");
                self.stores.ledger.persist(batch, None).await
            }
            applied => applied,
        }
    }

    /// To be held during one statement. The server bounds it; what nothing bounds is an answer that got lost with its
    /// connection.
    fn waiting(&self) -> Busy {
        self.stores.watchdog.busy("waiting for PostgreSQL")
    }

    /// Makes this call to PostgreSQL until it succeeds, holding on to the deliveries: a message that is put back would come
    /// again at once and hit the same wall. A call that has begun is never abandoned; who has to leave does so
    /// between two of them.
    async fn until_it_succeeds<T, F>(&self, call: impl Fn() -> F) -> Result<T, Leave>
    where
        F: Future<Output = Result<T, ledger::Error>>,
    {
        let (sale, postgres) = (self.sale, &self.stores.postgres);
        let mut outage = Outage::of(format!("orders of sale {sale} cannot be written, PostgreSQL is at {postgres}"));
        let mut lasting_told = false;
        loop {
            let answer = call().await;
            let pause = outage.note_and_pause(&answer, PAUSES);
            match answer {
                Ok(answer) => return Ok(answer),
                Err(error) if !error.is_transient() && !lasting_told => {
                    lasting_told = true;
                    tracing::error!(%sale, %error, "PostgreSQL fails in a way that does not pass by itself");
                }
                Err(_) => {}
            }
            let pause = tokio::time::sleep(pause.unwrap_or(PAUSES.1));
            if self.cancelled.run_until_cancelled(pause).await.is_none() {
                return Err(Leave::Cancelled);
            }
        }
    }

    /// A refused reservation was promised to a buyer: the protocol failed, and somebody has to know.
    fn tell_refused(&self, applied: &[(ReservationId, Applied)]) {
        for (id, _) in applied.iter().filter(|(_, outcome)| *outcome == Applied::NoStock) {
            tracing::error!(sale = %self.sale, reservation = %id, "no stock for a reservation");
        }
    }
}

impl Gathered {
    /// The outbox entries of everything in it.
    fn outbox_ids(self) -> Vec<String> {
        self.batches.into_iter().flat_map(|batch| batch.reservations).filter_map(|one| one.outbox_id).collect()
    }

    fn is_empty(&self) -> bool {
        self.batches.is_empty() && self.undecodable.is_empty()
    }

    /// Adds deliveries that wait already, until it is full. A suspect ends the gathering, and one that comes first stays
    /// alone. After each of them it is the statement's turn, which does not fit into the socket at once.
    async fn take_what_is_there(&mut self, consumer: &mut Consumer, writer: &Writer) -> Result<(), Leave> {
        while !self.is_full
            && let Some(delivery) = consumer.try_next().transpose().map_err(Leave::Lost)?
        {
            self.add(delivery, writer);
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Adds a delivery; reservations under the same terms share a batch.
    fn add(&mut self, delivery: Delivery, Writer { sale, epoch, stores, .. }: &Writer) {
        let is_suspect = delivery.delivery_count >= SUSPECT_AFTER_DELIVERIES;
        self.last_tag = delivery.tag;
        match broker::decode(&delivery.body, (*sale, *epoch)) {
            Ok(batch) => {
                self.reservations += batch.reservations.len();
                match self.batches.last_mut() {
                    Some(last) if last.terms == batch.terms => last.reservations.extend(batch.reservations),
                    _ => self.batches.push(batch),
                }
            }
            Err(error) => self.undecodable.push((delivery, error.to_string())),
        }
        self.is_full = is_suspect || self.reservations >= stores.batch_reservations;
    }
}
