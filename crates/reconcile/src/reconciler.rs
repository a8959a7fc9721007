//! Look, plan, act: for one sale or for all.

use std::sync::Arc;

use broker::Monitor;
use domain::{SaleId, SaleState};
use inventory::Inventory;
use ledger::{Ledger, Sale};

use crate::plan::{Plan, Reason, Seen, plan};
use crate::rebuild::{Rebuild, Seeding};
use crate::report::Report;

/// Reconciles sales. Cheap to clone.
#[derive(Clone)]
pub struct Reconciler {
    pub(crate) ledger: Ledger,
    pub(crate) inventory: Inventory,
    pub(crate) broker: broker::Config,
    pub(crate) monitor: Arc<Monitor>,
    tell: Arc<dyn Fn() + Send + Sync>,
}

/// What became of one sale.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The gate stands as recorded, or the sale has ended: nothing was changed.
    Intact,
    /// A new gate was installed.
    Rebuilt(Report),
    /// The sale was over and is marked so now.
    Ended,
    /// Another reconciler is at work on this sale, or was faster.
    Busy,
}

/// Why a sale could not be reconciled. Whatever was done so far is safe; the next attempt starts over.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// PostgreSQL failed.
    #[error(transparent)]
    Ledger(#[from] ledger::Error),
    /// Redis failed, or lost the gate while it was being installed.
    #[error(transparent)]
    Inventory(#[from] inventory::Error),
    /// RabbitMQ failed.
    #[error(transparent)]
    Broker(#[from] broker::Error),
    /// Persisters still hold deliveries of a dead epoch.
    #[error("{consumers} persisters still consume epoch {epoch} after {waited_seconds} s")]
    HandsFull {
        /// How many.
        consumers: u32,
        /// Whose queue.
        epoch: domain::Epoch,
        /// How long they were waited for.
        waited_seconds: u64,
    },
    /// The new queue was deleted before the gate could be opened.
    #[error("the new queue is gone before the gate was opened")]
    QueueVanished,
    /// Another reconciler took the sale over.
    #[error("another reconciler took over")]
    TakenOver,
    /// There is no such sale.
    #[error("there is no sale {0}")]
    UnknownSale(SaleId),
    /// The sale has reservations on their way and the reset was not forced.
    #[error("at least {0} reservations are on their way to PostgreSQL")]
    InFlight(u64),
}

impl Reconciler {
    /// A reconciler over these three stores.
    #[must_use]
    pub fn new(ledger: Ledger, inventory: Inventory, broker: broker::Config) -> Self {
        let monitor = Arc::new(Monitor::new(&broker));
        Self { ledger, inventory, broker, monitor, tell: Arc::new(|| ()) }
    }

    /// The same reconciler, calling `tell` whenever it has made progress. However long a rebuild takes: where it is not
    /// stuck, two calls are never farther apart than a few answers of its servers.
    #[must_use]
    pub fn telling(&self, tell: impl Fn() + Send + Sync + 'static) -> Self {
        Self { tell: Arc::new(tell), ..self.clone() }
    }

    pub(crate) fn made_progress(&self) {
        (self.tell)();
    }

    /// What it asks RabbitMQ with: for others to ask over the same connection.
    #[must_use]
    pub fn monitor(&self) -> &Monitor {
        &self.monitor
    }

    /// Every sale that is not over.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn sales(&self) -> Result<Vec<Sale>, Error> {
        Ok(self.ledger.sales_to_keep().await?)
    }

    /// What [`Reconciler::reconcile`] would do for `sale`.
    ///
    /// # Errors
    /// A store failed.
    pub async fn planned(&self, sale: &Sale) -> Result<Plan, Error> {
        Ok(plan(sale, self.look(sale).await?.as_ref()))
    }

    /// Looks at `sale` and does what it needs.
    ///
    /// # Errors
    /// A store failed; nothing promised is lost and the next call starts over.
    pub async fn reconcile(&self, sale: &Sale) -> Result<Outcome, Error> {
        match self.planned(sale).await? {
            Plan::Nothing => Ok(Outcome::Intact),
            Plan::End => {
                // Whoever has a claim open is answered while there is a gate to answer.
                self.bring_up_to_date(sale).await?;
                let ended = self.ledger.end(sale.id, sale.epoch, sale.revision).await?;
                Ok(if ended { Outcome::Ended } else { Outcome::Busy })
            }
            Plan::Rebuild(reason) => self.rebuild(sale, reason, Seeding::Recover).await,
        }
    }

    /// Rebuilds a sale whose queue stands but is not reached by what is published.
    ///
    /// # Errors
    /// As [`Reconciler::reconcile`].
    pub async fn rebuild_unroutable(&self, sale: &Sale) -> Result<Outcome, Error> {
        self.rebuild(sale, Reason::Unroutable, Seeding::Recover).await
    }

    /// Deletes everything a sale has sold and opens it anew with its whole stock. Messages from before are
    /// acknowledged as stale and never become orders.
    ///
    /// # Errors
    /// The sale is unknown, has reservations in flight and `force` is not set, or a store failed.
    pub async fn reset(&self, id: SaleId, actor: &str, force: bool) -> Result<Outcome, Error> {
        let sale = self.ledger.sale(id).await?.ok_or(Error::UnknownSale(id))?;
        if !force {
            // What is on its way while a sale is draining, nobody can tell.
            if sale.state == SaleState::Draining {
                return Ok(Outcome::Busy);
            }
            let in_flight = self.look(&sale).await?.map_or(0, |seen| seen.in_flight());
            if in_flight > 0 {
                return Err(Error::InFlight(in_flight));
            }
        }
        self.rebuild(&sale, Reason::Reset, Seeding::Reset { actor }).await
    }

    /// What Redis and RabbitMQ hold of the recorded installation, if one is recorded.
    async fn look(&self, sale: &Sale) -> Result<Option<Seen>, Error> {
        let Some(installation) = &sale.installation else { return Ok(None) };
        let probe = self.inventory.probe(sale.id, sale.epoch, installation).await?;
        let queued = self.monitor.depth(sale.id, sale.epoch).await?.map(|depth| depth.ready);
        Ok(Some(Seen { probe, queued }))
    }

    async fn rebuild(&self, sale: &Sale, reason: Reason, seeding: Seeding<'_>) -> Result<Outcome, Error> {
        // Without Redis there is nothing to install on: do not raise the epoch for nothing.
        self.inventory.ping().await?;
        let Some(rebuild) = Rebuild::begin(self, sale, reason).await? else { return Ok(Outcome::Busy) };
        let report = rebuild.run(seeding).await?;
        tracing::info!(sale = %sale.id, %reason, report = %serde_json::json!(report), "the gate was rebuilt");
        Ok(Outcome::Rebuilt(report))
    }
}
