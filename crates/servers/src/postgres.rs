//! A private PostgreSQL, also for root and also below a folder that nobody else may enter.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Signal, geteuid};

use crate::accounts::{APP, OWNER, POSTGRES_ACCOUNTS, fingerprint, password_of, url_as};
use crate::process::{inhabitants, shows_directories};
use crate::server::{absolute, app_url, holds, write_private};
use crate::{Error, Process, Profile, Server, find};

/// The database that every cluster has from the start.
const MAINTENANCE_DATABASE: &str = "postgres";

/// The superuser, by the name that most servers give it.
const SUPERUSER: &str = "postgres";

/// The file in a cluster that tells which accounts it has. PostgreSQL leaves alone what it does not know.
const ACCOUNTS_MARK: &str = "flashsale-accounts";

/// A private PostgreSQL cluster on 127.0.0.1 with three roles, each with a password (scram-sha-256): the superuser
/// `postgres`, [`OWNER`] and [`APP`].
#[derive(Clone, Debug)]
pub struct Postgres {
    /// Its folder; the cluster is in `data` below it.
    pub dir: PathBuf,
    /// The file its output is appended to.
    pub log: PathBuf,
    /// Its loopback port.
    pub port: u16,
    /// The superuser's password, fixed by the first start, and the secret of [`password_of`].
    pub password: String,
    /// The database of the URLs, created by the first start: a plain lower-case name.
    pub database: String,
    /// Further server settings (name, value), as in postgresql.conf.
    pub settings: Vec<(String, String)>,
}

impl Postgres {
    /// A cluster in `dir`, logging to `dir/postgres.log`, with the database `postgres`.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, port: u16, password: impl Into<String>) -> Self {
        let dir = absolute(dir.into());
        Self {
            log: dir.join("postgres.log"),
            dir,
            port,
            password: password.into(),
            database: MAINTENANCE_DATABASE.to_owned(),
            settings: Vec::new(),
        }
    }

    /// Where the database is migrated, as [`OWNER`].
    #[must_use]
    pub fn owner_url(&self) -> String {
        url_as(OWNER, &self.operator_url()).expect("our own URLs have a user, a password and a place")
    }

    fn operator_url(&self) -> String {
        format!("postgres://{SUPERUSER}:{}@127.0.0.1:{}/{}", self.password, self.port, self.database)
    }

    fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Makes the cluster, in a folder that gets its name only when it is complete: a start that was killed here starts
    /// again from nothing.
    fn create_cluster(&self) -> Result<(), Error> {
        let bin = find::postgres_bin(None)?;
        let unfinished = self.dir.join("data.new");
        remove_dir_if_there(&unfinished)?;
        let password_file = self.dir.join("password");
        write_private(&password_file, &self.password)?;
        let mut initdb = self.command(&bin.join("initdb"));
        initdb.arg(format!("--username={SUPERUSER}"));
        initdb.args(["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"]);
        if self.settings.iter().any(|(name, value)| name == "fsync" && value == "off") {
            initdb.arg("--no-sync");
        }
        initdb.arg("--pgdata").arg(&unfinished).arg("--pwfile").arg(&password_file);
        let made = run(&mut initdb, "initdb", "");
        std::fs::remove_file(&password_file).map_err(Error::io(format!("remove {}", password_file.display())))?;
        made?;
        if self.database != MAINTENANCE_DATABASE {
            self.run_single(&bin, &unfinished, MAINTENANCE_DATABASE, &format!("CREATE DATABASE {}", self.database))?;
        }
        std::fs::rename(&unfinished, self.data()).map_err(Error::io(format!("create {}", self.data().display())))
    }

    /// What gives the cluster its accounts, as one command of several statements.
    fn accounts(&self) -> String {
        let passwords =
            [OWNER, APP].map(|role| format!("SET password.{role} = '{}';", password_of(role, &self.password)));
        // An empty line ends a command.
        format!("{}\n{}", passwords.join("\n"), POSTGRES_ACCOUNTS.replace("\n\n", "\n"))
    }

    /// Gives the cluster its accounts, unless it has them. Nothing serves it yet.
    fn create_accounts(&self, bin: &Path) -> Result<(), Error> {
        if self.has_its_accounts() {
            return Ok(());
        }
        let accounts = self.accounts();
        self.run_single(bin, &self.data(), &self.database, &accounts)?;
        write_private(&self.data().join(ACCOUNTS_MARK), &fingerprint(&accounts))
    }

    /// Runs one command in a cluster that nothing serves, as its superuser: passwords reach it by no argument, log or
    /// port. Everything takes place, or nothing.
    fn run_single(&self, bin: &Path, data: &Path, database: &str, command: &str) -> Result<(), Error> {
        let mut single = self.command(&bin.join("postgres"));
        single.arg("--single").arg("-j").arg("-D").arg(data).args(["-c", "exit_on_error=on"]);
        // An error's text would show the statement, and with it a password.
        single.args(["-c", "log_error_verbosity=terse", "-c", "log_min_error_statement=panic"]);
        run(single.arg(database), "postgres --single", &format!("{command}\n\n"))
    }

    /// Removes the lock file of a killed server. PostgreSQL does so itself, unless it takes the old process for alive:
    /// where nobody reaps orphans, as in a container without an init, a dead one keeps its number forever.
    fn remove_stale_lock(&self) -> Result<(), Error> {
        let lock = self.data().join("postmaster.pid");
        if shows_directories() && inhabitants(&self.data()).is_empty() && lock.exists() {
            std::fs::remove_file(&lock).map_err(Error::io(format!("remove {}", lock.display())))?;
        }
        Ok(())
    }

    /// The command, as the user `postgres` when we are root, whom PostgreSQL refuses.
    ///
    /// That user keeps one right of root's, to pass through folders and files whatever their mode: the cluster may lie
    /// below a folder that only root enters (a clone in /root, a `mktemp -d`), and containers grant this one too.
    fn command(&self, program: &Path) -> Command {
        let mut command = if geteuid().is_root() {
            let mut as_postgres = Command::new("setpriv");
            as_postgres
                .args(["--reuid=postgres", "--regid=postgres", "--clear-groups"])
                .args(["--inh-caps=+dac_override", "--ambient-caps=+dac_override"])
                .arg(program);
            as_postgres
        } else {
            Command::new(program)
        };
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("PG")) {
                command.env_remove(name);
            }
        }
        command.current_dir(&self.dir).env("LC_ALL", "C").env("TZ", "UTC");
        command
    }
}

