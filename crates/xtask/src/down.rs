//! `cargo xtask down`: stops everything, and with `--wipe` forgets it.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::home::Home;
use crate::progress::{Progress, note};
use crate::roles::{self, ROLES};
use crate::stack::Stack;

/// How long a server may take to stop in good order; PostgreSQL writes a checkpoint.
const SERVER_PATIENCE: Duration = Duration::from_secs(30);

/// What `--wipe` deletes. The load generator stays: it is no data, and takes long to fetch.
const WIPED: [&str; 6] = ["redis", "rabbitmq", "postgres", "run", "log", "stack.json"];

/// Stops everything; with `wipe`, deletes data, logs and secrets too.
///
/// # Errors
/// When something does not end or cannot be deleted.
pub fn run(home: &Path, wipe: bool) -> Result<ExitCode> {
    if !home.exists() {
        note(format_args!("nothing to stop: there is no {}", home.display()));
        return Ok(ExitCode::SUCCESS);
    }
    let home = Home::at(home)?;
    let _lock = home.lock()?;
    let progress = Progress::begin();
    stop_all(&home, &progress)?;
    if wipe {
        for name in WIPED {
            remove(&home.join(name))?;
        }
        progress.say("data, logs and secrets are deleted");
    }
    Ok(ExitCode::SUCCESS)
}

/// Stops what is ours: first what takes in work, then what works it off, then the servers. The caller holds the lock.
pub(crate) fn stop_all(home: &Home, progress: &Progress) -> Result<()> {
    for role in ROLES {
        if roles::stop(role, home)? {
            progress.say(format_args!("{} stopped", role.name));
        }
    }
    // Ports and secrets do not matter for stopping, and a damaged file must not keep anybody from `--wipe`.
    let stack = Stack::load(home.dir()).ok().flatten().map_or_else(Stack::invent, Ok)?;
    for server in stack.servers(home).into_iter().rev() {
        let profile = server.profile();
        let running = home.process(profile.name).and_then(|process| server.adopt(process.pid()));
        if let Some(mut running) = running {
            running.stop(SERVER_PATIENCE)?;
            progress.say(format_args!("{} stopped", profile.name));
        }
        profile.bury_leftovers()?;
        home.forget(profile.name);
    }
    Ok(())
}

fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("delete {}", path.display()))
        }
        _ => Ok(()),
    }
}
