//! A folder of one run's own, in which everything lives that the run starts.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use servers::{Process, inhabitants};

use crate::home::{Home, create_private};
use crate::progress::note;
use crate::workspace;

/// The folders are called `test-<process id>`.
const PREFIX: &str = "test-";

/// Which of our binaries are run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Profile {
    /// With failpoints, and quick to build.
    Debug,
    /// As they are shipped.
    Release,
}

/// The folder. Dropping it ends every process that works in it, whoever started it, and removes it.
pub(crate) struct Scratch {
    dir: PathBuf,
    profile: Profile,
    /// Held as long as we live: tells others that the folder is in use.
    _lock: File,
}

impl Scratch {
    /// A new folder; what runs left behind that were killed is removed.
    pub(crate) fn begin(home: &Home, profile: Profile) -> Result<Self> {
        remove_dead(home)?;
        let name = format!("{PREFIX}{}", std::process::id());
        let dir = home.join(&name);
        create_private(&dir.join("tmp")).with_context(|| format!("create {}", dir.display()))?;
        let lock = home.try_lock(&format!("{name}/lock"))?.context("another process uses our folder")?;
        Ok(Self { dir, profile, _lock: lock })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the binaries under test are, and that temporary files belong in here: what a test starts there is found
    /// and ended even if the test was not able to.
    pub(crate) fn environment(&self) -> Result<[(&'static str, String); 2]> {
        let binaries = workspace::target_dir()?.join(match self.profile {
            Profile::Debug => "debug",
            Profile::Release => "release",
        });
        Ok([
            ("FLASHSALE_TEST_BIN_DIR", binaries.to_string_lossy().into_owned()),
            ("TMPDIR", self.temporary().to_string_lossy().into_owned()),
        ])
    }

    fn temporary(&self) -> PathBuf {
        self.dir.join("tmp")
    }

    /// Moves the temporary files to `place`, for somebody to look into.
    pub(crate) fn keep(&self, place: &Path) -> Result<()> {
        end_all(&self.dir)?;
        fs::rename(self.temporary(), place).with_context(|| format!("create {}", place.display()))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.dir) {
            note(format_args!("{} could not be removed: {error:#}", self.dir.display()));
        }
    }
}

/// Removes what runs left behind that were killed.
fn remove_dead(home: &Home) -> Result<()> {
    for entry in fs::read_dir(home.dir()).context("read the home folder")?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(PREFIX) && home.try_lock(&format!("{name}/lock"))?.is_some() {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

fn remove(dir: &Path) -> Result<()> {
    end_all(dir)?;
    fs::remove_dir_all(dir).with_context(|| format!("remove {}", dir.display()))
}

/// Ends every process that works in the folder.
fn end_all(dir: &Path) -> Result<()> {
    for mut process in inhabitants(dir).into_iter().filter_map(|pid| Process::adopt(pid, dir)) {
        process.kill()?;
    }
    Ok(())
}
