//! Ctrl-C and its relatives, noticed instead of died of.

use std::io;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

/// What shells answer for a program that ended on Ctrl-C.
const EXIT_INTERRUPTED: u8 = 130;

/// Longer than any session: "until it happens".
pub(crate) const ENDLESSLY: Duration = Duration::from_secs(365 * 24 * 3600);

/// Remembers the last of SIGINT, SIGTERM and SIGHUP (a closed terminal) that arrived; none ends us by itself any more.
pub(crate) struct Interrupt {
    last_signal: Arc<AtomicUsize>,
}

impl Interrupt {
    pub(crate) fn watch() -> Result<Self> {
        let last_signal = Arc::new(AtomicUsize::new(0));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            let value = usize::try_from(signal).expect("signal numbers are positive");
            flag::register_usize(signal, Arc::clone(&last_signal), value).context("watch for signals")?;
        }
        Ok(Self { last_signal })
    }

    /// Whether somebody wants us to end.
    pub(crate) fn happened(&self) -> bool {
        self.last_signal.load(Ordering::Relaxed) != 0
    }

    /// # Errors
    /// When somebody wants us to end.
    pub(crate) fn check(&self) -> Result<()> {
        if self.happened() { bail!("interrupted") } else { Ok(()) }
    }

    /// Runs a command in the foreground and gives its exit code; 130 when a signal ended it.
    ///
    /// Ctrl-C reaches the command from the terminal; a signal sent to us alone is passed on.
    pub(crate) fn run(&self, command: &mut Command) -> Result<ExitCode> {
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = command.spawn().with_context(|| format!("start {program}"))?;
        let sigint = usize::try_from(SIGINT).expect("signal numbers are positive");
        let mut passed_on = false;
        let mut ended: io::Result<Option<_>> = Ok(None);
        servers::poll(ENDLESSLY, || {
            let signal = self.last_signal.load(Ordering::Relaxed);
            if signal != 0 && signal != sigint && !passed_on {
                passed_on = kill_process(Pid::from_child(&child), Signal::TERM).is_ok();
            }
            ended = child.try_wait();
            !matches!(ended, Ok(None))
        });
        let status = ended.with_context(|| format!("wait for {program}"))?;
        let code = status.and_then(|status| status.code()).and_then(|code| u8::try_from(code).ok());
        Ok(ExitCode::from(code.unwrap_or(EXIT_INTERRUPTED)))
    }
}
