//! How clicks are answered, second by second, for operators who look on: counted here, written to PostgreSQL behind the
//! buyers' backs, read there for all processes together. Nothing decides by it; what cannot be written in time is dropped.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use boot::Handled;
use chrono::{DateTime, Utc};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2Serializer};
use ledger::{Ledger, TrafficSecond};
use serde::Serialize;
use thread_local::ThreadLocal;
use utoipa::ToSchema;
use uuid::Uuid;

/// How far back is told.
pub(crate) const SECONDS: i64 = 120;
/// Processes write a second when it is over, once a second: those before are told of whole.
const SETTLED_AFTER: i64 = 2;
/// The longest wait that is told apart from longer ones, in microseconds. A click is answered long before.
const LONGEST_US: u64 = 60_000_000;
/// Two digits: a percentile is off by a hundredth at most.
const DIGITS: u8 = 2;

/// How an attempt ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Ended {
    Success,
    Refusal,
    /// It may have won.
    Unknown,
}

/// Counts of this process that PostgreSQL does not have yet.
#[derive(Default)]
pub(crate) struct Traffic {
    /// By the second, each thread's own.
    seconds: ThreadLocal<Mutex<BTreeMap<i64, Second>>>,
    /// All attempts since the start.
    pub(crate) attempts: Handled,
}

struct Second {
    successes: i64,
    refusals: i64,
    unknown: i64,
    latencies: Histogram<u32>,
}

/// How attempts were answered in one second, by all API processes together.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Point {
    /// The second's beginning.
    at: DateTime<Utc>,
    attempts: i64,
    successes: i64,
    refusals: i64,
    /// Told to try again under an order's id: they may have won.
    unknown: i64,
    /// How long half of them waited for the answer at most, in milliseconds; null where none waited.
    #[schema(required)]
    p50_ms: Option<f64>,
    #[schema(required)]
    p95_ms: Option<f64>,
    #[schema(required)]
    p99_ms: Option<f64>,
}

impl Traffic {
    /// Counts an attempt that ended at `now_ms` and had waited so long; `None`: it was refused before it had to.
    pub(crate) fn count(&self, ended: Ended, waited: Option<Duration>, now_ms: i64) {
        self.attempts.add(1);
        let mut seconds = self.seconds.get_or_default().lock().unwrap_or_else(PoisonError::into_inner);
        let second = seconds.entry(now_ms.div_euclid(1_000)).or_insert_with(Second::new);
        match ended {
            Ended::Success => second.successes += 1,
            Ended::Refusal => second.refusals += 1,
            Ended::Unknown => second.unknown += 1,
        }
        if let Some(waited) = waited {
            second.latencies.saturating_record(u64::try_from(waited.as_micros()).unwrap_or(u64::MAX));
        }
    }

    /// Writes the seconds that are over as those of `process`. They are not kept if that fails.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub(crate) async fn flush(&self, ledger: &Ledger, process: Uuid, now_ms: i64) -> Result<(), ledger::Error> {
        let seconds = self.take_before(now_ms.div_euclid(1_000));
        if seconds.is_empty() {
            return Ok(());
        }
        ledger.record_traffic(process, &seconds).await
    }

    fn take_before(&self, now: i64) -> Vec<TrafficSecond> {
        let mut over = BTreeMap::new();
        for seconds in &self.seconds {
            let mut seconds = seconds.lock().unwrap_or_else(PoisonError::into_inner);
            let later = seconds.split_off(&now);
            for (at, second) in std::mem::replace(&mut *seconds, later) {
                over.entry(at).or_insert_with(Second::new).add(&second);
            }
        }
        // Of an outage that was long, what people could still look at.
        over.into_iter().filter(|(at, _)| now - at <= SECONDS).map(|(at, second)| second.written(at)).collect()
    }
}

impl Second {
    fn new() -> Self {
        Self { successes: 0, refusals: 0, unknown: 0, latencies: histogram() }
    }

    fn add(&mut self, other: &Self) {
        self.successes += other.successes;
        self.refusals += other.refusals;
        self.unknown += other.unknown;
        self.latencies.add(&other.latencies).expect("all have the same bounds");
    }

    fn written(self, at_second: i64) -> TrafficSecond {
        let mut latencies = Vec::new();
        V2Serializer::new().serialize(&self.latencies, &mut latencies).expect("memory takes everything");
        let Self { successes, refusals, unknown, .. } = self;
        TrafficSecond { at_second, successes, refusals, unknown, latencies }
    }
}

