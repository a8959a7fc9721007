//! Each server starts in a folder that only its owner enters, keeps its data over kill -9, and leaves no process.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use servers::{Postgres, RabbitMq, RabbitMqPorts, Redis, Running, Server, Stopped, free_port, inhabitants, is_free};

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A folder with mode 0700 and a space in its name, and the one below it for a server.
pub(crate) fn private_folder() -> (tempfile::TempDir, PathBuf) {
    let parent = tempfile::Builder::new().prefix("only mine ").tempdir().unwrap();
    fs::set_permissions(parent.path(), Permissions::from_mode(0o700)).unwrap();
    let dir = parent.path().join("server");
    (parent, dir)
}

pub(crate) fn start(server: &impl Server) -> Running {
    let mut running = server.start().unwrap();
    running.wait_ready(PATIENCE).unwrap_or_else(|error| {
        panic!("{error}\n{}", fs::read_to_string(server.profile().log).unwrap_or_default());
    });
    running
}

fn stop_and_expect_nothing_left(mut running: Running, folder: &Path) {
    assert_eq!(running.stop(PATIENCE).unwrap(), Stopped::Gracefully);
    assert!(is_free(running.port()));
    assert!(inhabitants(folder).is_empty());
}

fn redis_says(port: u16, commands: &str, answer_length: usize) -> String {
    let mut connection = TcpStream::connect(("127.0.0.1", port)).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    connection.write_all(commands.as_bytes()).unwrap();
    let mut answer = vec![0; answer_length];
    connection.read_exact(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

#[test]
fn redis_keeps_what_it_confirmed_over_kill_9_and_leaves_no_process() {
    let (parent, dir) = private_folder();
    let redis = Redis::new(&dir, free_port().unwrap(), "secret");
    let mut running = start(&redis);
    assert_eq!(redis_says(running.port(), "AUTH secret\r\nSET sold 7\r\n", 10), "+OK\r\n+OK\r\n");
    running.kill().unwrap();
    assert!(!running.is_alive());

    let running = start(&redis);
    assert_eq!(redis_says(running.port(), "AUTH secret\r\nGET sold\r\n", 12), "+OK\r\n$1\r\n7\r\n");
    stop_and_expect_nothing_left(running, parent.path());
}

#[test]
fn redis_lets_nobody_in_without_the_password() {
    let (_parent, dir) = private_folder();
    let running = start(&Redis::new(&dir, free_port().unwrap(), "secret"));
    assert_eq!(redis_says(running.port(), "PING\r\n", 7), "-NOAUTH");
}

#[test]
fn redis_takes_settings_that_win_over_ours() {
    let (_parent, dir) = private_folder();
    let settings = vec![("appendfsync".to_owned(), "no".to_owned())];
    let running = start(&Redis { settings, ..Redis::new(&dir, free_port().unwrap(), "secret") });
    let answer = redis_says(running.port(), "AUTH secret\r\nCONFIG GET appendfsync\r\n", 35);
    assert!(answer.ends_with("$2\r\nno\r\n"), "{answer}");
}

/// Runs one statement through psql and gives what it printed.
pub(crate) fn psql(url: &str, statement: &str) -> String {
    let output = Command::new("psql").args([url, "-Atqc", statement]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn postgres_keeps_what_it_committed_over_kill_9_and_leaves_no_process() {
    let (parent, dir) = private_folder();
    let postgres = Postgres { database: "shop".to_owned(), ..Postgres::new(&dir, free_port().unwrap(), "secret") };
    let mut running = start(&postgres);
    psql(running.operator_url(), "CREATE TABLE sold AS SELECT 7 AS units");
    running.kill().unwrap();
    assert!(inhabitants(parent.path()).is_empty());

    let running = start(&postgres);
    assert_eq!(psql(running.operator_url(), "SELECT units, current_database() FROM sold"), "7|shop");
    stop_and_expect_nothing_left(running, parent.path());
}

#[test]
fn postgres_takes_settings_and_wants_the_password() {
    let (_parent, dir) = private_folder();
    let settings = vec![("fsync".to_owned(), "off".to_owned()), ("max_connections".to_owned(), "7".to_owned())];
    let running = start(&Postgres { settings, ..Postgres::new(&dir, free_port().unwrap(), "secret") });
    assert_eq!(psql(running.url(), "SHOW max_connections"), "7");
    let wrong = running.operator_url().replace("secret", "guess");
    let refused = Command::new("psql").args([&wrong, "-Atqc", "SELECT 1"]).stderr(Stdio::null()).status().unwrap();
    assert!(!refused.success());
}

#[test]
fn postgres_begins_again_after_a_first_start_that_was_cut_short() {
    let (_parent, dir) = private_folder();
    fs::create_dir_all(dir.join("data.new")).unwrap();
    fs::write(dir.join("data.new/PG_VERSION"), "half").unwrap();
    let running = start(&Postgres::new(&dir, free_port().unwrap(), "secret"));
    assert_eq!(psql(running.url(), "SELECT 1"), "1");
}

#[test]
fn rabbitmq_starts_again_over_its_data_after_kill_9_and_leaves_no_process() {
    let (parent, dir) = private_folder();
    let ports = RabbitMqPorts::free().unwrap();
    let rabbitmq = RabbitMq::new(&dir, ports, "secret");
    let mut running = start(&rabbitmq);
    running.kill().unwrap();
    assert!(is_free(ports.epmd));
    assert!(is_free(ports.dist));

    let running = start(&rabbitmq);
    let log = fs::read_to_string(&rabbitmq.log).unwrap();
    assert_eq!(log.matches("Created user 'flashsale'").count(), 1, "the second start must find the first one's data");
    stop_and_expect_nothing_left(running, parent.path());
    assert!(is_free(ports.epmd));
}

/// Kills the server's process as a person would, from a shell, and nothing else of it; and reaps it as little as a
/// container without an init does.
fn kill_from_a_shell(server: &impl Server, mut running: Running) {
    let pid = running.pid();
    running.leave_running();
    drop(running);
    assert!(server.adopt(pid).unwrap().is_alive());
    assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
    assert!(servers::poll(PATIENCE, || server.adopt(pid).is_none()));
}

#[test]
fn rabbitmq_killed_from_a_shell_starts_again_over_its_orphaned_port_mapper() {
    let (parent, dir) = private_folder();
    let ports = RabbitMqPorts::free().unwrap();
    let rabbitmq = RabbitMq::new(&dir, ports, "secret");
    kill_from_a_shell(&rabbitmq, start(&rabbitmq));
    assert!(!is_free(ports.epmd));
    stop_and_expect_nothing_left(start(&rabbitmq), parent.path());
}

#[test]
fn postgres_killed_from_a_shell_and_never_reaped_starts_again() {
    let (parent, dir) = private_folder();
    let postgres = Postgres::new(&dir, free_port().unwrap(), "secret");
    kill_from_a_shell(&postgres, start(&postgres));
    assert!(dir.join("data/postmaster.pid").exists());
    stop_and_expect_nothing_left(start(&postgres), parent.path());
}

#[test]
fn a_server_that_cannot_start_is_reported_with_its_log() {
    let (_parent, dir) = private_folder();
    let settings = vec![("no-such-setting".to_owned(), "1".to_owned())];
    let redis = Redis { settings, ..Redis::new(&dir, free_port().unwrap(), "secret") };
    let error = redis.start().unwrap().wait_ready(PATIENCE).unwrap_err().to_string();
    assert!(error.contains("redis ended") && error.contains("redis.log"), "{error}");
    assert!(fs::read_to_string(&redis.log).unwrap().contains("no-such-setting"));
}
