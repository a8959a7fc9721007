//! What we tell the person in front of the terminal.
//!
//! Nothing here fails: a terminal that was closed, or a pipe whose reader has read enough, must not keep us from
//! stopping what we started.

use std::fmt::Display;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

/// How much of a log is shown when its process has failed.
const TAIL_LINES: usize = 25;

/// Tells what happens, with the seconds since the beginning.
pub(crate) struct Progress {
    begun: Instant,
}

impl Progress {
    pub(crate) fn begin() -> Self {
        Self { begun: Instant::now() }
    }

    pub(crate) fn say(&self, message: impl Display) {
        note(format_args!("[{:6.1} s] {message}", self.begun.elapsed().as_secs_f64()));
    }
}

/// Writes a line to stderr.
pub fn note(message: impl Display) {
    let _ = writeln!(std::io::stderr(), "{message}");
}

/// Writes a line to stdout, which belongs to what was asked for and a program may read.
pub(crate) fn print(message: impl Display) {
    let _ = writeln!(std::io::stdout(), "{message}");
}

/// The last lines of a log, indented, for an error message.
pub(crate) fn tail(log: &Path) -> String {
    let text = std::fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(TAIL_LINES)..];
    format!("the end of {}:\n  {}", log.display(), last.join("\n  "))
}