fn histogram() -> Histogram<u32> {
    Histogram::new_with_max(LONGEST_US, DIGITS).expect("bounds that a histogram can have")
}

/// What all processes have answered in the last two minutes. Seconds without an attempt are left out.
pub(crate) async fn recent(ledger: &Ledger, now_ms: i64) -> Result<Vec<Point>, ledger::Error> {
    let last = now_ms.div_euclid(1_000) - SETTLED_AFTER;
    Ok(merged(&ledger.traffic(last - SECONDS + 1, last).await?))
}

/// The processes' seconds, in the order of their time, as one point for each second.
fn merged(seconds: &[TrafficSecond]) -> Vec<Point> {
    seconds.chunk_by(|one, next| one.at_second == next.at_second).map(point).collect()
}

fn point(same_second: &[TrafficSecond]) -> Point {
    let sum = |count: fn(&TrafficSecond) -> i64| same_second.iter().map(count).sum::<i64>();
    let (successes, refusals, unknown) =
        (sum(|second| second.successes), sum(|second| second.refusals), sum(|second| second.unknown));
    let mut all = histogram();
    for second in same_second {
        // One that another version has written in another form is nothing to look at.
        if let Ok(latencies) = Deserializer::new().deserialize::<u32, _>(&mut second.latencies.as_slice()) {
            let _ = all.add(latencies);
        }
    }
    let percentile = |percent: f64| {
        let us = (!all.is_empty()).then(|| all.value_at_percentile(percent))?;
        Some(f64::from(u32::try_from(us).unwrap_or(u32::MAX)) / 1_000.0)
    };
    Point {
        at: DateTime::from_timestamp(same_second.first().map_or(0, |second| second.at_second), 0).unwrap_or_default(),
        attempts: successes + refusals + unknown,
        successes,
        refusals,
        unknown,
        p50_ms: percentile(50.0),
        p95_ms: percentile(95.0),
        p99_ms: percentile(99.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_several_processes_answered_in_a_second_is_one_point() {
        let (one, other) = (Traffic::default(), Traffic::default());
        // Nobody ends before the other has counted: a thread that is gone leaves its place to the next one.
        let counted = std::sync::Barrier::new(2);
        let count = |waited: std::ops::RangeInclusive<u64>| {
            waited.for_each(|ms| one.count(Ended::Refusal, Some(Duration::from_millis(ms)), 5_000));
            counted.wait();
        };
        std::thread::scope(|scope| {
            scope.spawn(|| count(1..=49));
            scope.spawn(|| count(50..=98));
        });
        other.count(Ended::Success, Some(Duration::from_millis(99)), 5_999);
        other.count(Ended::Unknown, Some(Duration::from_secs(3)), 5_500);
        other.count(Ended::Refusal, None, 6_000);
        assert!(other.take_before(5).is_empty(), "a second that is not over is not taken");
        let mut seconds = [one.take_before(7), other.take_before(7)].concat();
        seconds.sort_by_key(|second| second.at_second);
        let points = merged(&seconds);
        let counts: Vec<_> = points.iter().map(|p| (p.attempts, p.successes, p.refusals, p.unknown)).collect();
        assert_eq!(counts, [(100, 1, 98, 1), (1, 0, 1, 0)]);
        assert_eq!(points[0].at.timestamp(), 5);
        for (percentile, ms) in [(points[0].p50_ms, 50.0), (points[0].p95_ms, 95.0), (points[0].p99_ms, 99.0)] {
            assert!(percentile.is_some_and(|percentile| (percentile / ms - 1.0).abs() < 0.011), "{points:?}");
        }
        assert_eq!(points[1].p99_ms, None);
        assert!(one.take_before(i64::MAX).is_empty(), "what was taken is not taken again");
    }

    #[test]
    fn after_a_long_outage_only_what_is_still_looked_at_is_written() {
        let traffic = Traffic::default();
        for second in 0..1_000 {
            traffic.count(Ended::Refusal, None, second * 1_000);
        }
        let seconds: Vec<i64> = traffic.take_before(1_000).iter().map(|second| second.at_second).collect();
        assert_eq!(seconds, (880..1_000).collect::<Vec<_>>());
    }
}
