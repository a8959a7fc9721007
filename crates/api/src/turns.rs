//! Whose turn it is to change what PostgreSQL has of a sale.
//!
//! All changes of a sale and of its orders lock the sale's row, so PostgreSQL makes them one by one. A change that waits
//! there holds one of this process's few connections. So the changes of a sale wait here, where that costs nothing, and
//! only one of them goes to PostgreSQL: a hot sale, or one whose row somebody holds, takes one connection and never
//! those that all other sales need. What an operator seldom does goes without a turn: a dead letter, a reset, a reconcile,
//! a verification.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use domain::SaleId;
use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};

/// The line of one sale; whoever holds it is the sale's one who may go.
type Line = tokio::sync::Mutex<()>;

/// Gives turns: one to a sale at a time, and so many in all.
pub(crate) struct Turns {
    /// Many busy sales together must leave connections to those who only read.
    all: Arc<Semaphore>,
    /// Of sales that somebody has a turn of or waits for.
    lines: Mutex<HashMap<SaleId, Weak<Line>>>,
}

/// A turn, until it is dropped.
pub(crate) struct Turn {
    _one_of_all: OwnedSemaphorePermit,
    _of_sale: OwnedMutexGuard<()>,
}

impl Turns {
    /// With at most `most` turns at a time.
    pub(crate) fn new(most: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(most)), lines: Mutex::default() }
    }

    /// Waits for a turn to change this sale or an order of it, first come, first served. May be dropped at any time.
    pub(crate) async fn of(&self, sale: SaleId) -> Turn {
        // First the sale's own line: who waits in it takes nothing from other sales.
        let of_sale = self.line(sale).lock_owned().await;
        let one_of_all = Arc::clone(&self.all).acquire_owned().await.expect("it is never closed");
        Turn { _one_of_all: one_of_all, _of_sale: of_sale }
    }

    fn line(&self, sale: SaleId) -> Arc<Line> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = lines.get(&sale).and_then(Weak::upgrade) {
            return line;
        }
        // A new line makes room by itself: there are never many.
        lines.retain(|_, line| line.strong_count() > 0);
        let line = Arc::default();
        lines.insert(sale, Arc::downgrade(&line));
        line
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use uuid::Uuid;

    use super::*;

    const HOT: SaleId = SaleId(Uuid::from_u128(1));
    const QUIET: SaleId = SaleId(Uuid::from_u128(2));
    const THIRD: SaleId = SaleId(Uuid::from_u128(3));

    #[test]
    fn a_sale_has_one_turn_at_a_time_and_who_waits_for_it_takes_none_of_the_others() {
        let turns = Turns::new(2);
        let hot = turns.of(HOT).now_or_never().expect("nobody has one");
        let mut waiting: Vec<_> = (0..8).map(|_| Box::pin(turns.of(HOT))).collect();
        for one in &mut waiting {
            assert!(one.now_or_never().is_none(), "the sale has its turn");
        }
        let quiet = turns.of(QUIET).now_or_never().expect("another sale has its own");
        assert!(turns.of(THIRD).now_or_never().is_none(), "two in all");
        drop(quiet);
        assert!(turns.of(THIRD).now_or_never().is_some());
        drop(hot);
        assert!(waiting.remove(0).now_or_never().is_some(), "the first one's turn");
    }

    #[test]
    fn a_sale_that_nobody_changes_is_forgotten() {
        let turns = Turns::new(4);
        let kept = turns.of(HOT).now_or_never().expect("nobody has one");
        for n in 10..1_000 {
            assert!(turns.of(SaleId(Uuid::from_u128(n))).now_or_never().is_some());
        }
        assert_eq!(turns.lines.lock().unwrap().len(), 2, "the one that is held, and the last one");
        drop(kept);
    }
}
