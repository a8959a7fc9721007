use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use xtask::home::Home;
use xtask::stack::{Stack, require_free, require_free_ports};
use xtask::{env, k6};

/// Closes the listener and waits until its port is free: a neighbour test that is starting a process has a copy of it
/// for the moment between fork and exec.
fn close(listener: TcpListener) {
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    assert!(servers::poll(Duration::from_secs(10), || servers::is_free(port)));
}

#[test]
fn a_stack_is_kept_for_its_owner_only_and_read_back() {
    let parent = tempfile::tempdir().unwrap();
    let home = Home::at(parent.path()).unwrap();
    assert!(Stack::load(home.dir()).unwrap().is_none());

    let stack = Stack::invent().unwrap();
    stack.save(&home).unwrap();

    let mode = fs::metadata(home.join("stack.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let kept = Stack::load(home.dir()).unwrap().unwrap();
    assert_eq!(kept.exports(&home), stack.exports(&home));
    assert_eq!(kept.configuration(&home), stack.configuration(&home));
}

#[test]
fn two_stacks_share_no_secret() {
    let (one, other) = (Stack::invent().unwrap(), Stack::invent().unwrap());
    assert_ne!(one.admin_token, other.admin_token);
    assert_ne!(one.admin_token, one.redis_password);
}

#[test]
fn no_process_that_goes_on_running_is_told_how_to_do_everything() {
    let parent = tempfile::tempdir().unwrap();
    let home = Home::at(parent.path()).unwrap();
    let stack = Stack::invent().unwrap();
    let told = format!("{:?}", stack.configuration(&home));
    let (name, owner_url) = stack.owner_configuration(&home);
    assert_eq!(name, "FLASHSALE__POSTGRES__OWNER_URL");
    let owner_password = owner_url.split([':', '@']).nth(2).unwrap();
    for secret in [&stack.redis_password, &stack.amqp_password, &stack.postgres_password, owner_password] {
        assert!(!told.contains(secret), "{told}");
        assert!(!owner_url.contains(secret) || secret == owner_password, "{owner_url}");
    }
}

#[test]
fn a_damaged_stack_is_named_with_a_way_out() {
    let parent = tempfile::tempdir().unwrap();
    fs::write(parent.path().join("stack.json"), "{").unwrap();
    let error = format!("{:#}", Stack::load(parent.path()).unwrap_err());
    assert!(error.contains("stack.json is damaged") && error.contains("down --wipe"), "{error}");
}

#[test]
fn a_busy_port_is_named_with_who_wants_it_and_who_has_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let error = require_free(port, "the API", "choose another with --port").unwrap_err().to_string();
    assert!(error.contains(&format!("port {port}, which the API needs, is taken")), "{error}");
    assert!(error.ends_with("choose another with --port"), "{error}");
    if cfg!(target_os = "linux") {
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
    }
    close(listener);
    require_free(port, "the API", "").unwrap();
}

#[test]
fn every_port_of_every_server_is_checked_before_anything_starts() {
    let parent = tempfile::tempdir().unwrap();
    let home = Home::at(parent.path()).unwrap();
    let free = || servers::free_port().unwrap();
    let stack = Stack {
        api_port: free(),
        redis_port: free(),
        amqp_port: free(),
        amqp_dist_port: free(),
        amqp_epmd_port: free(),
        postgres_port: free(),
        ..Stack::invent().unwrap()
    };
    require_free_ports(&stack, &home).unwrap();
    for (port, wanted_by) in [
        (stack.api_port, "the API"),
        (stack.redis_port, "redis"),
        (stack.amqp_port, "rabbitmq"),
        (stack.amqp_dist_port, "rabbitmq"),
        (stack.amqp_epmd_port, "rabbitmq"),
        (stack.postgres_port, "postgres"),
    ] {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let error = require_free_ports(&stack, &home).unwrap_err().to_string();
        assert!(error.contains(&format!("port {port}, which {wanted_by} needs")), "{error}");
        close(listener);
    }
}

#[test]
fn a_quoted_text_reaches_a_shell_as_it_is() {
    for text in ["", "plain", "two words", "it's", "$HOME `id` \\ \" ' ''", "a\nb", "%2f!*?[]{}~#&;|<>"] {
        let echoed = Command::new("sh").arg("-c").arg(format!("printf %s {}", env::quote(text))).output().unwrap();
        assert_eq!(String::from_utf8(echoed.stdout).unwrap(), text);
    }
}

#[test]
fn a_missing_script_is_answered_with_those_there_are() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["rush.js", "purchase.js", "notes.md"] {
        fs::write(folder.path().join(name), "").unwrap();
    }
    assert_eq!(k6::find_script(folder.path(), "rush.js").unwrap(), folder.path().join("rush.js"));
    for name in ["rash.js", "../k6/rush.js", "notes.md"] {
        let error = k6::find_script(folder.path(), name).unwrap_err().to_string();
        assert_eq!(error, format!("no script {name} in k6/; there are: purchase.js, rush.js"));
    }
}
