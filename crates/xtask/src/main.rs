//! `cargo xtask`: what a developer and a first user type.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use xtask::{bench, ci, down, env, flashsale, k6, note, pictures, soak, status, test, up, workspace};

/// Runs a flash sale on this machine, and the project's checks.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    /// The folder for data, logs, process ids and secrets [default: .flashsale at the top of the workspace]
    #[arg(long, global = true, value_name = "FOLDER")]
    home: Option<PathBuf>,
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Start everything: servers, API, three persisters, keeper. Ctrl-C stops it all
    Up {
        /// Return when everything is up, and leave it running
        #[arg(long)]
        detach: bool,
        /// The API's port on 127.0.0.1, remembered for the next time [default: 3000]
        #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
        port: Option<u16>,
    },
    /// Stop everything
    Down {
        /// Also delete all data, logs and secrets
        #[arg(long)]
        wipe: bool,
    },
    /// Show what runs
    Status,
    /// Print `export` lines with the URLs and the admin token: eval "$(cargo xtask env)"
    Env,
    /// Run the tests, with servers of their own
    Test {
        /// Which tests
        #[arg(long, value_enum, default_value_t)]
        suite: test::Suite,
        /// Passed on to `cargo nextest run --workspace`, or to `cargo test --workspace` where nextest is missing
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Break everything at random under load, with servers of its own, and judge what is left
    Soak {
        /// Passed on: --seed N --minutes M [--seeds COUNT] [--planted BUG]
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Measure how fast we are, as ratios of one run, with servers of its own
    Bench {
        /// Passed on: [--json] [--rounds N] [--seconds S] [--only PART,...]
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Run a load test of k6/ against the running stack
    K6 {
        /// The script's name, such as purchase.js
        script: String,
        /// Passed on to `k6 run`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Take README's pictures anew, into docs/images/
    Pictures,
    /// Run the operator's command line against the running stack; also as `cargo flashsale`
    #[command(disable_help_flag = true)]
    Flashsale {
        /// Passed on to `flashsale`, such as: simulate --buyers 500 --stock 10
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Run everything a change must pass: fmt, clippy, test
    Ci,
}

fn main() -> ExitCode {
    let Arguments { home, task } = Arguments::parse();
    let home = home.unwrap_or_else(|| workspace::root().join(".flashsale"));
    let outcome = match task {
        Task::Up { detach, port } => up::run(&home, port, detach),
        Task::Down { wipe } => down::run(&home, wipe),
        Task::Status => status::run(&home),
        Task::Env => env::run(&home),
        Task::Test { suite, args } => test::run(&home, suite, &args),
        Task::Soak { args } => soak::run(&home, &args),
        Task::Bench { args } => bench::run(&home, &args),
        Task::K6 { script, args } => k6::run(&home, &script, &args),
        Task::Pictures => pictures::run(&home),
        Task::Flashsale { args } => flashsale::run(&home, &args),
        Task::Ci => ci::run(&home),
    };
    outcome.unwrap_or_else(|error| {
        note(format_args!("error: {error:#}"));
        ExitCode::FAILURE
    })
}
