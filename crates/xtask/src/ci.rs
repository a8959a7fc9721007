//! `cargo xtask ci`: everything a change must pass.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;

use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::{test, workspace};

/// What comes before the tests: cheap, and telling.
const CHECKS: [&[&str]; 2] =
    [&["fmt", "--all", "--check"], &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]];

/// Runs the checks and then the tests; the first that fails ends it, with its exit code.
///
/// # Errors
/// When one cannot be run.
pub fn run(home: &Path) -> Result<ExitCode> {
    let (interrupt, progress) = (Interrupt::watch()?, Progress::begin());
    for check in CHECKS {
        progress.say(format_args!("cargo {}", check.join(" ")));
        let code = interrupt.run(workspace::cargo().args(check))?;
        if code != ExitCode::SUCCESS {
            return Ok(code);
        }
    }
    test::run(home, test::Suite::All, &[])
}
