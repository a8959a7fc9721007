//! Connecting, and what errors tell.

use std::time::{Duration, Instant};

use broker::{Consumers, Error};
use testkit::{Proxy, Wire};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use crate::fixture::{config_for, eventually, soon, url};

#[tokio::test]
async fn an_unusable_url_is_refused_without_showing_it() {
    for bad in ["", "hunter2", "mailto:hunter2", "http://u:hunter2@localhost", "amqp://u:hunter2@host:port/%2f"] {
        let error = Consumers::connect(&config_for(bad)).await.err().expect("it is no URL of a broker");
        assert!(matches!(error, Error::Url), "{bad}: {error}");
        assert!(!format!("{error} {error:?} {:?}", config_for(bad)).contains("hunter2"), "{bad}");
    }
}

#[tokio::test]
async fn a_refused_login_does_not_show_the_password() {
    let authority = url().rsplit('@').next().unwrap().to_owned();
    let config = config_for(&format!("amqp://guest:hunter2@{authority}"));
    let error = soon("the broker refuses", Consumers::connect(&config)).await.err().expect("the password is wrong");
    assert!(matches!(error, Error::Amqp(_)), "{error}");
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}

#[tokio::test]
async fn a_server_that_accepts_and_says_nothing_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = config_for(&format!("amqp://{}/%2f", silent.local_addr().unwrap()));
    config.connect_timeout_ms = 200;
    let start = Instant::now();
    let error = Consumers::connect(&config).await.err().expect("nobody answers");
    assert!(matches!(error, Error::Timeout(limit) if limit == Duration::from_millis(200)), "{error}");
    assert!(start.elapsed() < Duration::from_secs(5));
}

/// The client library's threads of this process.
fn io_threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    // A thread may end while it is looked at.
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|name| name.trim_end() == "lapin-io-loop").count()
}

#[tokio::test]
async fn attempts_at_a_server_that_says_nothing_leave_neither_threads_nor_connections() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = config_for(&format!("amqp://{}/%2f", silent.local_addr().unwrap()));
    config.connect_timeout_ms = 50;
    let before = io_threads();
    for _ in 0..10 {
        let (attempt, accepted) = tokio::join!(Consumers::connect(&config), silent.accept());
        assert!(attempt.is_err());
        let (mut peer, mut heard) = (accepted.unwrap().0, Vec::new());
        soon("the connection ends", peer.read_to_end(&mut heard)).await.unwrap();
        assert_eq!(heard, b"AMQP\0\0\x09\x01");
    }
    eventually("their threads are gone", async || io_threads() <= before).await;
}

#[tokio::test]
async fn a_connection_dropped_while_the_server_is_silent_leaves_no_thread() {
    let before = io_threads();
    let proxy = Proxy::before(&url()).await;
    let consumers = Consumers::connect(&config_for(&proxy.url_of(&url()))).await.unwrap();
    assert!(io_threads() > before);
    proxy.set(Wire::ServerMute);
    drop(consumers);
    // Long before heartbeats would end it.
    let dropped = Instant::now();
    eventually("its thread is gone", async || io_threads() <= before).await;
    assert!(dropped.elapsed() < Duration::from_secs(5), "{:?}", dropped.elapsed());
}

#[tokio::test]
async fn a_refused_connection_is_told_at_once_and_as_what_it_is() {
    let free = servers::free_port().unwrap();
    let error =
        Consumers::connect(&config_for(&format!("amqp://127.0.0.1:{free}/%2f"))).await.err().expect("nobody is there");
    assert!(error.to_string().contains("refused"), "{error}");
}
