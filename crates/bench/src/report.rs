//! What a run says in the end.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::Result;
use chrono::SecondsFormat;
use serde::Serialize;
use tabled::builder::Builder;
use tabled::settings::Style;

use crate::bench::{Effort, now};
use crate::figure::{Figure, Wanted};

#[derive(Serialize)]
pub(crate) struct Report {
    date: String,
    commit: String,
    machine: String,
    rounds: usize,
    seconds: u64,
    #[serde(serialize_with = "by_name")]
    pub(crate) figures: Vec<Figure>,
}

impl Report {
    pub(crate) fn begin(effort: Effort) -> Result<Self> {
        Ok(Self {
            date: now().to_rfc3339_opts(SecondsFormat::Secs, true),
            commit: output("git", &["describe", "--always", "--dirty"]),
            machine: machine(),
            rounds: effort.rounds,
            seconds: effort.time.as_secs(),
            figures: Vec::new(),
        })
    }

    pub(crate) fn print_json(&self) -> Result<()> {
        println!("{}", serde_json::to_string_pretty(self)?);
        Ok(())
    }

    pub(crate) fn print_table(&self) -> Result<()> {
        let mut table = Builder::default();
        table.push_record(["figure", "median", "min", "max", "unit", "wanted", ""]);
        for figure in &self.figures {
            let (wanted, met) = match (figure.wanted, figure.met) {
                (Some(Wanted::AtLeast(least)), met) => (format!("≥ {}", number(least)), met),
                (Some(Wanted::AtMost(most)), met) => (format!("≤ {}", number(most)), met),
                (None, met) => (String::new(), met),
            };
            let met = met.map_or("", |met| if met { "met" } else { "NOT MET" }).to_owned();
            let [median, min, max] = [figure.median, figure.min, figure.max].map(number);
            table.push_record([figure.name.to_owned(), median, min, max, figure.unit.to_owned(), wanted, met]);
        }
        let Self { date, commit, machine, rounds, seconds, .. } = self;
        println!(
            "{}\n{machine}; commit {commit}; {date}; medians of {rounds} rounds of {seconds} s",
            table.build().with(Style::psql())
        );
        Ok(())
    }
}

/// Three digits are more than the noise leaves.
fn number(value: f64) -> String {
    if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.3}") }
}

fn by_name<S: serde::Serializer>(figures: &[Figure], serializer: S) -> Result<S::Ok, S::Error> {
    figures.iter().map(|figure| (figure.name, figure)).collect::<BTreeMap<_, _>>().serialize(serializer)
}

fn machine() -> String {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let (cpus, memory) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
    let value = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split(':').nth(1).unwrap_or_default().trim().to_owned()
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kib: u64 = value(&memory, "MemTotal").trim_end_matches(" kB").parse().unwrap_or_default();
    let kernel = output("uname", &["-sr"]);
    format!("{cores} x {}, {} GiB, {kernel}", value(&cpus, "model name"), kib / (1 << 20))
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map_or_else(|_| "unknown".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
