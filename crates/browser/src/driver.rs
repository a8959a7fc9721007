//! One chromedriver, and every process of the browser that it starts.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use servers::{Process, inhabitants, poll};
use tempfile::TempDir;

/// Longest that the driver takes to listen, on a machine that is busy.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// The driver, in a folder of its own. Dropping it ends the driver and the browser, whatever they are doing.
pub(crate) struct Driver {
    /// Where it listens.
    pub(crate) url: String,
    process: Process,
    dir: TempDir,
}

impl Driver {
    /// Starts the driver on a free port.
    ///
    /// # Panics
    /// It is not installed, or does not start.
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().expect("a folder of the browser's own");
        let log = dir.path().join("driver.log");
        let mut command = Command::new("chromedriver");
        // What it starts works in this folder and writes nowhere else.
        command.arg("--port=0").current_dir(dir.path()).env("HOME", dir.path()).env("TMPDIR", dir.path());
        let process = Process::spawn(&mut command, &log)
            .unwrap_or_else(|error| panic!("chromedriver cannot be started: {error}; run cargo xtask test"));
        let mut port = None;
        poll(READY_WITHIN, || {
            port = port_in(&log);
            port.is_some()
        });
        let port = port.unwrap_or_else(|| panic!("chromedriver names no port in {}", log.display()));
        Self { url: format!("http://127.0.0.1:{port}"), process, dir }
    }

    /// Its folder.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }
}

/// `ChromeDriver was started successfully on port 40123.`
fn port_in(log: &Path) -> Option<u16> {
    let text = std::fs::read_to_string(log).ok()?;
    text.split_once("successfully on port ")?.1.split_once('.')?.0.parse().ok()
}

impl Drop for Driver {
    fn drop(&mut self) {
        // First the driver, which would wonder; the browser's processes are in groups of their own. Nothing can be done
        // here about one that SIGKILL does not end.
        let _ = self.process.kill();
        for pid in inhabitants(self.dir.path()) {
            if let Some(mut left) = Process::adopt(pid, self.dir.path()) {
                let _ = left.kill();
            }
        }
    }
}
