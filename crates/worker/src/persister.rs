//! The persister: finds the queues of open sales and runs one lane for each.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use boot::Outage;
use broker::Consumers;
use domain::{Epoch, SaleId, SaleState};
use inventory::Inventory;
use ledger::Ledger;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::lane::{Lane, Stores};

/// Writes reservations as orders.
pub struct Persister {
    stores: Arc<Stores>,
    broker: broker::Config,
    discover: Duration,
}

/// The lanes of one connection, by queue.
type Lanes = HashMap<(SaleId, Epoch), CancellationToken>;

impl Persister {
    /// A persister over these stores.
    #[must_use]
    pub fn new(ledger: Ledger, inventory: Inventory, broker: broker::Config, settings: &boot::Persister) -> Self {
        let stores = Arc::new(Stores { ledger, inventory, batch_reservations: settings.batch_reservations });
        Self { stores, broker, discover: Duration::from_millis(settings.discover_ms) }
    }

    /// Works until `stop` resolves, then finishes the batches in hand. Connections that are lost are opened again.
    ///
    /// # Errors
    /// `stop` failed.
    pub async fn run(&self, stop: impl Future<Output = io::Result<()>>) -> io::Result<()> {
        let stopping = CancellationToken::new();
        let work = async {
            let mut unconnected = Outage::of("RabbitMQ cannot be reached");
            while !stopping.is_cancelled() {
                let consumers = Consumers::connect(&self.broker).await;
                unconnected.note(&consumers);
                if let Ok(consumers) = consumers {
                    self.serve(consumers, &stopping).await;
                }
                pause(self.discover, &stopping).await;
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
        let mut blind = Outage::of("the open sales cannot be read");
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
            blind.note(&self.discover(&consumers, &mut lanes, &mut tasks).await);
            pause(self.discover, stopping).await;
        }
        lanes.values().for_each(CancellationToken::cancel);
        while tasks.join_next().await.is_some() {}
        consumers.close().await;
    }

    /// Opens a lane for each open sale that has none, and ends the lanes of epochs that are dead.
    async fn discover(
        &self,
        consumers: &Consumers,
        lanes: &mut Lanes,
        tasks: &mut JoinSet<(SaleId, Epoch)>,
    ) -> Result<(), anyhow::Error> {
        let sales = self.stores.ledger.sales().await?;
        let open: HashSet<(SaleId, Epoch)> =
            sales.iter().filter(|sale| sale.state == SaleState::Open).map(|sale| (sale.id, sale.epoch)).collect();
        for (queue, lane) in lanes.iter().filter(|(queue, _)| !open.contains(queue)) {
            tracing::debug!(sale = %queue.0, epoch = %queue.1, "leaving the queue");
            lane.cancel();
        }
        for queue in open.into_iter().filter(|queue| !lanes.contains_key(queue)).collect::<Vec<_>>() {
            let Some(consumer) = consumers.consume(queue.0, queue.1).await? else { continue };
            tracing::debug!(sale = %queue.0, epoch = %queue.1, "consuming the queue");
            let cancelled = CancellationToken::new();
            let lane = Lane::new(queue, Arc::clone(&self.stores), consumer, cancelled.clone());
            tasks.spawn(async move {
                lane.run().await;
                queue
            });
            lanes.insert(queue, cancelled);
        }
        Ok(())
    }
}

/// Waits for `pause`, or less where the process stops.
async fn pause(pause: Duration, stopping: &CancellationToken) {
    let _ = tokio::time::timeout(pause, stopping.cancelled()).await;
}
