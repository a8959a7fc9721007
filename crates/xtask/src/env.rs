//! `cargo xtask env`: the stack's URLs and its admin token, for a shell.

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
    for (name, value) in stack.exports(&Home::at(home)?) {
        print(format_args!("export {name}={}", quote(&value)));
    }
    Ok(ExitCode::SUCCESS)
}

/// The text as one word of a POSIX shell that stands for exactly itself.
#[must_use]
pub fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
