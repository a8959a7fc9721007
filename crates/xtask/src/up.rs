//! `cargo xtask up`: from nothing, or from whatever is left, to a running sale.

use std::fs::File;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};

use crate::home::Home;
use crate::interrupt::{ENDLESSLY, Interrupt};
use crate::progress::{Progress, note, print, tail};
use crate::roles::{self, API, Binaries, ROLES};
use crate::stack::{SERVERS, Stack, require_free, require_free_ports};
use crate::{down, http, install};

/// How long a server may take to accept clients: RabbitMQ needs 3 s on a quiet machine, PostgreSQL may have to recover.
const SERVER_TIMEOUT: Duration = Duration::from_secs(120);

/// How long the API may take until every dependency is reached and the gates stand.
const READY_TIMEOUT: Duration = Duration::from_secs(90);

/// The lock of the `up` that stays in the foreground and stops everything when it ends.
const FOREGROUND_LOCK: &str = "foreground.lock";

/// Starts what does not run, then waits for Ctrl-C and stops everything; with `detach`, returns and leaves it running.
///
/// # Errors
/// When something is missing, a port is taken, or a step fails; what runs by then goes on.
pub fn run(home: &Path, port: Option<u16>, detach: bool) -> Result<ExitCode> {
    let interrupt = Interrupt::watch()?;
    let home = Home::at(home)?;
    let lock = home.lock()?;
    let foreground = if detach { None } else { home.try_lock(FOREGROUND_LOCK)? };
    let stack = match start(&home, port, &interrupt) {
        Err(_) if interrupt.happened() && foreground.is_some() => {
            down::stop_all(&home, &Progress::begin())?;
            bail!("interrupted; everything is stopped");
        }
        Err(error) if something_runs(&home) => bail!("{error:#}\nWhat runs by now goes on. Stop it: cargo xtask down"),
        Err(error) => return Err(error),
        Ok(stack) => stack,
    };
    print(summary(&stack, &home));
    drop(lock);
    match foreground {
        Some(foreground) => stay(&home, &interrupt, foreground)?,
        None if detach => print("\nIt goes on running. Stop it: cargo xtask down"),
        None => print("\nThe `cargo xtask up` that runs in another terminal stops it all."),
    }
    Ok(ExitCode::SUCCESS)
}

fn something_runs(home: &Home) -> bool {
    every_name().any(|name| home.process(name).is_some())
}

/// The name of every process, servers first.
fn every_name() -> impl Iterator<Item = &'static str> {
    SERVERS.into_iter().chain(ROLES.map(|role| role.name))
}

fn start(home: &Home, port: Option<u16>, interrupt: &Interrupt) -> Result<Stack> {
    let progress = Progress::begin();
    let stack = settle_ports(home, port)?;
    install::ensure_servers(home, &progress)?;
    interrupt.check()?;
    start_servers(&stack, home, &progress)?;
    interrupt.check()?;
    progress.say("building (the first time takes a few minutes)");
    let binaries = Binaries::build()?;
    interrupt.check()?;
    progress.say("migrating, seeding and reconciling");
    binaries.reconcile(home, &stack)?;
    for role in ROLES {
        interrupt.check()?;
        binaries.ensure_running(role, home, &stack, &progress)?;
    }
    wait_ready(&stack, home, interrupt)?;
    progress.say(format_args!("ready; every request, described and to try: {}/docs", stack.api_url()));
    Ok(stack)
}

/// The stack with its ports, every one of which is free or ours. An API on another port than the one wanted is stopped.
fn settle_ports(home: &Home, port: Option<u16>) -> Result<Stack> {
    let (mut stack, is_new) = match Stack::load(home.dir())? {
        Some(stack) => (stack, false),
        None => (Stack::invent()?, true),
    };
    let moves = port.filter(|&port| port != stack.api_port);
    if let Some(port) = moves {
        require_free(port, "the API", "choose another with --port")?;
        stack.api_port = port;
        ROLES.into_iter().filter(|role| role.name == API).try_for_each(|role| roles::stop(role, home).map(drop))?;
    }
    require_free_ports(&stack, home)?;
    if is_new || moves.is_some() {
        stack.save(home)?;
    }
    Ok(stack)
}

