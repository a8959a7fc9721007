//! `cargo xtask test`: all tests, with servers of their own.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use servers::{Postgres, Process, RabbitMq, RabbitMqPorts, Redis, Running, Server, free_port, inhabitants};

use crate::home::{Home, create_private};
use crate::interrupt::Interrupt;
use crate::progress::{Progress, note};
use crate::stack::secret;
use crate::{install, workspace};

/// How long a server may take to accept clients on a machine that is busy compiling.
const SERVER_TIMEOUT: Duration = Duration::from_secs(120);

/// The servers' folders are called `test-<process id>`.
const PREFIX: &str = "test-";

/// Builds all binaries, starts servers, runs all tests with `args` passed on, and removes every trace of it. Any number
/// of these may run at once.
///
/// # Errors
/// When a server cannot be installed or started, or a program not be run.
pub fn run(home: &Path, args: &[String]) -> Result<ExitCode> {
    let interrupt = Interrupt::watch()?;
    let home = Home::at(home)?;
    let progress = Progress::begin();
    install::ensure_servers(&home, &progress)?;

    progress.say("building");
    let built = interrupt.run(workspace::cargo().args(["build", "--workspace", "--bins"]))?;
    if built != ExitCode::SUCCESS {
        return Ok(built);
    }

    progress.say("starting servers for the tests");
    remove_dead_runs(&home)?;
    let run = Run::begin(&home)?;
    interrupt.check()?;

    let runner: &[&str] = if workspace::has_subcommand("nextest") { &["nextest", "run"] } else { &["test"] };
    progress.say(format_args!("cargo {}", runner.join(" ")));
    let mut tests = workspace::cargo();
    tests.args(runner).arg("--workspace").args(args).envs(run.environment()?);
    let code = interrupt.run(&mut tests)?;

    drop(run);
    progress.say(if code == ExitCode::SUCCESS { "passed" } else { "FAILED" });
    Ok(code)
}

/// The servers of one run of the tests. Dropping it ends them, and everything else that lives in the run's folder.
struct Run {
    dir: PathBuf,
    /// PostgreSQL, Redis, RabbitMQ.
    servers: Vec<Running>,
    /// Held as long as we live: tells others that the folder is in use.
    _lock: File,
}

impl Run {
    fn begin(home: &Home) -> Result<Self> {
        let name = format!("{PREFIX}{}", std::process::id());
        let dir = home.join(&name);
        create_private(&dir.join("tmp")).with_context(|| format!("create {}", dir.display()))?;
        let lock = home.try_lock(&format!("{name}/lock"))?.context("another process uses our folder")?;
        let mut run = Self { dir, servers: Vec::new(), _lock: lock };

        // No test cuts this machine's power, and every test makes a database.
        let settings = [("fsync", "off"), ("max_connections", "300")];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let postgres = Postgres { settings, ..Postgres::new(run.dir.join("postgres"), free_port()?, secret()) };
        run.servers.push(postgres.start()?);
        run.servers.push(Redis::new(run.dir.join("redis"), free_port()?, secret()).start()?);
        run.servers.push(RabbitMq::new(run.dir.join("rabbitmq"), RabbitMqPorts::free()?, secret()).start()?);
        for server in &mut run.servers {
            server.wait_ready(SERVER_TIMEOUT)?;
        }
        Ok(run)
    }

    /// What the tests are told.
    fn environment(&self) -> Result<Vec<(&'static str, String)>> {
        const SERVERS: [&str; 3] =
            ["FLASHSALE_TEST_POSTGRES_URL", "FLASHSALE_TEST_REDIS_URL", "FLASHSALE_TEST_AMQP_URL"];
        let urls = self.servers.iter().map(|server| server.url().to_owned());
        let binaries = workspace::target_dir()?.join("debug");
        let others = [
            ("FLASHSALE_TEST_BIN_DIR", binaries.to_string_lossy().into_owned()),
            // So that what a test starts for itself in a temporary folder is found and ended even if the test was not
            // able to.
            ("TMPDIR", self.dir.join("tmp").to_string_lossy().into_owned()),
        ];
        Ok(SERVERS.into_iter().zip(urls).chain(others).collect())
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.servers.clear();
        if let Err(error) = remove_run(&self.dir) {
            note(format_args!("{} could not be removed: {error:#}", self.dir.display()));
        }
    }
}

/// Removes what runs left behind that were killed.
fn remove_dead_runs(home: &Home) -> Result<()> {
    for entry in fs::read_dir(home.dir()).context("read the home folder")?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(PREFIX) && home.try_lock(&format!("{name}/lock"))?.is_some() {
            remove_run(&entry.path())?;
        }
    }
    Ok(())
}

/// Ends every process that works in the folder, then removes it.
fn remove_run(dir: &Path) -> Result<()> {
    for mut process in inhabitants(dir).into_iter().filter_map(|pid| Process::adopt(pid, dir)) {
        process.kill()?;
    }
    fs::remove_dir_all(dir).with_context(|| format!("remove {}", dir.display()))
}
