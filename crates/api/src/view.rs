//! What this process knows of the sales: read from PostgreSQL and Redis a few times a second, asked on every request.
//!
//! The view refuses and displays; it never grants. A view that is out of date costs a wrong display for a moment, or
//! an attempt that the gate refuses.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use boot::Outage;
use domain::{SaleId, SaleState};
use foldhash::HashMap;
use inventory::Inventory;
use ledger::{Ledger, Sale};
use tokio::sync::{Mutex, Notify};

/// The sales as they were seen last.
pub(crate) struct View {
    ledger: Ledger,
    inventory: Inventory,
    /// By how many milliseconds Redis's clock, which every window goes by, is ahead of ours.
    redis_ahead_ms: AtomicI64,
    seen: ArcSwapOption<Seen>,
    refreshing: Mutex<Refreshing>,
    wanted: Notify,
}

struct Seen {
    /// In the order of their start.
    list: Vec<Arc<SaleView>>,
    by_id: HashMap<SaleId, Arc<SaleView>>,
}

struct Refreshing {
    /// When the last reading began, and how it ended.
    last: Option<(Instant, Result<(), Arc<ledger::Error>>)>,
    outage: Outage,
}

/// One sale as seen by this process.
pub(crate) struct SaleView {
    pub(crate) sale: Sale,
    live: Arc<Live>,
}

/// The stock of one epoch, kept across refreshes.
struct Live {
    stock: AtomicI64,
    /// Counts the decisions this process has seen, so that a refresh which read Redis before one does not undo it.
    decisions: AtomicU64,
    /// A batch was decided, and nothing was left after it.
    sold_out: AtomicBool,
}

impl SaleView {
    /// Units for sale.
    pub(crate) fn remaining(&self) -> i64 {
        match self.sale.state {
            SaleState::Ended => (self.sale.total_stock - self.sale.sold).max(0),
            _ => self.live.stock.load(Ordering::Relaxed).max(0),
        }
    }

    /// Takes note of what the gate said.
    pub(crate) fn saw_stock(&self, stock: i64) {
        self.live.decisions.fetch_add(1, Ordering::Relaxed);
        self.live.stock.store(stock, Ordering::Relaxed);
        if stock <= 0 {
            self.live.sold_out.store(true, Ordering::Relaxed);
        }
    }

    /// Whether the gate has decided a batch since this was last asked, and nothing was left after it.
    pub(crate) fn take_sold_out(&self) -> bool {
        self.live.sold_out.swap(false, Ordering::Relaxed)
    }

    /// Whether the sale is within its window, not stopped and not over. While a gate is rebuilt it is: buyers are asked to
    /// try again. Before it ever had one it is not.
    pub(crate) fn is_active(&self, now_ms: i64) -> bool {
        let had_a_gate = self.sale.installation.is_some();
        let sells = matches!(self.sale.state, SaleState::Open | SaleState::Draining);
        sells && had_a_gate && self.sale.rules().sell_at(now_ms)
    }
}

impl View {
    pub(crate) fn new(ledger: Ledger, inventory: Inventory) -> Self {
        let outage = Outage::of("the sales cannot be read, the last ones are shown");
        Self {
            ledger,
            inventory,
            redis_ahead_ms: AtomicI64::new(0),
            seen: ArcSwapOption::empty(),
            refreshing: Mutex::new(Refreshing { last: None, outage }),
            wanted: Notify::new(),
        }
    }

    /// Every sale, in the order of their start; `None` as long as PostgreSQL was never read.
    pub(crate) fn list(&self) -> Option<Vec<Arc<SaleView>>> {
        self.seen.load().as_ref().map(|seen| seen.list.clone())
    }

    /// The sale as seen last.
    pub(crate) fn get(&self, id: SaleId) -> Option<Arc<SaleView>> {
        self.look(id, Arc::clone)
    }

    /// What `look` says of the sale as seen last. Where that is enough it is cheaper than [`View::get`]: what all threads
    /// share is only read.
    pub(crate) fn look<T>(&self, id: SaleId, look: impl FnOnce(&Arc<SaleView>) -> T) -> Option<T> {
        self.seen.load().as_ref().and_then(|seen| seen.by_id.get(&id).map(look))
    }

    /// Whether PostgreSQL was ever read.
    pub(crate) fn is_loaded(&self) -> bool {
        self.seen.load().is_some()
    }

