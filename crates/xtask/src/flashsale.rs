//! `cargo flashsale`: the operator's command line, from here.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::home::Home;
use crate::interrupt::Interrupt;
use crate::roles::Binaries;
use crate::stack::Stack;

/// Runs `flashsale <args>` as `up` has built it and gives its exit code. Where there is a stack it knows its addresses and
/// secrets, unless the environment names others.
///
/// # Errors
/// When it cannot be built or run.
pub fn run(home: &Path, args: &[String]) -> Result<ExitCode> {
    let interrupt = Interrupt::watch()?;
    let binaries = Binaries::build()?;
    let mut command = Command::new(binaries.folder().join("flashsale"));
    command.args(args);
    if let Some(stack) = Stack::load(home)? {
        let home = Home::at(home)?;
        // The settings too: `flashsale doctor` looks at the servers as the processes do.
        let settings = stack.configuration(&home).into_iter().chain([stack.owner_configuration(&home)]);
        let known = stack.exports(&home).into_iter().chain(settings);
        command.envs(known.filter(|(name, _)| std::env::var_os(name).is_none()));
    }
    interrupt.run(&mut command)
}
