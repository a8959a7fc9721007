use std::path::Path;
use std::process::Command;
use std::time::Duration;

use servers::{Process, Signal, Stopped, inhabitants, poll};

const PATIENCE: Duration = Duration::from_secs(10);

fn spawn(dir: &Path, script: &str) -> Process {
    Process::spawn(Command::new("sh").args(["-c", script]).current_dir(dir), &dir.join("log")).unwrap()
}

#[test]
fn a_process_that_heeds_the_signal_stops_gracefully() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = spawn(dir.path(), "exec sleep 600");
    assert!(process.is_alive());
    assert_eq!(process.stop(Signal::TERM, PATIENCE).unwrap(), Stopped::Gracefully);
    assert!(!process.is_alive());
}

#[test]
fn a_process_that_ignores_the_signal_is_killed_with_its_whole_group() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = spawn(dir.path(), "trap '' TERM; sleep 600 & touch ready; wait; sleep 600");
    assert!(poll(PATIENCE, || dir.path().join("ready").exists()));
    assert_eq!(process.stop(Signal::TERM, Duration::from_millis(100)).unwrap(), Stopped::Killed);
    assert!(poll(PATIENCE, || inhabitants(dir.path()).is_empty()));
}

#[test]
fn dropping_the_handle_kills_and_leave_running_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let killed = spawn(dir.path(), "exec sleep 600").pid();
    assert!(Process::adopt(killed, dir.path()).is_none());

    let mut left = spawn(dir.path(), "exec sleep 600");
    left.leave_running();
    let pid = left.pid();
    drop(left);
    let mut adopted = Process::adopt(pid, dir.path()).unwrap();
    assert!(adopted.is_alive());
    adopted.kill().unwrap();
    assert!(!adopted.is_alive());
}

#[test]
fn a_process_is_adopted_only_where_it_works_inside_the_folder() {
    let (home, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let process = spawn(home.path(), "exec sleep 600");
    assert!(Process::adopt(process.pid(), home.path()).is_some());
    assert!(Process::adopt(process.pid(), elsewhere.path()).is_none());
    assert!(Process::adopt(u32::MAX, home.path()).is_none());
    assert!(Process::adopt(0, home.path()).is_none());
}

#[test]
fn a_program_that_does_not_exist_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let error = Process::spawn(&mut Command::new("no-such-program"), &dir.path().join("log")).unwrap_err();
    assert!(error.to_string().contains("no-such-program"), "{error}");
}
