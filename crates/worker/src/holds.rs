//! Holds: orders whose time is over give their units back, and somebody else buys them within a second.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use boot::{Busy, Outage, Watchdog};
use domain::SaleId;
use ledger::Ledger;
use reconcile::Teller;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// Most orders that expire in one transaction: its sale sells nothing meanwhile.
const BATCH: u32 = 1_000;
/// How many times the watchdog's limit telling one gate may take: it has two calls for each claim that waits.
const ROUND_LIMITS: u32 = 3;
/// Longest pause after a failure.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Expires orders. Any number of these may run.
pub struct Holds {
    ledger: Ledger,
    teller: Arc<Teller>,
    every: Duration,
    watchdog: Watchdog,
    /// Whether PostgreSQL does its part, and Redis its own.
    expiring: Outage,
    telling: Outage,
}

impl Holds {
    /// Over these stores; does nothing before [`Holds::run`].
    #[must_use]
    pub fn new(ledger: Ledger, teller: Arc<Teller>, settings: &boot::Keeper, watchdog: Watchdog) -> Self {
        Self {
            ledger,
            teller,
            every: Duration::from_millis(settings.holds_ms),
            watchdog,
            expiring: Outage::of("orders whose time is over keep their units for now"),
            telling: Outage::of("units of expired orders go back on sale later"),
        }
    }

    /// Expires what is due, again and again, until `stop` is cancelled.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(self.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // A round that has begun is finished: it is as short as its servers are fast.
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let expired = self.expire().await;
            if let Some(pause) = self.expiring.note_and_pause(&expired, (self.every, LONGEST_PAUSE)) {
                ticks.reset_after(pause);
            }
        }
    }

    /// One round over all sales with something to expire.
    async fn expire(&mut self) -> Result<(), ledger::Error> {
        let busy = self.watchdog.busy_with_much(ROUND_LIMITS, "expiring orders");
        let mut outcome = Ok(());
        for sale in self.ledger.sales_with_expired_holds().await? {
            let expired = expire_all(&self.ledger, sale, &busy).await;
            // What did expire is told even where the rest did not. Where Redis is away, the keeper's own rounds tell it
            // later: the units are safe in PostgreSQL.
            let told = self.teller.tell(sale).await;
            self.telling.note(&told);
            busy.renew();
            // One sale that is held up must not hold up the others.
            outcome = expired.and(outcome);
        }
        outcome
    }
}

async fn expire_all(ledger: &Ledger, sale: SaleId, busy: &Busy) -> Result<(), ledger::Error> {
    while ledger.expire_orders(sale, BATCH).await? == u64::from(BATCH) {
        busy.renew();
    }
    Ok(())
}
