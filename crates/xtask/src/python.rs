//! Programs from PyPI, each in a virtual environment of its own in the home folder.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::home::Home;
use crate::install::install_packages;
use crate::progress::{Progress, tail};

/// What to install, and where.
pub(crate) struct Program {
    /// The environment's folder in the home folder.
    pub(crate) name: &'static str,
    /// Packages with their versions, one a line: all of them, since nothing else is installed with them.
    pub(crate) requirements: &'static str,
    /// The file that it is about: `bin/<program>`, or a file of a package.
    pub(crate) file: &'static str,
}

/// What holds the API against its OpenAPI document.
pub(crate) const SCHEMATHESIS: Program =
    Program { name: "schemathesis", requirements: include_str!("schemathesis.txt"), file: "bin/schemathesis" };

/// What finds the faults of a page that keep people from using it. The package brings the script; what it would drive a
/// browser with is not needed.
pub(crate) const AXE: Program =
    Program { name: "axe", requirements: "axe-playwright-python==0.1.8\n", file: "axe_playwright_python/axe.min.js" };

/// What draws a terminal's session as a picture that moves.
pub(crate) const TERMTOSVG: Program = Program {
    name: "termtosvg",
    requirements: "lxml==6.1.3\npyte==0.8.2\ntermtosvg==1.1.0\nwcwidth==0.9.4\n",
    file: "bin/termtosvg",
};

impl Program {
    /// Where its file is; installs it where it is missing or has other versions.
    ///
    /// # Errors
    /// When it cannot be installed.
    pub(crate) fn ensure(&self, home: &Home, progress: &Progress) -> Result<PathBuf> {
        let venv = home.join(self.name);
        // Any number of us may be at work in one home folder.
        let lock = File::create(home.join(&format!("{}.lock", self.name))).context("create the lock")?;
        lock.lock().context("wait for another installation")?;
        let installed = venv.join("requirements.txt");
        if fs::read_to_string(&installed).is_ok_and(|present| present == self.requirements) {
            return self.find(&venv);
        }
        progress.say(format_args!("installing {} from PyPI into {}", self.name, venv.display()));
        if !self.install(home)? {
            // Debian's python3 comes without what a virtual environment needs, and a bare machine without python3.
            install_packages(&["python3-venv"], home, progress)?;
            ensure!(self.install(home)?, "{} could not be installed; {}", self.name, tail(&home.log("install")));
        }
        let file = self.find(&venv)?;
        // Last: what is left of an installation that was cut off is not taken for one.
        fs::write(&installed, self.requirements).context("note what was installed")?;
        Ok(file)
    }

    /// The file in the environment; a package's lie below a folder that is named after Python's version.
    fn find(&self, venv: &Path) -> Result<PathBuf> {
        let versions = fs::read_dir(venv.join("lib")).into_iter().flatten().flatten();
        let packages = versions.map(|version| version.path().join("site-packages"));
        let mut places = packages.chain([venv.to_owned()]).map(|folder| folder.join(self.file));
        let found = places.find(|place| place.exists());
        found.with_context(|| format!("{} was installed, but {} is not in {}", self.name, self.file, venv.display()))
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
        let pip = ["install", "--quiet", "--disable-pip-version-check", "--no-deps", "--requirement"];
        Ok(succeeds(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?
            && succeeds(Command::new(venv.join("bin/pip")).args(pip).arg(&list))?)
    }
}
