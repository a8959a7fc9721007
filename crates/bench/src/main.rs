//! `flashsale-bench`, which `cargo xtask bench` runs: how fast we are, as ratios of one run on one machine.

mod bench;
mod end_to_end;
mod figure;
mod growth;
mod load;
mod overload;
mod persist;
mod purchases;
mod reads;
mod report;
mod steady;
mod streams;
mod wrk;

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Parser, ValueEnum};
use testkit::Stack;

use crate::bench::Effort;
use crate::report::Report;

/// Measures.
#[derive(Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench")]
struct Arguments {
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    /// How often each figure is measured
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=100))]
    rounds: u8,
    /// How long each load lasts, in seconds
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=60))]
    seconds: u8,
    /// Only these parts
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Part {
    /// Sold-out answers and successes
    Purchases,
    /// Status and list
    Reads,
    /// Large sales, and many sales
    Growth,
    /// The persister alone
    Persist,
    /// From the click to the order, and what a buyer costs in Redis
    EndToEnd,
    /// Latency at a load that is no limit
    Steady,
    /// What a stream of live status costs
    Streams,
    /// Ten times more clicks than can be served
    Overload,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let Arguments { json, rounds, seconds, only } = Arguments::parse();
    let effort = Effort { rounds: rounds.into(), time: Duration::from_secs(seconds.into()) };
    let mut report = Report::begin(effort)?;
    let mut failed = Vec::new();
    for part in Part::value_variants() {
        if !only.is_empty() && !only.contains(part) {
            continue;
        }
        eprintln!("measuring: {part:?}");
        // Each with a database, a key prefix and queues of its own, as a test has.
        let stack = Stack::new().await;
        let measured = match part {
            Part::Purchases => purchases::measure(&stack, effort).await,
            Part::Reads => reads::measure(&stack, effort).await,
            Part::Growth => growth::measure(&stack, effort).await,
            Part::Persist => persist::measure(&stack, effort).await,
            Part::EndToEnd => end_to_end::measure(&stack, effort).await,
            Part::Steady => steady::measure(&stack, effort).await,
            Part::Streams => streams::measure(&stack, effort).await,
            Part::Overload => overload::measure(&stack, effort).await,
        };
        match measured {
            Ok(figures) => {
                report.figures.extend(figures);
                stack.close().await;
            }
            // What the other parts take minutes to measure is not lost with it.
            Err(error) => {
                eprintln!("not measured: {error:#}");
                failed.push(format!("{part:?}"));
            }
        }
    }
    if json { report.print_json() } else { report.print_table() }?;
    ensure!(failed.is_empty(), "not measured: {}", failed.join(", "));
    Ok(())
}
