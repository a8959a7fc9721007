//! Connecting, and what errors tell.

use std::time::{Duration, Instant};

use broker::{Consumers, Error};
use tokio::net::TcpListener;

use crate::fixture::{config_for, soon, url};

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
