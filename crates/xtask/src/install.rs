//! Installs what is missing, where that needs no decision.

use std::fs::OpenOptions;
use std::io::IsTerminal;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::geteuid;

use crate::home::Home;
use crate::progress::{Progress, tail};

/// Finds Redis, RabbitMQ and PostgreSQL, or installs them.
///
/// # Errors
/// When one is missing and cannot be installed from here; the message has the line to type.
pub(crate) fn ensure_servers(home: &Home, progress: &Progress) -> Result<()> {
    let missing = servers::missing();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(", ");
    if cfg!(target_os = "macos") {
        bail!("not installed: {names}. Type: brew install redis rabbitmq postgresql@16");
    }
    let packages: Vec<&str> = missing.iter().map(|&name| debian_package(name)).collect();
    install_packages(&packages, home, progress)?;
    let still = servers::missing();
    ensure!(still.is_empty(), "installed, but still not found: {}", still.join(", "));
    Ok(())
}

/// Finds what the fault matrix breaks clocks with, or installs it.
///
/// # Errors
/// As [`ensure_servers`].
pub(crate) fn ensure_fault_tools(home: &Home, progress: &Progress) -> Result<()> {
    if cfg!(target_os = "macos") {
        // The row with wrong clocks is for Linux.
        return Ok(());
    }
    let mut folders = std::fs::read_dir("/usr/lib").context("read /usr/lib")?.flatten();
    if folders.any(|folder| folder.path().join("faketime/libfaketimeMT.so.1").exists()) {
        return Ok(());
    }
    install_packages(&["faketime"], home, progress)
}

/// Finds the load generator of the bench, or installs it.
///
/// # Errors
/// As [`ensure_servers`].
pub(crate) fn ensure_wrk(home: &Home, progress: &Progress) -> Result<()> {
    if is_on_path("wrk") {
        return Ok(());
    }
    if cfg!(target_os = "macos") {
        bail!("not installed: wrk. Type: brew install wrk");
    }
    install_packages(&["wrk"], home, progress)
}

/// Finds Chromium and its driver, or installs them. A font comes with what draws its letters.
///
/// # Errors
/// As [`ensure_servers`].
pub(crate) fn ensure_browser(home: &Home, progress: &Progress) -> Result<()> {
    if cfg!(target_os = "macos") {
        // The driver finds the browser by itself: it stands on no PATH.
        ensure!(
            is_on_path("chromedriver"),
            "not installed: chromedriver. Type: brew install google-chrome chromedriver"
        );
        return Ok(());
    }
    let programs = [("chromium", "chromium"), ("chromedriver", "chromium-driver")];
    let missing: Vec<&str> =
        programs.into_iter().filter(|(program, _)| !is_on_path(program)).map(|(_, package)| package).collect();
    if missing.is_empty() { Ok(()) } else { install_packages(&missing, home, progress) }
}

fn is_on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Installs Debian packages, as root or through sudo.
///
/// # Errors
/// When this is no Debian, or we may not install, or apt-get fails.
pub(crate) fn install_packages(packages: &[&str], home: &Home, progress: &Progress) -> Result<()> {
    let list = packages.join(" ");
    if !Path::new("/usr/bin/apt-get").exists() {
        bail!("missing: {list} (as Debian calls them). Install them with your system's package manager");
    }
    let Some(become_root) = way_to_root() else {
        bail!("missing: {list}. Type: sudo apt-get install --no-install-recommends {list}");
    };
    let log = home.log("install");
    progress.say(format_args!("installing {list} with apt-get; its output is in {}", log.display()));
    let apt_get = |arguments: &[&str]| -> Result<bool> {
        let output = OpenOptions::new().create(true).append(true).open(&log).context("open the log")?;
        // Through `env`, because sudo does not pass variables on. Another apt-get that is at work is waited for.
        let line = [become_root, &["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]].concat();
        let mut command = Command::new(line[0]);
        command.args(&line[1..]).args(["-y", "-o", "DPkg::Lock::Timeout=300"]).args(arguments);
        let status = command.stdin(Stdio::inherit()).stdout(output.try_clone()?).stderr(output).status();
        Ok(status.context("run apt-get")?.success())
    };
    // Twice: an update by somebody else in the same moment takes away the lists that ours reads.
    for _ in 0..2 {
        // One unreachable source among several fails an update, and yet the packages may be there.
        apt_get(&["update"])?;
        if apt_get(&[["install", "--no-install-recommends"].as_slice(), packages].concat())? {
            return Ok(());
        }
    }
    bail!("apt-get could not install {list}; {}", tail(&log))
}

fn debian_package(server: &str) -> &str {
    match server {
        "redis" => "redis-server",
        "rabbitmq" => "rabbitmq-server",
        "postgres" => "postgresql",
        other => other,
    }
}

/// What to put before a command that needs root: nothing, sudo without a password, or sudo that can ask for one.
fn way_to_root() -> Option<&'static [&'static str]> {
    if geteuid().is_root() {
        return Some(&[]);
    }
    let without_password =
        Command::new("sudo").args(["-n", "true"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    match without_password {
        Ok(status) if status.success() => Some(&["sudo", "-n"]),
        Ok(_) if std::io::stdin().is_terminal() => Some(&["sudo"]),
        _ => None,
    }
}
