//! `cargo xtask bench`: how fast we are on this machine, with servers of its own that are as durable as `up`'s.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::home::Home;
use crate::interrupt::Interrupt;
use crate::k6::K6;
use crate::progress::Progress;
use crate::roles::Binaries;
use crate::scratch::Profile;
use crate::test::Run;
use crate::{install, workspace};

/// Builds everything for release and runs the bench with `args`.
///
/// # Errors
/// When a server or a load generator cannot be installed or started, or a program not be run.
pub fn run(home: &Path, args: &[String]) -> Result<ExitCode> {
    let interrupt = Interrupt::watch()?;
    let home = Home::at(home)?;
    let progress = Progress::begin();
    install::ensure_servers(&home, &progress)?;
    install::ensure_wrk(&home, &progress)?;
    let k6 = K6.ensure(&home, &progress)?;

    progress.say("building (the first time takes a few minutes)");
    // Two builds: what the bench needs must not change what is shipped (cargo unites the features of one build).
    Binaries::build()?;
    let built = interrupt.run(workspace::cargo().args(["build", "--release", "--package", "flashsale-bench"]))?;
    if built != ExitCode::SUCCESS {
        return Ok(built);
    }

    progress.say("starting servers for the bench");
    let run = Run::begin(&home, Profile::Release)?;
    interrupt.check()?;
    let bench = workspace::target_dir()?.join("release/flashsale-bench");
    let mut bench = Command::new(bench);
    bench.current_dir(workspace::root()).args(args).envs(run.environment()?).env("FLASHSALE_BENCH_K6", k6);
    interrupt.run(&mut bench)
}
