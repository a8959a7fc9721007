//! What a soak has seen, for people to read.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::round::Told;
use crate::schedule::Round;

/// The sum of all rounds.
#[derive(Default)]
pub(crate) struct Report {
    seeds: Vec<u64>,
    /// Seeds that ended with everything clean.
    ended: usize,
    rounds: usize,
    attempts: usize,
    promised: usize,
    sold: i64,
    settled: Vec<Duration>,
    soaked: Duration,
    problems: usize,
    /// By fault: how often it was injected, and how long nobody was decided where it came alone.
    faults: BTreeMap<String, (usize, Vec<Duration>)>,
}

impl Report {
    pub(crate) fn begin(&mut self, seed: u64) {
        self.seeds.push(seed);
    }

    pub(crate) fn end(&mut self, soaked: Duration) {
        self.ended += 1;
        self.soaked += soaked;
    }

    pub(crate) fn add(&mut self, round: &Round, told: &Told) {
        self.rounds += 1;
        self.attempts += told.attempts;
        self.promised += told.promised;
        self.sold += told.sold;
        self.settled.push(told.settled_after);
        self.problems += told.problems.len();
        for fault in &told.fired {
            let (count, alone) = self.faults.entry(fault.name()).or_default();
            *count += 1;
            if round.strikes.len() == 1 {
                alone.push(told.outage);
            }
        }
    }

    /// Something outside of a round is wrong.
    pub(crate) fn problem(&mut self) {
        self.problems += 1;
    }

    /// Whether every seed ran to its end without a problem.
    pub(crate) fn is_clean(&self) -> bool {
        self.problems == 0 && self.ended == self.seeds.len()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n| fault | injected | alone | longest time without a decision, when alone: median / most |")?;
        writeln!(f, "|---|---|---|---|")?;
        for (name, (count, alone)) in &self.faults {
            let (median, most) = median_and_most(alone);
            writeln!(f, "| {name} | {count} | {} | {median:.1} s / {most:.1} s |", alone.len())?;
        }
        let (median, most) = median_and_most(&self.settled);
        writeln!(
            f,
            "\nseeds {:?}, {:.0} minutes, {} rounds, {} attempts, {} promised, {} units sold; settled after {median:.1} s \
             (median), {most:.1} s (most); {}",
            self.seeds,
            self.soaked.as_secs_f64() / 60.0,
            self.rounds,
            self.attempts,
            self.promised,
            self.sold,
            if self.is_clean() { "clean" } else { "NOT CLEAN" },
        )
    }
}

/// In seconds; zeros for none.
fn median_and_most(times: &[Duration]) -> (f64, f64) {
    let mut seconds: Vec<f64> = times.iter().map(Duration::as_secs_f64).collect();
    seconds.sort_by(f64::total_cmp);
    let at = |index: usize| seconds.get(index).copied().unwrap_or_default();
    (at(seconds.len() / 2), at(seconds.len().saturating_sub(1)))
}
