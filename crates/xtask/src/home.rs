//! The folder where everything lives that a stack writes: data, logs, process ids, secrets.
//!
//! ```text
//! stack.json            ports and secrets, made by the first `up`
//! run/<name>.pid        the process id of each process, and nothing else
//! log/<name>.log        its output
//! redis/ rabbitmq/ postgres/   the servers' data
//! k6/                   the load generator, once it was used
//! schemathesis/         what holds the API against its own description, once the tests ran
//! axe/                  what holds the pages against the rules of accessibility, likewise
//! termtosvg/            what records a terminal, once pictures were taken
//! test-<pid>/           the servers of one `cargo xtask test`, while it runs
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use servers::Process;

use crate::progress::note;

/// The folder.
#[derive(Clone, Debug)]
pub struct Home {
    dir: PathBuf,
}

impl Home {
    /// The folder at `dir`, created where it is missing, for its owner only.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn at(dir: &Path) -> Result<Self> {
        let create = || {
            create_private(&dir.join("run"))?;
            create_private(&dir.join("log"))?;
            dir.canonicalize()
        };
        let dir = create().with_context(|| format!("create {}", dir.display()))?;
        Ok(Self { dir })
    }

    /// The folder itself, absolute.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A file or folder in it.
    #[must_use]
    pub fn join(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Where our own processes are started.
    #[must_use]
    pub fn run_dir(&self) -> PathBuf {
        self.join("run")
    }

    /// The log of the process called `name`.
    #[must_use]
    pub fn log(&self, name: &str) -> PathBuf {
        self.dir.join("log").join(format!("{name}.log"))
    }

    /// The file with the process id of the process called `name`.
    #[must_use]
    pub fn pid_file(&self, name: &str) -> PathBuf {
        self.dir.join("run").join(format!("{name}.pid"))
    }

    /// Notes the process id of `name`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn record(&self, name: &str, pid: u32) -> Result<()> {
        let file = self.pid_file(name);
        fs::write(&file, format!("{pid}\n")).with_context(|| format!("write {}", file.display()))
    }

    /// Forgets the process id of `name`.
    pub fn forget(&self, name: &str) {
        // A file that stays behind is taken for stale the next time.
        let _ = fs::remove_file(self.pid_file(name));
    }

    /// The living process called `name`: the one in its pid file, if it works inside this folder. A pid file that an
    /// earlier run left behind is removed.
    #[must_use]
    pub fn process(&self, name: &str) -> Option<Process> {
        let noted = fs::read_to_string(self.pid_file(name)).ok()?;
        let process = noted.trim().parse().ok().and_then(|pid| Process::adopt(pid, &self.dir));
        if process.is_none() {
            self.forget(name);
        }
        process
    }

    /// The lock that whoever starts or stops processes holds, until the file is dropped. Waits for it, and says so.
    ///
    /// # Errors
    /// When the lock file cannot be used.
    pub fn lock(&self) -> Result<File> {
        if let Some(lock) = self.try_lock("lock")? {
            return Ok(lock);
        }
        note("another `cargo xtask up` or `down` is at work here; waiting for it");
        let file = self.open_lock("lock")?;
        file.lock().context("wait for the lock")?;
        Ok(file)
    }

    /// The lock called `name`, if nobody holds it.
    ///
    /// # Errors
    /// When the lock file cannot be used.
    pub fn try_lock(&self, name: &str) -> Result<Option<File>> {
        let file = self.open_lock(name)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error).context("take the lock"),
        }
    }

    fn open_lock(&self, name: &str) -> Result<File> {
        let path = self.dir.join(name);
        let opened = OpenOptions::new().create(true).write(true).truncate(false).mode(0o600).open(&path);
        opened.with_context(|| format!("open {}", path.display()))
    }
}

/// A folder, with its parents, that only its owner enters.
pub(crate) fn create_private(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}
