//! `cargo xtask test`: all tests, with servers of their own.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;
use servers::{Postgres, RabbitMq, RabbitMqPorts, Redis, Running, Server, free_port};

use crate::home::Home;
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::python::{AXE, SCHEMATHESIS};
use crate::scratch::{Profile, Scratch};
use crate::stack::secret;
use crate::{install, workspace};

/// How long a server may take to accept clients on a machine that is busy compiling.
const SERVER_TIMEOUT: Duration = Duration::from_secs(120);

/// Which tests are run.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum Suite {
    /// Every test.
    #[default]
    All,
    /// The fault matrix alone.
    Faults,
}

impl Suite {
    fn packages(self) -> &'static [&'static str] {
        match self {
            Self::All => &["--workspace"],
            Self::Faults => &["--package", "flashsale-nemesis"],
        }
    }

    /// Whether a browser is needed: it is large, and not installed for tests that name other packages.
    fn opens_pages(self, names_packages: bool, args: &[String]) -> bool {
        let names_browser = args.iter().any(|arg| arg.contains("browser") || arg.contains('*'));
        if names_packages { names_browser } else { self == Self::All }
    }
}

/// Builds all binaries, starts servers, runs the tests of `suite` with `args` passed on, and removes every trace of it.
/// Any number of these may run at once.
///
/// # Errors
/// When a server cannot be installed or started, or a program not be run.
pub fn run(home: &Path, suite: Suite, args: &[String]) -> Result<ExitCode> {
    let interrupt = Interrupt::watch()?;
    let home = Home::at(home)?;
    let progress = Progress::begin();
    install::ensure_servers(&home, &progress)?;
    install::ensure_fault_tools(&home, &progress)?;
    let schemathesis = SCHEMATHESIS.ensure(&home, &progress)?;
    let names_packages = args.iter().any(|arg| arg.starts_with("-p") || arg.starts_with("--package"));
    let axe = if suite.opens_pages(names_packages, args) {
        install::ensure_browser(&home, &progress)?;
        Some(AXE.ensure(&home, &progress)?)
    } else {
        None
    };

    progress.say("building");
    let built = interrupt.run(workspace::cargo().args(["build", "--workspace", "--bins"]))?;
    if built != ExitCode::SUCCESS {
        return Ok(built);
    }

    progress.say("starting servers for the tests");
    let run = Run::begin(&home, Profile::Debug)?;
    interrupt.check()?;

    let runner: &[&str] = if workspace::has_subcommand("nextest") { &["nextest", "run"] } else { &["test"] };
    progress.say(format_args!("cargo {}", runner.join(" ")));
    let mut tests = workspace::cargo();
    // With packages of the caller's own, nobody else's need be compiled.
    let packages = if names_packages { &[] } else { suite.packages() };
    tests.args(runner).args(packages).args(args).envs(run.environment()?);
    tests.env("FLASHSALE_TEST_SCHEMATHESIS_DIR", schemathesis.with_file_name(""));
    tests.envs(axe.map(|file| ("FLASHSALE_TEST_AXE", file)));
    let code = interrupt.run(&mut tests)?;

    drop(run);
    progress.say(if code == ExitCode::SUCCESS { "passed" } else { "FAILED" });
    Ok(code)
}

/// The servers of one run, and the folder they live in: dropped in this order.
pub(crate) struct Run {
    /// PostgreSQL, Redis, RabbitMQ.
    servers: Vec<Running>,
    scratch: Scratch,
}

impl Run {
    /// Starts them, for binaries of this profile. Those for release are as durable as `up`'s.
    pub(crate) fn begin(home: &Home, profile: Profile) -> Result<Self> {
        let mut run = Self { servers: Vec::new(), scratch: Scratch::begin(home, profile)? };
        let dir = run.scratch.dir().to_owned();

        // No test cuts this machine's power, and every test makes a database.
        let settings: &[_] = match profile {
            Profile::Debug => &[("fsync", "off"), ("max_connections", "300")],
            Profile::Release => &[],
        };
        let settings = settings.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        let postgres = Postgres { settings, ..Postgres::new(dir.join("postgres"), free_port()?, secret()) };
        run.servers.push(postgres.start()?);
        run.servers.push(Redis::new(dir.join("redis"), free_port()?, secret()).start()?);
        run.servers.push(RabbitMq::new(dir.join("rabbitmq"), RabbitMqPorts::free()?, secret()).start()?);
        for server in &mut run.servers {
            server.wait_ready(SERVER_TIMEOUT)?;
        }
        Ok(run)
    }

    /// What the tests are told.
    pub(crate) fn environment(&self) -> Result<Vec<(&'static str, String)>> {
        let [postgres, redis, rabbitmq] = &self.servers[..] else { unreachable!("three servers were started") };
        let variables = [
            // Makes each test's database, and knows its other accounts.
            ("FLASHSALE_TEST_POSTGRES_URL", postgres.operator_url().to_owned()),
            // As the processes under test; the operator's is for looking and meddling.
            ("FLASHSALE_TEST_REDIS_URL", redis.url().to_owned()),
            ("FLASHSALE_TEST_REDIS_OPERATOR_URL", redis.operator_url().to_owned()),
            ("FLASHSALE_TEST_AMQP_URL", rabbitmq.url().to_owned()),
        ];
        Ok(variables.into_iter().chain(self.scratch.environment()?).collect())
    }
}
