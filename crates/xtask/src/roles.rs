//! Our own processes: the one table that `up`, `down` and `status` read.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use servers::{Process, Signal};

use crate::home::Home;
use crate::progress::{Progress, tail};
use crate::stack::Stack;
use crate::workspace;

/// How long a process may take to finish its work after SIGTERM; each of them limits itself to less.
const PATIENCE: Duration = Duration::from_secs(20);

/// The packages whose binaries `up` runs, and the command line, which starts at once then.
const PACKAGES: [&str; 4] = ["flashsale-api", "flashsale-worker", "flashsale-reconcile", "flashsale-cli"];

/// The binary that migrates, seeds and reconciles, and ends.
const RECONCILE: &str = "flashsale-reconcile";

/// A process of ours that is to run as long as the stack does.
#[derive(Clone, Copy, Debug)]
pub struct Role {
    /// Its name in `run/` and `log/`.
    pub name: &'static str,
    /// The binary it runs.
    pub binary: &'static str,
}

/// The API's name.
pub const API: &str = "api";

/// Our processes, in the order in which they are started and stopped: what takes in work ends before what works it off.
pub const ROLES: [Role; 5] = [
    Role { name: API, binary: "flashsale-api" },
    Role { name: "persister-1", binary: "flashsale-persister" },
    Role { name: "persister-2", binary: "flashsale-persister" },
    Role { name: "persister-3", binary: "flashsale-persister" },
    Role { name: "keeper", binary: "flashsale-keeper" },
];

/// The binaries, built.
pub(crate) struct Binaries {
    folder: PathBuf,
}

impl Binaries {
    /// Builds them for release; cargo shows its own progress.
    pub(crate) fn build() -> Result<Self> {
        let mut cargo = workspace::cargo();
        cargo.args(["build", "--release", "--bins"]);
        for package in PACKAGES {
            cargo.args(["--package", package]);
        }
        ensure!(cargo.status()?.success(), "the build failed");
        Ok(Self { folder: workspace::target_dir()?.join("release") })
    }

    /// Where they are.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Migrates, seeds and reconciles; the output is appended to the log `reconcile`.
    pub(crate) fn reconcile(&self, home: &Home, stack: &Stack) -> Result<()> {
        let log = home.log("reconcile");
        let output = fs::OpenOptions::new().create(true).append(true).open(&log)?;
        let mut reconcile = self.command(RECONCILE, home, stack);
        reconcile.envs([stack.owner_configuration(home)]);
        let status = reconcile.arg("--seed").stdout(output.try_clone()?).stderr(output).status()?;
        ensure!(status.success(), "{RECONCILE} failed ({status}); {}", tail(&log));
        Ok(())
    }

    /// Starts the role unless it runs, and anew if it runs another binary than the one just built.
    pub(crate) fn ensure_running(&self, role: Role, home: &Home, stack: &Stack, progress: &Progress) -> Result<()> {
        let Role { name, binary } = role;
        if let Some(running) = home.process(name) {
            if is_current(&running, &self.folder.join(binary)) {
                progress.say(format_args!("{name} runs already (process {})", running.pid()));
                return Ok(());
            }
            progress.say(format_args!("{name} runs an older build; replacing it"));
            stop(role, home)?;
        }
        let mut process = Process::spawn(&mut self.command(binary, home, stack), &home.log(name))?;
        home.record(name, process.pid())?;
        process.leave_running();
        progress.say(format_args!("{name} started (process {})", process.pid()));
        Ok(())
    }

    /// A command with its configuration in its environment.
    fn command(&self, binary: &str, home: &Home, stack: &Stack) -> Command {
        let mut command = Command::new(self.folder.join(binary));
        command.current_dir(home.run_dir()).envs(stack.configuration(home));
        command
    }
}

/// Stops the role if it runs: asked first, killed if it takes too long. Whether there was one.
///
/// # Errors
/// When not even SIGKILL ends it.
pub fn stop(role: Role, home: &Home) -> Result<bool> {
    let Some(mut running) = home.process(role.name) else { return Ok(false) };
    running.stop(Signal::TERM, PATIENCE)?;
    home.forget(role.name);
    Ok(true)
}

/// Whether the process runs this very file. Cargo replaces a binary by another file; the old one lives on, nameless,
/// as long as a process runs it. Where the system does not show it, the process is taken for current.
fn is_current(process: &Process, binary: &Path) -> bool {
    let Ok(runs) = fs::metadata(format!("/proc/{}/exe", process.pid())) else { return true };
    fs::metadata(binary).is_ok_and(|built| (built.dev(), built.ino()) == (runs.dev(), runs.ino()))
}
