//! What can go wrong with a private server.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why a server could not be found, prepared, started or stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server is not installed.
    #[error("{program} is not installed (looked in {looked_in})")]
    NotInstalled {
        /// The program that was looked for.
        program: &'static str,
        /// Where, for a human.
        looked_in: String,
    },
    /// The operating system refused something.
    #[error("{what}: {source}")]
    Io {
        /// What was attempted, with the path or program it was about.
        what: String,
        /// The refusal.
        source: io::Error,
    },
    /// A program that prepares a server's data failed.
    #[error("{program} failed: {output}")]
    Setup {
        /// The program.
        program: &'static str,
        /// What it printed.
        output: String,
    },
    /// The server ended before it was ready.
    #[error("{name} ended while it was starting; see {}", log.display())]
    Ended {
        /// The server's name.
        name: &'static str,
        /// Where it wrote why.
        log: PathBuf,
    },
    /// The server runs but does not answer.
    #[error("{name} does not answer on port {port} after {} s; see {}", waited.as_secs(), log.display())]
    NotReady {
        /// The server's name.
        name: &'static str,
        /// The loopback port that was asked.
        port: u16,
        /// How long it was asked.
        waited: Duration,
        /// Where the server writes.
        log: PathBuf,
    },
    /// A process outlived SIGKILL, which only the kernel can explain.
    #[error("process {pid} does not end, not even on SIGKILL")]
    Immortal {
        /// The process.
        pid: u32,
    },
}

impl Error {
    /// Turns an [`io::Error`] into ours, with what was attempted.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what: what.into(), source }
    }
}
