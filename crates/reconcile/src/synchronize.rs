//! Synchronize: tells a standing gate what PostgreSQL has decided since it was installed.

use domain::{SaleId, SaleState};
use failpoints::Point;
use ledger::{Adjustment, Sale};

use crate::reconciler::{Error, Reconciler};

impl Reconciler {
    /// Tells the sale's gate by which rules to sell, gives it the units that were booked back, and asks it for those that
    /// are claimed. Of a sale that is not open there is no gate to tell: the next one starts with all of it.
    ///
    /// Whoever changes a sale calls this right after, so that it acts at once; a keeper calls it all the time, so that
    /// nothing is forgotten. Any number may at once.
    ///
    /// # Errors
    /// A store failed, or the gate is gone: what was not told is told the next time.
    pub async fn synchronize(&self, id: SaleId) -> Result<(), Error> {
        let sale = self.ledger.sale(id).await?.ok_or(Error::UnknownSale(id))?;
        self.bring_up_to_date(&sale).await
    }

    /// [`Reconciler::synchronize`] for a sale that was just read.
    ///
    /// # Errors
    /// As [`Reconciler::synchronize`].
    pub async fn bring_up_to_date(&self, sale: &Sale) -> Result<(), Error> {
        let Some(installation) = sale.installation.as_ref().filter(|_| sale.state == SaleState::Open) else {
            return Ok(());
        };
        self.inventory.configure(sale.id, sale.epoch, &installation.scripts, &sale.rules()).await?;
        // One belongs to the gate of one epoch; where that was raised meanwhile, the rebuild has counted it in.
        let mut pending = self.ledger.pending_adjustments(sale.id).await?;
        pending.retain(|adjustment| adjustment.epoch == sale.epoch);
        let (claims, adjustments): (Vec<_>, Vec<_>) = pending.into_iter().partition(|one| one.is_claim);
        // First what comes back: a claim may need it.
        self.adjust(sale, &adjustments).await?;
        for claim in claims {
            let units = -i64::from(claim.delta);
            let taken = self.inventory.claim(sale.id, sale.epoch, &installation.scripts, claim.id, units).await?;
            failpoints::reach(Point::KeeperAdjusted);
            self.ledger.settle_claim(claim.id, sale.epoch, taken).await?;
            self.made_progress();
        }
        Ok(())
    }

    async fn adjust(&self, sale: &Sale, pending: &[Adjustment]) -> Result<(), Error> {
        let Some(installation) = &sale.installation else { return Ok(()) };
        for chunk in pending.chunks(inventory::MAX_BATCH) {
            let deltas: Vec<(i64, i64)> = chunk.iter().map(|row| (row.id, i64::from(row.delta))).collect();
            self.inventory.adjust(sale.id, sale.epoch, &installation.scripts, &deltas).await?;
            failpoints::reach(Point::KeeperAdjusted);
            let ids: Vec<i64> = chunk.iter().map(|row| row.id).collect();
            self.ledger.mark_applied(&ids).await?;
            self.made_progress();
        }
        Ok(())
    }
}
