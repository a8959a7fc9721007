//! The nemesis soak: rounds of random faults under load, each healed, settled and judged. Run by `cargo xtask soak`.
//!
//! A seed decides everything that we decide: which faults, when, for how long, how many units. A failing seed replays
//! the same schedule; what the kernel and the servers make of it differs from run to run.

mod fault;
mod report;
mod round;
mod schedule;

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use failpoints::Bug;
use futures_util::FutureExt;
use testkit::{Cast, Own, Scene, new_sale};

use crate::report::Report;
use crate::schedule::Round;

/// Random faults under load; ends with a report.
#[derive(Parser)]
#[command(name = "cargo xtask soak")]
struct Arguments {
    /// The first seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds, one after the other
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// How long each seed runs, in minutes
    #[arg(long, default_value_t = 3.0)]
    minutes: f64,
    /// Plants a known bug, and succeeds only if it is caught
    #[arg(long, value_parser = |name: &str| Bug::from_name(name).ok_or_else(names_of_bugs))]
    planted: Option<Bug>,
}

fn names_of_bugs() -> String {
    format!("one of: {}", Bug::ALL.iter().map(|bug| bug.name()).collect::<Vec<_>>().join(", "))
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut report = Report::default();
    let mut all_clean = true;
    for seed in arguments.seed..arguments.seed + arguments.seeds {
        // A wait that was in vain panics, wherever it stands.
        let soaked = AssertUnwindSafe(soak(seed, &arguments, &mut report)).catch_unwind().await;
        let clean = soaked.unwrap_or(false);
        all_clean &= clean;
        if !clean && arguments.planted.is_none() {
            println!("seed {seed} FAILED; replay: cargo xtask soak --seed {seed} --minutes {}", arguments.minutes);
        }
        if !clean {
            break;
        }
    }
    print!("{report}");
    let good = match arguments.planted {
        None => all_clean,
        // A wait that was in vain catches nothing: only the judge does.
        Some(bug) => {
            let caught = report.is_broken();
            println!("the planted bug {} was {}caught by the judge", bug.name(), if caught { "" } else { "NOT " });
            caught
        }
    };
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs one seed; whether every round of it was clean.
async fn soak(seed: u64, arguments: &Arguments, report: &mut Report) -> bool {
    let started = Instant::now();
    let planted = arguments.planted.map(|bug| ("FLASHSALE_PLANTED_BUG", bug.name()));
    let cast = Cast { apis: 2, persisters: 2, keepers: 2 };
    report.begin(seed);
    let mut scene = Scene::with(Own::ALL, &new_sale(1), cast, planted.as_slice()).await;
    // Until everything is found to be in order.
    scene.stack.keep(true);
    let mut played = Vec::new();
    for number in 0.. {
        if started.elapsed() >= Duration::from_secs_f64(arguments.minutes * 60.0) {
            break;
        }
        let round = Round::of(seed, number);
        println!("[{:6.1} s] seed {seed} round {number}: {round}", started.elapsed().as_secs_f64());
        let told = round::play(&mut scene, &round).await;
        for problem in told.broken.iter().chain(&told.problems) {
            println!("seed {seed} round {number}: {problem}");
        }
        report.add(&round, &told);
        if told.broken.is_some() || !told.problems.is_empty() {
            return false;
        }
        played.push((round, told));
    }
    // What was settled stays so, whatever happened later to other sales.
    for (round, told) in played {
        scene.sale = told.sale;
        let judgement = scene.judge(&told.history).await;
        if !judgement.is_clean() {
            println!("seed {seed}, at the end: {round}: {judgement}");
            return false;
        }
    }
    if let Some((log, line)) = scene.stack.log_line("panicked at") {
        println!("seed {seed}: {}: {line}", log.display());
        return false;
    }
    scene.stack.keep(false);
    report.end(started.elapsed());
    !report.is_empty()
}
