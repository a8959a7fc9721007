//! Counts refusals per sale, reason and second, and writes them to PostgreSQL behind the buyers' backs.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use domain::{Epoch, Refusal, SaleId};
use ledger::{Ledger, RefusalCount};
use uuid::Uuid;

/// Counts of this process that PostgreSQL does not have yet.
pub(crate) struct Tally {
    process: Uuid,
    counts: Mutex<HashMap<Key, i64>>,
    flushing: tokio::sync::Mutex<Flushing>,
}

#[derive(Clone, Copy, Eq, Hash, PartialEq)]
struct Key {
    sale: SaleId,
    epoch: Epoch,
    reason: Refusal,
    second: i64,
}

/// A flush whose outcome is not known is sent again under its number, so that it counts exactly once.
#[derive(Default)]
struct Flushing {
    number: i64,
    unconfirmed: Vec<RefusalCount>,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self { process: Uuid::new_v4(), counts: Mutex::default(), flushing: tokio::sync::Mutex::default() }
    }

    /// Counts one refused attempt. Never waits for I/O.
    pub(crate) fn count(&self, sale: SaleId, epoch: Epoch, reason: Refusal, now_ms: u64) {
        let second = i64::try_from(now_ms / 1_000).unwrap_or(i64::MAX);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(Key { sale, epoch, reason, second }).or_insert(0) += 1;
    }

    /// Writes everything counted so far.
    ///
    /// # Errors
    /// PostgreSQL failed: nothing is lost, and the next flush writes it.
    pub(crate) async fn flush(&self, ledger: &Ledger) -> Result<(), ledger::Error> {
        let mut flushing = self.flushing.lock().await;
        if flushing.unconfirmed.is_empty() {
            let counts = std::mem::take(&mut *self.counts.lock().unwrap_or_else(PoisonError::into_inner));
            if counts.is_empty() {
                return Ok(());
            }
            flushing.number += 1;
            flushing.unconfirmed = counts.into_iter().map(|(key, count)| key.counted(count)).collect();
        }
        ledger.flush_refusals(self.process, flushing.number, &flushing.unconfirmed).await?;
        flushing.unconfirmed.clear();
        Ok(())
    }

    /// Writes what is left when the process stops.
    pub(crate) async fn flush_all(&self, ledger: &Ledger) -> Result<(), ledger::Error> {
        self.flush(ledger).await?;
        // The first may have been an older, unconfirmed one.
        self.flush(ledger).await
    }
}

impl Key {
    fn counted(self, count: i64) -> RefusalCount {
        RefusalCount { sale_id: self.sale, epoch: self.epoch, reason: self.reason, at_second: self.second, count }
    }
}
