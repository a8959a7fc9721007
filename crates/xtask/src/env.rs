//! `cargo xtask env`: the stack's URLs, its admin token, and the settings of its processes, for a shell.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;

use crate::home::Home;
use crate::progress::print;
use crate::stack::Stack;

/// Prints a line `export NAME='value'` for each.
///
/// # Errors
/// When there is no stack.
pub fn run(home: &Path) -> Result<ExitCode> {
    let stack = Stack::require(home)?;
    let home = Home::at(home)?;
    // The settings too: `flashsale doctor` looks at the servers as the processes do.
    let settings = stack.configuration(&home).into_iter().chain([stack.owner_configuration(&home)]);
    for (name, value) in stack.exports(&home).into_iter().chain(settings) {
        print(format_args!("export {name}={}", quote(&value)));
    }
    Ok(ExitCode::SUCCESS)
}

/// The text as one word of a POSIX shell that stands for exactly itself.
#[must_use]
pub fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
