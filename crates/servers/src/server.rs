//! What the three servers have in common: how one is started, found again, waited for and ended.

use std::fs::DirBuilder;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use crate::accounts::{APP, url_as};
use crate::process::bury;
use crate::{Error, Process, Stopped, poll};

/// How long a server may take to answer one probe. Loopback; a server that is busy starting is asked again.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// What has to be known about a server to run it.
#[derive(Clone, Debug)]
pub struct Profile {
    /// `redis`, `rabbitmq` or `postgres`.
    pub name: &'static str,
    /// Its folder, absolute.
    pub dir: PathBuf,
    /// The file its output is appended to.
    pub log: PathBuf,
    /// Its loopback port for clients.
    pub port: u16,
    /// Every loopback port it listens on.
    pub ports: Vec<u16>,
    /// Where our processes connect, as [`crate::APP`].
    pub url: String,
    /// The same as somebody who may do everything.
    pub operator_url: String,
    /// The operator's password, which the probe needs.
    pub(crate) password: String,
    /// The signal on which it ends in good order without waiting for its clients.
    pub(crate) stop_signal: Signal,
    /// The short names of its processes, those included that may outlive the first one.
    pub(crate) kin: &'static [&'static str],
    /// Says whether the server at the other end of this fresh connection, with this password, does its work.
    pub(crate) probe: fn(TcpStream, &str) -> std::io::Result<bool>,
}

impl Profile {
    /// Whether the server answers now.
    #[must_use]
    pub fn answers(&self) -> bool {
        let ask = || {
            let connection = TcpStream::connect_timeout(&loopback(self.port), PROBE_TIMEOUT)?;
            connection.set_read_timeout(Some(PROBE_TIMEOUT))?;
            connection.set_write_timeout(Some(PROBE_TIMEOUT))?;
            (self.probe)(connection, &self.password)
        };
        ask().unwrap_or(false)
    }

    /// Kills what an earlier, killed run of this server left behind in its folder.
    ///
    /// # Errors
    /// [`Error::Immortal`] when something does not end.
    pub fn bury_leftovers(&self) -> Result<(), Error> {
        bury(&self.dir, self.kin)
    }
}

/// A private server, described: starting it is up to the caller, and may be done again over the same data.
pub trait Server {
    /// What it is and where.
    fn profile(&self) -> Profile;

    /// Prepares its folder, which exists, and starts its process there. Use [`Server::start`].
    ///
    /// # Errors
    /// [`Error::NotInstalled`], [`Error::Setup`] or [`Error::Io`].
    fn launch(&self) -> Result<Process, Error>;

    /// Whether the server that was last started in its folder was started with these very accounts.
    fn has_its_accounts(&self) -> bool;

    /// Starts it, over the data of its last run if there is any. It accepts clients after [`Running::wait_ready`].
    ///
    /// # Errors
    /// [`Error::NotInstalled`], [`Error::Setup`] or [`Error::Io`].
    fn start(&self) -> Result<Running, Error> {
        let profile = self.profile();
        create_private_dir(&profile.dir)?;
        profile.bury_leftovers()?;
        Ok(Running { process: self.launch()?, profile })
    }

    /// The server as process `pid`, started earlier, perhaps by another program, if that process is this server.
    fn adopt(&self, pid: u32) -> Option<Running> {
        let profile = self.profile();
        Some(Running { process: Process::adopt(pid, &profile.dir)?, profile })
    }
}

/// A server's process. Dropping it kills the server, unless it was adopted or told to [`Running::leave_running`].
#[derive(Debug)]
pub struct Running {
    process: Process,
    profile: Profile,
}

impl Running {
    /// Where our processes connect, as [`crate::APP`].
    #[must_use]
    pub fn url(&self) -> &str {
        &self.profile.url
    }

    /// The same as somebody who may do everything.
    #[must_use]
    pub fn operator_url(&self) -> &str {
        &self.profile.operator_url
    }

    /// Its loopback port for clients.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.profile.port
    }

    /// The process to kill when the server is to die.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Whether its process runs.
    pub fn is_alive(&mut self) -> bool {
        self.process.is_alive()
    }

    /// Waits until it accepts clients.
    ///
    /// # Errors
    /// [`Error::Ended`] as soon as its process has ended, [`Error::NotReady`] after `timeout`.
    pub fn wait_ready(&mut self, timeout: Duration) -> Result<(), Error> {
        let ready = poll(timeout, || !self.process.is_alive() || self.profile.answers());
        let Profile { name, port, ref log, .. } = self.profile;
        if !self.process.is_alive() {
            Err(Error::Ended { name, log: log.clone() })
        } else if !ready {
            Err(Error::NotReady { name, port, waited: timeout, log: log.clone() })
        } else {
            Ok(())
        }
    }

    /// Stops it in good order, its clients' connections closed; kills it when that takes longer than `patience`.
    ///
    /// # Errors
    /// [`Error::Immortal`] when not even SIGKILL ends it.
    pub fn stop(&mut self, patience: Duration) -> Result<Stopped, Error> {
        let stopped = self.process.stop(self.profile.stop_signal, patience)?;
        self.profile.bury_leftovers()?;
        Ok(stopped)
    }

    /// Kills it as a power cut would: SIGKILL for every process it has.
    ///
    /// # Errors
    /// [`Error::Immortal`] when something does not end.
    pub fn kill(&mut self) -> Result<(), Error> {
        self.process.kill()?;
        self.profile.bury_leftovers()
    }

    /// Lets it live on when the handle is dropped, and when we end.
    pub fn leave_running(&mut self) {
        self.process.leave_running();
    }
}

/// `127.0.0.1:port`.
pub(crate) fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// The folder made absolute without asking that it exists, as [`std::path::absolute`], which fails only for "".
pub(crate) fn absolute(dir: PathBuf) -> PathBuf {
    std::path::absolute(&dir).unwrap_or(dir)
}

/// A folder that only its owner enters: it holds passwords and buyers.
fn create_private_dir(dir: &Path) -> Result<(), Error> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(Error::io(format!("create {}", dir.display())))
}

/// Writes a file that only its owner reads.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<(), Error> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let write = || {
        let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        // One that was there before keeps its mode otherwise.
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
        file.write_all(text.as_bytes())
    };
    write().map_err(Error::io(format!("write {}", path.display())))
}

/// Whether the file holds this text.
pub(crate) fn holds(path: &Path, text: &str) -> bool {
    std::fs::read_to_string(path).is_ok_and(|held| held == text)
}

/// The URL of [`crate::APP`] at the place of an operator's URL that we have made.
pub(crate) fn app_url(operator_url: &str) -> String {
    url_as(APP, operator_url).expect("our own URLs have a user, a password and a place")
}
