//! The program itself, where it must fail: with a clear message, the right code, and nothing else.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

fn xtask(home: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xtask")).arg("--home").arg(home).args(args).output().unwrap()
}

fn expect_failure(output: &Output, code: i32, message: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(stderr.contains(message), "{stderr}");
    assert!(!stderr.to_lowercase().contains("backtrace"), "{stderr}");
}

#[test]
fn a_wrong_flag_exits_with_2() {
    let home = tempfile::tempdir().unwrap();
    expect_failure(&xtask(home.path(), &["up", "--detatch"]), 2, "--detach");
    expect_failure(&xtask(home.path(), &["up", "--port", "0"]), 2, "--port");
    expect_failure(&xtask(home.path(), &["fly"]), 2, "fly");
}

#[test]
fn what_needs_a_stack_says_how_to_start_one() {
    let home = tempfile::tempdir().unwrap();
    for task in ["env", "status"] {
        expect_failure(&xtask(home.path(), &[task]), 1, "start one with `cargo xtask up`");
    }
}

#[test]
fn a_missing_script_is_an_error() {
    let home = tempfile::tempdir().unwrap();
    expect_failure(&xtask(home.path(), &["k6", "no-such-script.js"]), 1, "no script no-such-script.js");
}

#[test]
fn up_on_a_busy_port_points_to_the_flag() {
    let home = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    expect_failure(&xtask(home.path(), &["up", "--detach", "--port", &port]), 1, &format!("port {port}"));
    assert!(!home.path().join("stack.json").exists(), "a stack that never started is not kept");
}

#[test]
fn down_without_a_stack_is_harmless() {
    let home = tempfile::tempdir().unwrap();
    assert!(xtask(home.path(), &["down", "--wipe"]).status.success());
    assert!(xtask(&home.path().join("nowhere"), &["down"]).status.success());
    assert!(!home.path().join("nowhere").exists());
}
