//! One queue, one lane: gather deliveries, commit them, acknowledge them, delete their outbox entries. In that order.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use boot::{Busy, Handled, Outage, Watchdog};
use broker::{Consumer, Delivery};
use domain::{Applied, Epoch, ReservationBatch, ReservationId, SaleId};
use failpoints::{Bug, Point};
use inventory::Inventory;
use ledger::{DeadLetter, Ledger};
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
    sale: SaleId,
    epoch: Epoch,
    stores: Arc<Stores>,
    consumer: Consumer,
    cancelled: CancellationToken,
}

/// Deliveries that are persisted together, in the order they came.
#[derive(Default)]
struct Gathered {
    last_tag: u64,
    batches: Vec<ReservationBatch>,
    undecodable: Vec<(Delivery, String)>,
    reservations: usize,
}

impl Lane {
    pub(crate) fn new(
        (sale, epoch): (SaleId, Epoch),
        stores: Arc<Stores>,
        consumer: Consumer,
        cancelled: CancellationToken,
    ) -> Self {
        Self { sale, epoch, stores, consumer, cancelled }
    }

    /// Works until the lane has to leave its queue, then closes the channel.
    pub(crate) async fn run(mut self) {
        let leave = loop {
            if let Err(leave) = self.step().await {
                break leave;
            }
        };
        match leave {
            Leave::Cancelled => tracing::debug!(sale = %self.sale, epoch = %self.epoch, "left the queue"),
            Leave::Fenced => tracing::info!(sale = %self.sale, epoch = %self.epoch, "fenced by a reconciler"),
            Leave::Lost(error) => tracing::warn!(sale = %self.sale, epoch = %self.epoch, %error, "lost the queue"),
        }
        self.consumer.close().await;
    }

    /// Takes what is there, persists it, acknowledges it.
    async fn step(&mut self) -> Result<(), Leave> {
        let first = tokio::select! {
            biased;
            () = self.cancelled.cancelled() => return Err(Leave::Cancelled),
            delivery = self.consumer.next() => delivery,
        };
        let gathered = self.gather(first.ok_or(Leave::Cancelled)?.map_err(Leave::Lost)?)?;
        failpoints::reach(Point::PersisterGathered);
        if failpoints::planted(Bug::AckBeforeCommit) {
            self.consumer.ack(gathered.last_tag, true).await.map_err(Leave::Lost)?;
        }
        self.bury_undecodable(&gathered).await?;
        let mut outbox_ids: Vec<&str> = Vec::with_capacity(gathered.reservations);
        for batch in &gathered.batches {
            let applied = self.until_it_succeeds(|| self.persist(batch)).await?;
            self.tell_refused(&applied);
            if applied.iter().any(|(_, outcome)| *outcome == Applied::Fenced) {
                return Err(Leave::Fenced);
            }
            self.stores.written.add(applied.len());
            outbox_ids.extend(batch.reservations.iter().filter_map(|reservation| reservation.outbox_id.as_deref()));
        }
        // Committed: from here on a crash costs a redelivery or a sweep, nothing else.
        failpoints::reach(Point::PersisterCommitted);
        if !failpoints::planted(Bug::AckBeforeCommit) {
            let _busy = self.stores.watchdog.busy("acknowledging to RabbitMQ");
            self.consumer.ack(gathered.last_tag, true).await.map_err(Leave::Lost)?;
        }
        failpoints::reach(Point::PersisterAcknowledged);
        // Where that fails the entries are left to the keepers' sweep.
        let settled = self.stores.inventory.settle(self.sale, self.epoch, &outbox_ids).await;
        self.stores.unsettled.lock().unwrap_or_else(PoisonError::into_inner).note(&settled);
        Ok(())
    }

    /// The first delivery and all that wait behind it, up to a transaction's worth. A suspect ends the gathering,
    /// and one that comes first stays alone.
    fn gather(&mut self, first: Delivery) -> Result<Gathered, Leave> {
        let mut gathered = Gathered::default();
        let mut next = Some(first);
        while let Some(delivery) = next {
            let suspect = delivery.delivery_count >= SUSPECT_AFTER_DELIVERIES;
            gathered.add(delivery, (self.sale, self.epoch));
            if suspect || gathered.reservations >= self.stores.batch_reservations {
                break;
            }
            next = self.consumer.try_next().transpose().map_err(Leave::Lost)?;
        }
        Ok(gathered)
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
    /// Adds a delivery; reservations under the same terms share a batch.
    fn add(&mut self, delivery: Delivery, queue: (SaleId, Epoch)) {
        self.last_tag = delivery.tag;
        match broker::decode(&delivery.body, queue) {
            Ok(batch) => {
                self.reservations += batch.reservations.len();
                match self.batches.last_mut() {
                    Some(last) if last.terms == batch.terms => last.reservations.extend(batch.reservations),
                    _ => self.batches.push(batch),
                }
            }
            Err(error) => self.undecodable.push((delivery, error.to_string())),
        }
    }
}
