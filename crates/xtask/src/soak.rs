//! `cargo xtask soak`: the nemesis, with servers of its own.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::home::Home;
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::scratch::{Profile, Scratch};
use crate::{install, workspace};

/// Builds everything and runs the soak with `args`. After a failure its logs and its servers' data stay in
/// `soak-failed-<process id>` in the home folder.
///
/// # Errors
/// When a server cannot be installed, or a program not be run.
pub fn run(home: &Path, args: &[String]) -> Result<ExitCode> {
    let interrupt = Interrupt::watch()?;
    let home = Home::at(home)?;
    let progress = Progress::begin();
    install::ensure_servers(&home, &progress)?;

    progress.say("building");
    for what in [["--workspace", "--bins"].as_slice(), &["--package", "flashsale-nemesis", "--example", "soak"]] {
        let built = interrupt.run(workspace::cargo().arg("build").args(what))?;
        if built != ExitCode::SUCCESS {
            return Ok(built);
        }
    }

    let scratch = Scratch::begin(&home, Profile::Debug)?;
    let soak = workspace::target_dir()?.join("debug/examples/soak");
    let code = interrupt.run(Command::new(soak).args(args).envs(scratch.environment()?))?;
    // A wrong flag or Ctrl-C ends it in other ways, and leaves nothing to look into.
    if code == ExitCode::FAILURE {
        let place = home.join(&format!("soak-failed-{}", std::process::id()));
        scratch.keep(&place)?;
        progress.say(format_args!("FAILED; logs and data are in {}", place.display()));
    }
    Ok(code)
}