/// Starts the servers that do not run, all at once, and waits for them. One that an earlier build has started with other
/// accounts is started anew.
fn start_servers(stack: &Stack, home: &Home, progress: &Progress) -> Result<()> {
    let mut starting = Vec::new();
    for server in stack.servers(home) {
        let name = server.profile().name;
        if let Some(mut running) = home.process(name).and_then(|process| server.adopt(process.pid())) {
            if server.has_its_accounts() {
                progress.say(format_args!("{name} runs already (process {})", running.pid()));
                starting.push((name, running));
                continue;
            }
            progress.say(format_args!("{name} runs with older accounts; replacing it"));
            running.stop(SERVER_TIMEOUT)?;
        }
        let mut running = server.start()?;
        home.record(name, running.pid())?;
        running.leave_running();
        progress.say(format_args!("{name} started on 127.0.0.1:{} (process {})", running.port(), running.pid()));
        starting.push((name, running));
    }
    for (name, mut running) in starting {
        running.wait_ready(SERVER_TIMEOUT).map_err(|error| anyhow!("{error}; {}", tail(&home.log(name))))?;
    }
    progress.say("postgres, redis and rabbitmq answer");
    Ok(())
}

/// Waits until the API says it is ready, and says which process has ended if one has.
fn wait_ready(stack: &Stack, home: &Home, interrupt: &Interrupt) -> Result<()> {
    let mut ended = None;
    let ready = servers::poll(READY_TIMEOUT, || {
        ended = ROLES.into_iter().find(|role| home.process(role.name).is_none());
        ended.is_some()
            || interrupt.happened()
            || http::get(stack.api_port, "/readyz").is_ok_and(|answer| answer.status == 200)
    });
    interrupt.check()?;
    if let Some(role) = ended {
        bail!("{} ended while it was starting; {}", role.name, tail(&home.log(role.name)));
    }
    if !ready {
        let answer = http::get(stack.api_port, "/readyz").map_or_else(|error| error.to_string(), |answer| answer.body);
        let seconds = READY_TIMEOUT.as_secs();
        bail!("the API is not ready after {seconds} s ({answer}); {}", tail(&home.log(API)));
    }
    Ok(())
}

/// Everything a person needs to go on: where to look, what to try, and every address and secret.
fn summary(stack: &Stack, home: &Home) -> String {
    let url = stack.api_url();
    let mut text = format!(
        "\nThe shop:             {url}/\nThe operator's page:  {url}/admin (token {})\n\nNext, 500 buyers for 10 units:\n\n  \
         cargo flashsale simulate --buyers 500 --stock 10\n\n",
        stack.admin_token
    );
    for (name, value) in stack.exports(home) {
        text.push_str(&format!("  {name:<33} {value}\n"));
    }
    text.push_str(&format!("  {:<33} {}", "logs", home.join("log").display()));
    text
}

/// Watches until Ctrl-C, telling what ends meanwhile; then stops everything. Returns as well when somebody else has
/// stopped everything.
fn stay(home: &Home, interrupt: &Interrupt, _foreground: File) -> Result<()> {
    print("\nCtrl-C stops it all.");
    let names: Vec<&str> = every_name().collect();
    let mut down: Vec<&str> = Vec::new();
    let mut everything_stopped = false;
    servers::poll(ENDLESSLY, || {
        // While another `up` or `down` is at work, processes come and go on purpose.
        if let Ok(Some(_lock)) = home.try_lock("lock") {
            let ended: Vec<&str> = names.iter().copied().filter(|name| home.process(name).is_none()).collect();
            everything_stopped = ended.len() == names.len();
            for name in ended.iter().filter(|name| !everything_stopped && !down.contains(name)) {
                note(format_args!("{name} has ended (its log: {}).", home.log(name).display()));
                note("`cargo xtask up` in another terminal starts it again.");
            }
            down = ended;
        }
        everything_stopped || interrupt.happened()
    });
    if everything_stopped {
        note("everything was stopped");
        return Ok(());
    }
    let _lock = home.lock()?;
    down::stop_all(home, &Progress::begin())
}