    /// Unix time in milliseconds by Redis's clock, as far as it is known: what a gate would say is what is shown.
    pub(crate) fn now_ms(&self) -> i64 {
        self.at(boot::clock::now_ms())
    }

    /// [`View::now_ms`] when our own clock said `own_ms`.
    pub(crate) fn at(&self, own_ms: u64) -> i64 {
        let own_ms = i64::try_from(own_ms).unwrap_or(i64::MAX);
        own_ms.saturating_add(self.redis_ahead_ms.load(Ordering::Relaxed))
    }

    /// Asks for a refresh without waiting for it.
    pub(crate) fn refresh_soon(&self) {
        self.wanted.notify_one();
    }

    /// Refreshes, unless that was tried after `asked`. However many ask at once, one of them reads, and all share what
    /// came of it: while PostgreSQL is away nobody waits behind the others' timeouts.
    ///
    /// # Errors
    /// PostgreSQL cannot be read; the last view stays.
    pub(crate) async fn refresh_after(&self, asked: Instant) -> Result<(), Arc<ledger::Error>> {
        let mut refreshing = self.refreshing.lock().await;
        if let Some((began, outcome)) = &refreshing.last
            && *began >= asked
        {
            return outcome.clone();
        }
        let began = Instant::now();
        let outcome = self.read().await.map_err(Arc::new);
        refreshing.outage.note(&outcome);
        refreshing.last = Some((began, outcome.clone()));
        outcome
    }

    /// Refreshes every `pause`, and at once where someone asks, for as long as the process runs.
    pub(crate) async fn keep_fresh(&self, pause: Duration) {
        loop {
            // Told where it fails.
            let _ = self.refresh_after(Instant::now()).await;
            let _ = tokio::time::timeout(pause, self.wanted.notified()).await;
        }
    }

    async fn read(&self) -> Result<(), ledger::Error> {
        let last = self.seen.load_full();
        let list: Vec<Arc<SaleView>> = self
            .ledger
            .sales()
            .await?
            .into_iter()
            .map(|sale| {
                let live = last
                    .as_ref()
                    .and_then(|seen| seen.by_id.get(&sale.id))
                    .filter(|known| known.sale.epoch == sale.epoch)
                    .map_or_else(|| Arc::new(Live::new(&sale)), |known| Arc::clone(&known.live));
                Arc::new(SaleView { sale, live })
            })
            .collect();
        tokio::join!(self.read_clock(), self.read_stock(&list));
        let by_id = list.iter().map(|view| (view.sale.id, Arc::clone(view))).collect();
        self.seen.store(Some(Arc::new(Seen { list, by_id })));
        Ok(())
    }

    /// Where Redis cannot be read the clocks go on as they did.
    async fn read_clock(&self) {
        if let Ok(redis_ms) = self.inventory.now_ms().await {
            self.redis_ahead_ms.store(redis_ms.saturating_sub(own_ms()), Ordering::Relaxed);
        }
    }

    /// Where Redis cannot be read the last figures stay; the purchase path tells what is wrong with it.
    async fn read_stock(&self, list: &[Arc<SaleView>]) {
        let open: Vec<&Arc<SaleView>> = list.iter().filter(|view| view.sale.state == SaleState::Open).collect();
        let decisions: Vec<u64> = open.iter().map(|view| view.live.decisions.load(Ordering::Relaxed)).collect();
        let gates: Vec<_> = open.iter().map(|view| (view.sale.id, view.sale.epoch)).collect();
        let Ok(gates) = self.inventory.gates(&gates).await else { return };
        for ((view, gate), decisions) in open.into_iter().zip(gates).zip(decisions) {
            if let Some(gate) = gate
                && view.live.decisions.load(Ordering::Relaxed) == decisions
            {
                view.live.stock.store(gate.stock, Ordering::Relaxed);
            }
        }
    }
}

fn own_ms() -> i64 {
    i64::try_from(boot::clock::now_ms()).unwrap_or(i64::MAX)
}

impl Live {
    /// Until the gate was read: what is not sold.
    fn new(sale: &Sale) -> Self {
        Self {
            stock: AtomicI64::new(sale.total_stock - sale.sold),
            decisions: AtomicU64::new(0),
            sold_out: AtomicBool::new(false),
        }
    }
}
