//! One chromedriver, and every process of the browser that it starts.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use servers::{Process, free_port, inhabitants, poll};
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
    /// Starts the driver.
    ///
    /// # Panics
    /// It is not installed, or does not start.
    pub(crate) fn start() -> Self {
        // Left to itself, the driver takes a port that is free for IPv6, and gives up when an IPv4 neighbour has it.
        Self::on(free_port().expect("a free port"))
    }

    fn on(port: u16) -> Self {
        let dir = tempfile::tempdir().expect("a folder of the browser's own");
        let log = dir.path().join("driver.log");
        let mut command = Command::new("chromedriver");
        // What it starts works in this folder and writes nowhere else.
        command.arg(format!("--port={port}")).current_dir(dir.path()).env("HOME", dir.path()).env("TMPDIR", dir.path());
        let mut process = Process::spawn(&mut command, &log)
            .unwrap_or_else(|error| panic!("chromedriver cannot be started: {error}; run cargo xtask test"));
        let said = || std::fs::read_to_string(&log).unwrap_or_default();
        let listens = || said().contains("started successfully");
        poll(READY_WITHIN, || listens() || !process.is_alive());
        assert!(process.is_alive() && listens(), "chromedriver does not start on port {port}; it said: {}", said());
        Self { url: format!("http://127.0.0.1:{port}"), process, dir }
    }

    /// Its folder.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }
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

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_driver_that_ends_instead_of_listening_is_told_at_once_and_in_its_own_words() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let began = Instant::now();
        let panic = std::panic::catch_unwind(|| Driver::on(port)).err().expect("it cannot listen there");
        assert!(began.elapsed() < READY_WITHIN / 2, "{:?}", began.elapsed());
        let said = panic.downcast_ref::<String>().expect("words");
        assert!(said.contains("port not available"), "{said}");
    }

    #[test]
    fn drivers_listen_where_no_connection_and_no_neighbour_is_given_a_port() {
        let drivers = [Driver::start(), Driver::start()];
        let [first, second] = drivers.each_ref().map(|driver| driver.url.rsplit(':').next().unwrap().parse().unwrap());
        assert!(first != second && [first, second].iter().all(|port: &u16| *port < 32_000), "{first} and {second}");
    }
}
