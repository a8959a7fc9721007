use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use servers::Process;
use xtask::home::Home;

fn sleeper(works_in: &Path, log: &Path) -> Process {
    Process::spawn(Command::new("sleep").arg("600").current_dir(works_in), log).unwrap()
}

#[test]
fn the_folder_is_for_its_owner_only() {
    let parent = tempfile::tempdir().unwrap();
    let home = Home::at(&parent.path().join("deep/.flashsale")).unwrap();
    assert_eq!(fs::metadata(home.dir()).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_recorded_process_is_found_by_its_name_and_the_pid_file_holds_nothing_else() {
    let parent = tempfile::tempdir().unwrap();
    let home = Home::at(parent.path()).unwrap();
    let process = sleeper(&home.run_dir(), &home.log("api"));
    home.record("api", process.pid()).unwrap();

    assert_eq!(home.process("api").unwrap().pid(), process.pid());
    assert_eq!(fs::read_to_string(home.pid_file("api")).unwrap(), format!("{}\n", process.pid()));
    assert!(home.process("keeper").is_none());
}

#[test]
fn a_stale_pid_file_is_removed() {
    let parent = tempfile::tempdir().unwrap();
    let home = Home::at(parent.path()).unwrap();
    let mut process = sleeper(&home.run_dir(), &home.log("api"));
    home.record("api", process.pid()).unwrap();
    process.kill().unwrap();

    assert!(home.process("api").is_none());
    assert!(!home.pid_file("api").exists());
}

#[test]
fn a_stranger_with_the_noted_number_is_not_ours() {
    let (parent, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let home = Home::at(parent.path()).unwrap();
    let mut stranger = sleeper(elsewhere.path(), &elsewhere.path().join("log"));
    home.record("api", stranger.pid()).unwrap();

    assert!(home.process("api").is_none());
    assert!(stranger.is_alive());
}

#[test]
fn a_pid_file_with_anything_else_in_it_is_stale() {
    let parent = tempfile::tempdir().unwrap();
    let home = Home::at(parent.path()).unwrap();
    for nonsense in ["", "0", "-1", "api", "99999999999999999999"] {
        fs::write(home.pid_file("api"), nonsense).unwrap();
        assert!(home.process("api").is_none(), "{nonsense}");
    }
}

#[test]
fn a_lock_is_held_by_one_at_a_time() {
    let parent = tempfile::tempdir().unwrap();
    let home = Home::at(parent.path()).unwrap();
    let lock = home.try_lock("lock").unwrap();
    assert!(lock.is_some());
    assert!(home.try_lock("lock").unwrap().is_none());
    drop(lock);
    // Not at once: a neighbour test that is starting a process has a copy of it for the moment between fork and exec.
    assert!(servers::poll(Duration::from_secs(10), || home.try_lock("lock").unwrap().is_some()));
}
