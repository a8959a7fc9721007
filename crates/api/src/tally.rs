//! Counts refusals per sale, reason and second, and writes them to PostgreSQL behind the buyers' backs.

use std::sync::{Mutex, PoisonError};

use domain::{Epoch, Refusal, SaleId};
use foldhash::{HashMap, HashMapExt};
use ledger::{Ledger, RefusalCount};
use thread_local::ThreadLocal;
use uuid::Uuid;

/// Most counts that one statement writes.
const CHUNK: usize = 1_000;
/// Most counts by the second that a thread keeps while PostgreSQL is away. As many more are kept by the minute, then by the
/// hour, and so on: an outage of days costs a few megabytes and no count.
const MOST: usize = 10_000;

/// Counts of this process that PostgreSQL does not have yet.
pub(crate) struct Tally {
    process: Uuid,
    /// Each thread's own: what all of them write at once is slow.
    counts: ThreadLocal<Mutex<HashMap<Key, i64>>>,
    flushing: tokio::sync::Mutex<Flushing>,
}

#[derive(Clone, Copy, Eq, Hash, PartialEq)]
struct Key {
    sale: SaleId,
    epoch: Epoch,
    reason: Refusal,
    /// When the span begins in which they were counted: a second, or longer where there are more than [`MOST`].
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
        Self { process: Uuid::new_v4(), counts: ThreadLocal::new(), flushing: tokio::sync::Mutex::default() }
    }

    /// Counts one refused attempt. Never waits for I/O.
    pub(crate) fn count(&self, sale: SaleId, epoch: Epoch, reason: Refusal, now_ms: u64) {
        let second = i64::try_from(now_ms / 1_000).unwrap_or(i64::MAX);
        let mut counts = self.counts.get_or_default().lock().unwrap_or_else(PoisonError::into_inner);
        let span = 60_i64.saturating_pow(u32::try_from(counts.len() / MOST).unwrap_or(u32::MAX));
        *counts.entry(Key { sale, epoch, reason, second: second - second % span }).or_insert(0) += 1;
    }

    /// Writes everything counted so far, in chunks.
    ///
    /// # Errors
    /// PostgreSQL failed: nothing is lost, and the next flush writes it.
    pub(crate) async fn flush(&self, ledger: &Ledger) -> Result<(), ledger::Error> {
        let mut flushing = self.flushing.lock().await;
        loop {
            let is_sent_again = !flushing.unconfirmed.is_empty();
            if !is_sent_again {
                flushing.unconfirmed = self.take_chunk();
                flushing.number += 1;
            }
            let rows = flushing.unconfirmed.len();
            if rows > 0 {
                ledger.flush_refusals(self.process, flushing.number, &flushing.unconfirmed).await?;
                flushing.unconfirmed.clear();
            }
            // What is counted while this runs is the next flush's.
            if rows < CHUNK && !is_sent_again {
                return Ok(());
            }
        }
    }

    /// [`CHUNK`] counts, or fewer where nothing is left.
    fn take_chunk(&self) -> Vec<RefusalCount> {
        let mut chunk: HashMap<Key, i64> = HashMap::new();
        'threads: for counts in &self.counts {
            let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
            for (key, count) in counts.extract_if(|_, _| true) {
                *chunk.entry(key).or_insert(0) += count;
                if chunk.len() == CHUNK {
                    break 'threads;
                }
            }
        }
        chunk.into_iter().map(|(key, count)| key.counted(count)).collect()
    }
}

impl Key {
    fn counted(self, count: i64) -> RefusalCount {
        RefusalCount { sale_id: self.sale, epoch: self.epoch, reason: self.reason, at_second: self.second, count }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_long_postgresql_is_away_few_counts_are_kept_and_each_refusal_is_in_one_of_the_chunks() {
        let (tally, days) = (Tally::new(), 10 * 24 * 3_600);
        for second in 0..days {
            tally.count(SaleId(Uuid::nil()), Epoch(1), Refusal::SoldOut, second * 1_000);
        }
        let (mut rows, mut refusals) = (0, 0);
        loop {
            let chunk = tally.take_chunk();
            if chunk.is_empty() {
                break;
            }
            assert!(chunk.len() <= 1_000, "{}", chunk.len());
            rows += chunk.len();
            refusals += chunk.iter().map(|count| count.count).sum::<i64>();
        }
        assert_eq!(refusals, i64::try_from(days).expect("a few"));
        assert!(rows < 3 * MOST, "{rows}");
    }

    #[test]
    fn what_several_threads_have_counted_is_one_count_of_a_statement() {
        // Nobody ends before the other has counted: a thread that is gone leaves its place to the next one.
        let (tally, counted) = (Tally::new(), std::sync::Barrier::new(2));
        let count = |seconds: std::ops::Range<u64>| {
            seconds.for_each(|at| tally.count(SaleId(Uuid::nil()), Epoch(1), Refusal::SoldOut, at * 1_000));
            counted.wait();
        };
        std::thread::scope(|scope| {
            scope.spawn(|| count(0..600));
            scope.spawn(|| count(0..800));
        });
        let mut counts: Vec<_> = tally.take_chunk().iter().map(|count| (count.at_second, count.count)).collect();
        counts.sort_unstable();
        assert_eq!(counts, (0..800).map(|at| (at, if at < 600 { 2 } else { 1 })).collect::<Vec<_>>());
        assert!(tally.take_chunk().is_empty(), "a chunk that is not full is the last one");
    }
}
