//! The persister: finds the queues of open sales and runs one lane for each.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use boot::{Handled, Outage, Servers, Watchdog};
use broker::Consumers;
use domain::{Epoch, SaleId, SaleState};
use inventory::Inventory;
use ledger::Ledger;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::lane::{Lane, Stores};

/// The longest pause before another try to find a server again.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Writes reservations as orders.
pub struct Persister {
    stores: Arc<Stores>,
    broker: broker::Config,
    discover: Duration,
    servers: Servers,
}

/// The lanes of one connection, by queue.
type Lanes = HashMap<(SaleId, Epoch), CancellationToken>;

impl Persister {
    /// A persister over these stores, which counts the reservations that it has `written`.
    #[must_use]
    pub fn new(
        (ledger, inventory, broker): (Ledger, Inventory, broker::Config),
        settings: &boot::Persister,
        (servers, written): (Servers, Handled),
        watchdog: Watchdog,
    ) -> Self {
        let unsettled = Outage::of(format!(
            "outbox entries cannot be deleted from Redis at {}, they are left to the keepers",
            servers.redis
        ));
        let stores = Stores {
            ledger,
            inventory,
            batch_reservations: settings.batch_reservations,
            watchdog,
            postgres: servers.postgres.clone(),
            unsettled: Mutex::new(unsettled),
            written,
        };
        Self { stores: Arc::new(stores), broker, discover: Duration::from_millis(settings.discover_ms), servers }
    }

    /// Works until `stop` resolves, then finishes the batches in hand. Connections that are lost are opened again.
    ///
    /// # Errors
    /// `stop` failed.
    pub async fn run(&self, stop: impl Future<Output = io::Result<()>>) -> io::Result<()> {
        let stopping = CancellationToken::new();
        let work = async {
            let address = &self.servers.rabbitmq;
            let mut unconnected = Outage::of(format!("RabbitMQ cannot be reached at {address}"));
            while let Some(consumers) = stopping.run_until_cancelled(Consumers::connect(&self.broker)).await {
                let after = unconnected.note_and_pause(&consumers, (self.discover, LONGEST_PAUSE));
                if let Ok(consumers) = consumers {
                    tracing::info!(rabbitmq = address, "connected to RabbitMQ");
                    self.serve(consumers, &stopping).await;
                }
                pause(after.unwrap_or(self.discover), &stopping).await;
            }
        };
        let stopped = async {
            let result = stop.await;
            stopping.cancel();
            result
        };
        let ((), result) = tokio::join!(work, stopped);
        result
    }

    /// Runs the lanes of one connection until it is lost or the process stops.
    async fn serve(&self, consumers: Consumers, stopping: &CancellationToken) {
        let mut lanes = Lanes::new();
        let mut tasks = JoinSet::new();
        let address = &self.servers.postgres;
        let mut blind = Outage::of(format!("the open sales cannot be read, PostgreSQL is at {address}"));
        let mut refused = Outage::of("a queue cannot be consumed");
        while consumers.is_connected() && !stopping.is_cancelled() {
            while let Some(ended) = tasks.try_join_next() {
                match ended {
                    Ok(queue) => drop(lanes.remove(&queue)),
                    // A panic in a lane leaves deliveries in unknown hands: give the whole connection back.
                    Err(panic) => {
                        tracing::error!(%panic, "a lane failed, starting over");
                        return;
                    }
                }
            }
            let open = self.open_sales().await;
            let mut after = blind.note_and_pause(&open, (self.discover, LONGEST_PAUSE));
            if let Ok(open) = open {
                let manned = self.man(&open, &consumers, &mut lanes, &mut tasks).await;
                after = refused.note_and_pause(&manned, (self.discover, LONGEST_PAUSE));
            }
            pause(after.unwrap_or(self.discover), stopping).await;
        }
        lanes.values().for_each(CancellationToken::cancel);
        while tasks.join_next().await.is_some() {}
        consumers.close().await;
    }

    async fn open_sales(&self) -> Result<HashSet<(SaleId, Epoch)>, ledger::Error> {
        let _busy = self.stores.watchdog.busy("reading the open sales");
        let sales = self.stores.ledger.sales().await?;
        Ok(sales.iter().filter(|sale| sale.state == SaleState::Open).map(|sale| (sale.id, sale.epoch)).collect())
    }

    /// Opens a lane for each open sale that has none, and ends the lanes of epochs that are dead. A queue that cannot be
    /// consumed keeps none of the others from getting theirs; the last one's error is returned.
    async fn man(
        &self,
        open: &HashSet<(SaleId, Epoch)>,
        consumers: &Consumers,
        lanes: &mut Lanes,
        tasks: &mut JoinSet<(SaleId, Epoch)>,
    ) -> Result<(), broker::Error> {
        for (queue, lane) in lanes.iter().filter(|(queue, _)| !open.contains(queue)) {
            tracing::debug!(sale = %queue.0, epoch = %queue.1, "leaving the queue");
            lane.cancel();
        }
        let mut outcome = Ok(());
        for &queue in open {
            if lanes.contains_key(&queue) {
                continue;
            }
            let consumer = match consumers.consume(queue.0, queue.1).await {
                Ok(Some(consumer)) => consumer,
                Ok(None) => continue,
                Err(error) => {
                    tracing::debug!(sale = %queue.0, epoch = %queue.1, %error, "cannot consume the queue");
                    outcome = Err(error);
                    continue;
                }
            };
            tracing::debug!(sale = %queue.0, epoch = %queue.1, "consuming the queue");
            let cancelled = CancellationToken::new();
            let lane = Lane::new(queue, Arc::clone(&self.stores), consumer, cancelled.clone());
            tasks.spawn(async move {
                lane.run().await;
                queue
            });
            lanes.insert(queue, cancelled);
        }
        outcome
    }
}

/// Waits for `pause`, or less where the process stops.
async fn pause(pause: Duration, stopping: &CancellationToken) {
    let _ = tokio::time::timeout(pause, stopping.cancelled()).await;
}