impl Server for Postgres {
    fn profile(&self) -> Profile {
        Profile {
            name: "postgres",
            dir: self.dir.clone(),
            log: self.log.clone(),
            port: self.port,
            ports: vec![self.port],
            url: app_url(&self.operator_url()),
            operator_url: self.operator_url(),
            password: self.password.clone(),
            // "Fast" shutdown; SIGTERM would wait until every client has gone by itself.
            stop_signal: Signal::INT,
            kin: &["postgres"],
            probe: asks_for_password,
        }
    }

    fn has_its_accounts(&self) -> bool {
        holds(&self.data().join(ACCOUNTS_MARK), &fingerprint(&self.accounts()))
    }

    fn launch(&self) -> Result<Process, Error> {
        let version_file = self.data().join("PG_VERSION");
        if !version_file.exists() {
            self.create_cluster()?;
        }
        self.remove_stale_lock()?;
        let version =
            std::fs::read_to_string(&version_file).map_err(Error::io(format!("read {}", version_file.display())))?;
        let bin = find::postgres_bin(Some(version.trim()))?;
        self.create_accounts(&bin)?;
        let mut command = self.command(&bin.join("postgres"));
        command.arg("-D").arg(self.data()).arg("-p").arg(self.port.to_string());
        // No Unix socket: its path would be too long in a deep folder.
        command.args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]);
        for (name, value) in &self.settings {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        Process::spawn(&mut command, &self.log)
    }
}

/// A server that is ready answers a start-up message (protocol 3.0) with an authentication request, `R`; one that is
/// still starting or recovering answers with an error, `E` (57P03).
fn asks_for_password(mut connection: TcpStream, _password: &str) -> std::io::Result<bool> {
    connection.write_all(b"\x00\x00\x00\x18\x00\x03\x00\x00user\x00flashsale\x00\x00")?;
    let mut kind = [0];
    connection.read_exact(&mut kind)?;
    Ok(kind == *b"R")
}

/// Runs a program that prepares the cluster, with `input`.
fn run(command: &mut Command, program: &'static str, input: &str) -> Result<(), Error> {
    let mut talk = || {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // One that has died says why below.
            stdin.write_all(input.as_bytes()).or_else(|error| match error.kind() {
                ErrorKind::BrokenPipe => Ok(()),
                _ => Err(error),
            })?;
        }
        child.wait_with_output()
    };
    let output = talk().map_err(Error::io(format!("run {program}")))?;
    if output.status.success() {
        return Ok(());
    }
    let printed = [output.stdout, output.stderr].concat();
    Err(Error::Setup { program, output: String::from_utf8_lossy(&printed).trim().to_owned() })
}

fn remove_dir_if_there(dir: &Path) -> Result<(), Error> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io(format!("remove {}", dir.display()))(error)),
        _ => Ok(()),
    }
}
