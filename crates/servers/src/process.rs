//! One process in a group of its own: started or found again, asked to stop, killed.

use std::fs::{self, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, getpgid, kill_process, kill_process_group, test_kill_process};

use crate::{Error, poll};

/// How long the kernel may take to end a process after SIGKILL, its memory and files included.
const DEATH: Duration = Duration::from_secs(10);

/// A process and its group. Ctrl-C in the terminal does not reach it: that goes to the terminal's own group.
///
/// Dropping the handle kills the group, unless [`Process::leave_running`] was called.
#[derive(Debug)]
pub struct Process {
    pid: Pid,
    group: Pid,
    /// The members of the group that are our children: we have to reap them. None when the process was adopted.
    children: Vec<Child>,
    kill_on_drop: bool,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stopped {
    /// By itself, on the signal that asks for it.
    Gracefully,
    /// By SIGKILL, after the patience given.
    Killed,
}

impl Process {
    /// Starts `command` in a process group of its own, without input, its output appended to `log`.
    ///
    /// # Errors
    /// [`Error::Io`] when the log cannot be opened or the program cannot be started.
    pub fn spawn(command: &mut Command, log: &Path) -> Result<Self, Error> {
        let child = spawn_into(command, log, 0)?;
        let pid = Pid::from_child(&child);
        Ok(Self { pid, group: pid, children: vec![child], kill_on_drop: true })
    }

    /// Starts `command` in the group of this process, which becomes its companion: from here on the handle stands for
    /// the new process, and what ends the new one ends the companion.
    ///
    /// # Errors
    /// As [`Process::spawn`]; the companion is killed then.
    pub fn spawn_beside(mut self, command: &mut Command, log: &Path) -> Result<Self, Error> {
        let child = spawn_into(command, log, self.group.as_raw_nonzero().get())?;
        self.pid = Pid::from_child(&child);
        self.children.push(child);
        Ok(self)
    }

    /// The living process `pid`, if it works inside the folder `home`: its current directory tells ours from a stranger
    /// who was given the same number later. Where the system does not show a process's directory, being alive suffices.
    #[must_use]
    pub fn adopt(pid: u32, home: &Path) -> Option<Self> {
        let raw = Pid::from_raw(i32::try_from(pid).ok()?)?;
        if !is_alive(raw) || (shows_directories() && !works_inside(pid, home)) {
            return None;
        }
        // A process that is in our own group (somebody started it by hand) must not take us with it.
        let ours = Pid::from_raw(i32::try_from(std::process::id()).ok()?).and_then(group_of);
        let group = group_of(raw).filter(|&group| Some(group) != ours).unwrap_or(raw);
        Some(Self { pid: raw, group, children: Vec::new(), kill_on_drop: false })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Whether it runs. A process that has ended and is ours is reaped here.
    pub fn is_alive(&mut self) -> bool {
        self.children.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
        is_alive(self.pid)
    }

    /// Asks it to end with `signal`, waits up to `patience`, then kills its whole group.
    ///
    /// # Errors
    /// [`Error::Immortal`] when SIGKILL does not end it within ten seconds.
    pub fn stop(&mut self, signal: Signal, patience: Duration) -> Result<Stopped, Error> {
        // It may have ended in between, and then there is nobody to ask.
        let _ = kill_process(self.pid, signal);
        let graceful = poll(patience, || !self.is_alive());
        self.kill()?;
        Ok(if graceful { Stopped::Gracefully } else { Stopped::Killed })
    }

    /// Kills its whole group with SIGKILL and waits until it is gone.
    ///
    /// # Errors
    /// [`Error::Immortal`] when it is still there after ten seconds.
    pub fn kill(&mut self) -> Result<(), Error> {
        // Both answer "no such process" when they are late, which is what we want.
        let _ = kill_process_group(self.group, Signal::KILL);
        if self.is_alive() {
            let _ = kill_process(self.pid, Signal::KILL);
        }
        let gone = poll(DEATH, || !self.is_alive() && self.children.is_empty());
        if !gone {
            return Err(Error::Immortal { pid: self.pid() });
        }
        // The numbers may belong to strangers from now on.
        self.kill_on_drop = false;
        Ok(())
    }

    /// Lets it live on when the handle is dropped, and when we end.
    pub fn leave_running(&mut self) {
        self.kill_on_drop = false;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.kill_on_drop {
            // Nothing can be done here about a process that SIGKILL does not end.
            let _ = self.kill();
        }
    }
}

/// The living processes whose current directory lies inside `folder`, where the system tells.
#[must_use]
pub fn inhabitants(folder: &Path) -> Vec<u32> {
    everyone().filter(|&pid| works_inside(pid, folder)).collect()
}

/// Kills the processes inside `folder` that bear one of `names`: what an earlier, killed server left behind.
///
/// The names keep a person's shell alive that happens to stand in the folder.
pub(crate) fn bury(folder: &Path, names: &[&str]) -> Result<(), Error> {
    let is_one = |pid: &u32| short_name(*pid).is_some_and(|name| names.contains(&name.as_str()));
    for pid in inhabitants(folder).into_iter().filter(is_one) {
        if let Some(mut left) = Process::adopt(pid, folder) {
            left.group = left.pid;
            left.kill()?;
        }
    }
    Ok(())
}

/// Every process id there is, where the system has `/proc`.
pub(crate) fn everyone() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The short name of a process, as in `ps -o comm`.
pub(crate) fn short_name(pid: u32) -> Option<String> {
    fs::read_to_string(format!("/proc/{pid}/comm")).ok().map(|name| name.trim_end().to_owned())
}

fn spawn_into(command: &mut Command, log: &Path, group: i32) -> Result<Child, Error> {
    let output = OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .map_err(Error::io(format!("open the log {}", log.display())))?;
    let errors = output.try_clone().map_err(Error::io(format!("open the log {}", log.display())))?;
    let program = command.get_program().to_string_lossy().into_owned();
    command.process_group(group).stdin(Stdio::null()).stdout(output).stderr(errors);
    command.spawn().map_err(Error::io(format!("start {program}")))
}

/// Alive, and not merely waiting to be reaped by a parent that does not.
fn is_alive(pid: Pid) -> bool {
    match state_of(pid) {
        Some(state) => !state.starts_with(['Z', 'X']),
        None if shows_directories() => false,
        None => test_kill_process(pid) != Err(rustix::io::Errno::SRCH),
    }
}

/// The group of a process. From `/proc` where there is one, because the system call answers 0 for a group outside of
/// our PID namespace, which rustix takes for impossible.
fn group_of(pid: Pid) -> Option<Pid> {
    match state_of(pid) {
        Some(state) => Pid::from_raw(state.split(' ').nth(2)?.parse().ok()?),
        None if shows_directories() => None,
        None => getpgid(Some(pid)).ok(),
    }
}

/// `/proc/<pid>/stat` from the third field on: state, parent, group, ... (proc_pid_stat(5)). The second is the name, in
/// parentheses, and may contain anything.
fn state_of(pid: Pid) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ").map(|(_, rest)| rest.to_owned())
}

/// Whether this system shows what every process does, in Linux's `/proc`.
pub(crate) fn shows_directories() -> bool {
    Path::new("/proc/self/cwd").exists()
}

fn works_inside(pid: u32, home: &Path) -> bool {
    let Ok(home) = home.canonicalize() else { return false };
    fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|directory| directory.starts_with(home))
}
