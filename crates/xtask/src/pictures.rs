//! `cargo xtask pictures`: README's pictures, taken anew.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::home::Home;
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::python::TERMTOSVG;
use crate::roles::Binaries;
use crate::scratch::Profile;
use crate::test::Run;
use crate::{install, workspace};

/// Builds for release, starts a sale with servers of its own, and takes pictures of it into `docs/images/`.
///
/// # Errors
/// When something cannot be installed, built or started.
pub fn run(home: &Path) -> Result<ExitCode> {
    let interrupt = Interrupt::watch()?;
    let home = Home::at(home)?;
    let progress = Progress::begin();
    install::ensure_servers(&home, &progress)?;
    install::ensure_browser(&home, &progress)?;
    let recorder = TERMTOSVG.ensure(&home, &progress)?;

    progress.say("building (the first time takes a few minutes)");
    let binaries = Binaries::build()?;
    let example = ["build", "--package", "flashsale-browser", "--example", "pictures"];
    let built = interrupt.run(workspace::cargo().args(example))?;
    if built != ExitCode::SUCCESS {
        return Ok(built);
    }

    progress.say("starting servers");
    let run = Run::begin(&home, Profile::Debug)?;
    interrupt.check()?;
    let mut pictures = Command::new(workspace::target_dir()?.join("debug/examples/pictures"));
    pictures.arg(workspace::root().join("docs/images")).arg("--recorder").arg(recorder);
    pictures.envs(run.environment()?).env("FLASHSALE_TEST_BIN_DIR", binaries.folder());
    interrupt.run(&mut pictures)
}
