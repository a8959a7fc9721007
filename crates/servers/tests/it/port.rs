use std::net::{TcpListener, UdpSocket};
use std::time::Duration;

use servers::{Holder, free_port, holder, is_free};

#[test]
fn a_free_port_can_be_listened_on_and_is_not_free_then() {
    let port = free_port().unwrap();
    assert!(is_free(port));
    let _listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    assert!(!is_free(port));
}

#[test]
fn a_free_port_lies_below_those_of_outgoing_connections() {
    for _ in 0..50 {
        assert!((10_000..32_000).contains(&free_port().unwrap()));
    }
}

#[test]
fn a_port_is_given_to_nobody_else_before_its_server_listens() {
    let port = free_port().unwrap();
    assert!(UdpSocket::bind(("127.0.0.1", port)).is_err(), "other processes do not see who has it");
    // Claimed as another process does it, unless one has already.
    let _claim = UdpSocket::bind(("127.0.0.1", port + 1));
    assert_ne!(free_port().unwrap(), port + 1);
}

#[cfg(target_os = "linux")]
#[test]
fn the_process_that_listens_on_a_port_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let Holder { pid, name } = holder(port).unwrap();
    assert_eq!(pid, std::process::id());
    assert!(!name.is_empty());
    drop(listener);
    // Not at once: a neighbour test that is starting a process has a copy of it for the moment between fork and exec.
    assert!(servers::poll(Duration::from_secs(10), || holder(port).is_none()));
}
