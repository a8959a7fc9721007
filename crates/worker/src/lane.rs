//! One queue, one lane: gather deliveries, commit them, acknowledge them, delete their outbox entries. In that order.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use backon::Retryable;
use boot::{Outage, Watchdog};
use broker::{Consumer, Delivery};
use domain::{Applied, Epoch, ReservationBatch, ReservationId, SaleId};
use failpoints::{Bug, Point};
use inventory::Inventory;
use ledger::{DeadLetter, Ledger};
use tokio_util::sync::CancellationToken;

/// A message that came back this often is applied alone: whatever is wrong with it must not hold others up.
const SUSPECT_AFTER_DELIVERIES: i64 = 3;

/// What a lane works on.
pub(crate) struct Stores {
    pub(crate) ledger: Ledger,
    pub(crate) inventory: Inventory,
    pub(crate) batch_reservations: usize,
    pub(crate) watchdog: Watchdog,
    /// Redis does not take what is deleted from the outbox.
    pub(crate) unsettled: Mutex<Outage>,
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
            let applied = self.until_not_transient(|| self.stores.ledger.persist(batch, None)).await?;
            self.tell_refused(&applied);
            if applied.iter().any(|(_, outcome)| *outcome == Applied::Fenced) {
                return Err(Leave::Fenced);
            }
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
            self.until_not_transient(|| self.stores.ledger.bury(&letter)).await?;
        }
        Ok(())
    }

    /// Calls PostgreSQL until it answers, holding on to the deliveries: a message that is put back would come again
    /// at once and hit the same wall.
    async fn until_not_transient<T, F>(&self, call: impl Fn() -> F) -> Result<T, Leave>
    where
        F: Future<Output = Result<T, ledger::Error>>,
    {
        let attempt = || async {
            // One statement is bounded by the server; what is not is an answer that got lost with its connection.
            let _busy = self.stores.watchdog.busy("waiting for PostgreSQL");
            call().await
        };
        let backoff = boot::pauses(Duration::from_millis(50), Duration::from_secs(2));
        let attempts = attempt.retry(backoff).notify(|error, pause| {
            tracing::warn!(sale = %self.sale, %error, ?pause, "PostgreSQL failed, trying again");
        });
        tokio::select! {
            result = attempts => Ok(result.expect("retried without end")),
            () = self.cancelled.cancelled() => Err(Leave::Cancelled),
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
