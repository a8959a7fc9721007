//! Sales of which nothing is left, with everybody who holds a reservation there: who does not is told so by this process.
//!
//! A flash sale answers most of its clicks with "sold out". Nobody can win there until units come back, and the gate says
//! so by its mark. So a sale's buyers are read once, between two equal marks, and while its mark stays the same whoever is
//! not among them is refused here. Whoever may be among them is asked for at the gate: the answer is the gate's own.
//!
//! A mark is looked at every [`LOOK_EVERY`] and counts for [`GOOD_FOR`] from when the question was sent. That is how old a
//! refusal can be, and how soon units that have come back are for sale again, at the latest.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use domain::{Quantity, SaleId, SaleState, UserId};
use foldhash::HashMap;
use foldhash::fast::RandomState;
use inventory::{Inventory, Mark};
use tokio::time::MissedTickBehavior;

use crate::view::{SaleView, View};

const LOOK_EVERY: Duration = Duration::from_millis(10);
const GOOD_FOR: Duration = Duration::from_millis(50);
/// How often is looked for sales that have sold out.
const FIND_EVERY: Duration = Duration::from_millis(50);
/// Reading buyers takes this part of Redis's time at most, however often units come back.
const SHARE_OF_REDIS: u32 = 10;
/// So close to its end a sale's own clock decides.
const END_MARGIN_MS: i64 = 1_000;

/// The sales that this process refuses for.
pub(crate) struct SoldOut {
    inventory: Inventory,
    view: Arc<View>,
    sales: ArcSwap<HashMap<SaleId, Arc<Known>>>,
    /// Seeded anew in each process.
    hasher: RandomState,
    began: Instant,
    /// How often this process has changed a gate.
    changes: AtomicU64,
}

/// A sale whose buyers are known.
struct Known {
    view: Arc<SaleView>,
    mark: Mark,
    /// Hashes of the buyers' ids, sorted. Two that collide cost a question, never a wrong answer.
    buyers: Vec<u64>,
    /// Milliseconds since `began`.
    good_until: AtomicI64,
}

impl SoldOut {
    pub(crate) fn new(inventory: Inventory, view: Arc<View>) -> Self {
        Self {
            inventory,
            view,
            sales: ArcSwap::default(),
            hasher: RandomState::default(),
            began: Instant::now(),
            changes: AtomicU64::new(0),
        }
    }

    /// Whether this attempt is refused because nothing is left, `now` and by Redis's clock; `false` where only the gate can
    /// tell.
    pub(crate) fn refuses(
        &self,
        view: &SaleView,
        user: &UserId,
        quantity: Quantity,
        (now, now_ms): (Instant, i64),
    ) -> bool {
        let sales = self.sales.load();
        let Some(known) = sales.get(&view.sale.id) else { return false };
        let rules = &known.mark.gate.rules;
        known.view.sale.epoch == view.sale.epoch
            && ms(now.saturating_duration_since(self.began)) < known.good_until.load(Ordering::Relaxed)
            && quantity <= rules.limit
            && rules.sell_at(now_ms)
            && rules.sell_at(now_ms.saturating_add(END_MARGIN_MS))
            && known.buyers.binary_search(&self.hash(user.as_str())).is_err()
    }

    /// This process has changed the sale's gate: what it answers from now on is asked for there.
    pub(crate) fn changed(&self, sale: SaleId) {
        self.changes.fetch_add(1, Ordering::SeqCst);
        self.change(|sales| {
            sales.remove(&sale);
        });
    }

    /// Keeps what is known true, for as long as the process runs.
    pub(crate) async fn keep_looking(&self) {
        tokio::join!(self.keep_checking(), self.keep_finding());
    }

    async fn keep_checking(&self) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let sales = self.sales.load_full();
            let checks = sales.values().map(|known| self.check(known));
            for (known, stands) in sales.values().zip(futures_util::future::join_all(checks).await) {
                if !stands {
                    self.forget(known);
                }
            }
        }
    }

    /// Whether the mark is still the same. Where Redis does not say so it counts until its time is over.
    async fn check(&self, known: &Known) -> bool {
        let asked = self.ms_since_start();
        let sale = &known.view.sale;
        if self.view.get(sale.id).is_none_or(|view| view.sale.epoch != sale.epoch || view.sale.state != SaleState::Open)
        {
            return false;
        }
        match self.inventory.mark(sale.id, sale.epoch).await {
            Ok(mark) if mark.as_ref() == Some(&known.mark) => {
                known.good_until.store(asked.saturating_add(ms(GOOD_FOR)), Ordering::Relaxed);
                true
            }
            Ok(_) => false,
            Err(_) => true,
        }
    }

    async fn keep_finding(&self) {
        loop {
            tokio::time::sleep(FIND_EVERY).await;
            for view in self.view.list().unwrap_or_default() {
                if view.sale.state != SaleState::Open
                    || !view.take_sold_out()
                    || self.sales.load().contains_key(&view.sale.id)
                {
                    continue;
                }
                let (asked, changes) = (Instant::now(), self.changes.load(Ordering::SeqCst));
                match self.read(&view).await {
                    Ok(Some(known)) => self.remember(known, changes),
                    Ok(None) => {}
                    Err(error) => tracing::debug!(sale = %view.sale.id, %error, "its buyers cannot be read"),
                }
                tokio::time::sleep(asked.elapsed() * SHARE_OF_REDIS).await;
            }
        }
    }

    /// The sale with its buyers; `None` where something is left, or something has changed meanwhile.
    async fn read(&self, view: &Arc<SaleView>) -> Result<Option<Known>, inventory::Error> {
        let (sale, epoch) = (view.sale.id, view.sale.epoch);
        let Some(mark) = self.inventory.mark(sale, epoch).await? else { return Ok(None) };
        if !mark.gate.open || mark.gate.stock > 0 {
            return Ok(None);
        }
        let mut buyers = Vec::new();
        self.inventory.each_buyer(sale, epoch, |user| buyers.push(self.hash(user))).await?;
        buyers.sort_unstable();
        buyers.dedup();
        buyers.shrink_to_fit();
        let asked = self.ms_since_start();
        if self.inventory.mark(sale, epoch).await?.as_ref() != Some(&mark) {
            return Ok(None);
        }
        let good_until = AtomicI64::new(asked.saturating_add(ms(GOOD_FOR)));
        Ok(Some(Known { view: Arc::clone(view), mark, buyers, good_until }))
    }

    /// Unless there were other changes meanwhile than `changes`.
    fn remember(&self, known: Known, changes: u64) {
        let known = Arc::new(known);
        self.change(|sales| {
            if self.changes.load(Ordering::SeqCst) == changes {
                sales.insert(known.view.sale.id, Arc::clone(&known));
            }
        });
    }

    fn forget(&self, known: &Arc<Known>) {
        self.change(|sales| {
            sales.retain(|_, one| !Arc::ptr_eq(one, known));
        });
    }

    fn change(&self, change: impl Fn(&mut HashMap<SaleId, Arc<Known>>)) {
        self.sales.rcu(|sales| {
            let mut sales = HashMap::clone(sales);
            change(&mut sales);
            sales
        });
    }

    fn hash(&self, user: &str) -> u64 {
        self.hasher.hash_one(user)
    }

    fn ms_since_start(&self) -> i64 {
        ms(self.began.elapsed())
    }
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
