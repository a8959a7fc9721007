//! One process of ours, with its log.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use servers::Signal;

use crate::wait::until;

/// Names the folder of the binaries under test.
const BIN_DIR: &str = "FLASHSALE_TEST_BIN_DIR";
const PATIENCE: Duration = Duration::from_secs(30);

/// A running binary. Dropping it kills it.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `name` with these variables and a log in `dir`.
    ///
    /// # Panics
    /// The binary cannot be started.
    pub fn start(name: &str, arguments: &[&str], variables: &[(String, String)], dir: &Path) -> Self {
        let number = fs::read_dir(dir).expect("the test's folder").count();
        let log = dir.join(format!("{name}-{number}.log"));
        let output = File::create(&log).expect("a log file");
        let errors = output.try_clone().expect("one more handle on the log");
        let child = Command::new(binary(name))
            .args(arguments)
            .env_clear()
            .envs(variables.iter().cloned())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} cannot be started: {error}; run cargo xtask test"));
        Self { name: name.to_owned(), child, log }
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits for a log line that holds `text` and returns it.
    pub async fn wait_for_log(&self, text: &str) -> String {
        let find = async || self.log().lines().find(|line| line.contains(text)).map(str::to_owned);
        until(&format!("{} logs {text:?}", self.name), PATIENCE, find).await
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// The process is gone.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw).expect("a pid");
        rustix::process::kill_process(pid, signal).expect("the process runs");
    }

    /// SIGKILL, and waits until it is gone.
    ///
    /// # Panics
    /// It was gone already.
    pub fn kill(mut self) {
        assert!(self.child.try_wait().expect("its state").is_none(), "{} ended by itself:\n{}", self.name, self.log());
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    /// Whether it has ended.
    ///
    /// # Panics
    /// Its state cannot be read.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("its state").is_some()
    }

    /// Waits until it ends by itself.
    pub async fn wait(mut self) -> ExitStatus {
        self.ended().await
    }

    /// [`Process::wait`], where its log is still of interest.
    pub async fn ended(&mut self) -> ExitStatus {
        let what = format!("{} ends", self.name);
        let child = std::cell::RefCell::new(&mut self.child);
        until(&what, PATIENCE, async || child.borrow_mut().try_wait().expect("its state")).await
    }

    /// SIGTERM, and waits until it has ended.
    pub async fn stop(self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait().await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of {} ---\n{}", self.name, self.log());
        }
    }
}

fn binary(name: &str) -> PathBuf {
    let dir = std::env::var_os(BIN_DIR).unwrap_or_else(|| panic!("{BIN_DIR} is not set; run cargo xtask test"));
    Path::new(&dir).join(name)
}
