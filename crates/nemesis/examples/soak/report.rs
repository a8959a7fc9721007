//! What a soak has seen, for people to read.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::fault::Fault;
use crate::round::Told;
use crate::schedule::{Round, Strike};

/// What became of a fault.
#[derive(Default)]
struct Injected {
    drawn: usize,
    fired: usize,
    /// The longest time without a decision, of each round in which it came alone.
    alone: Vec<Duration>,
}

static NEVER: Injected = Injected { drawn: 0, fired: 0, alone: Vec::new() };

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
    broken: usize,
    /// By the fault's name.
    faults: BTreeMap<String, Injected>,
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
        self.broken += usize::from(told.broken.is_some());
        for Strike { fault, .. } in &round.strikes {
            let injected = self.faults.entry(fault.name()).or_default();
            injected.drawn += 1;
            injected.fired += usize::from(told.fired.contains(fault));
            if round.strikes.len() == 1 && told.fired.contains(fault) {
                injected.alone.push(told.outage);
            }
        }
    }

    /// Whether the judge found something broken.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken > 0
    }

    /// Whether nothing was played.
    pub(crate) fn is_empty(&self) -> bool {
        self.rounds == 0
    }

    /// Whether every seed ran to its end.
    fn is_clean(&self) -> bool {
        self.ended == self.seeds.len() && self.rounds > 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n| fault | drawn | fired | alone | longest time without a decision, when alone: median / most |"
        )?;
        writeln!(f, "|---|---|---|---|---|")?;
        for name in Fault::ALL.iter().map(|fault| fault.name()) {
            let Injected { drawn, fired, alone } = self.faults.get(&name).unwrap_or(&NEVER);
            let (median, most) = median_and_most(alone);
            writeln!(f, "| {name} | {drawn} | {fired} | {} | {median:.1} s / {most:.1} s |", alone.len())?;
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
