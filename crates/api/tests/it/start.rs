//! An API that cannot run says why and ends.

use std::net::TcpListener;

use testkit::Stack;

/// Starts an API with these settings, which must end by itself, and returns what it said.
async fn refusal(stack: &Stack, changes: &[(&str, &str)]) -> String {
    let mut process = stack.start_with("flashsale-api", &[], changes);
    let status = process.ended().await;
    let said = process.log();
    assert_eq!(status.code(), Some(1), "{said}");
    for noise in ["backtrace", "panicked", "RUST_BACKTRACE"] {
        assert!(!said.contains(noise), "{said}");
    }
    said
}

#[tokio::test]
async fn without_an_operators_token_the_api_refuses_to_start_and_says_what_to_set() {
    let stack = Stack::new().await;
    let said = refusal(&stack, &[("FLASHSALE__API__ADMIN_TOKEN", "")]).await;
    for word in ["api.admin_token", "FLASHSALE__API__ADMIN_TOKEN", "FLASHSALE__API__ALLOW_NO_ADMIN_TOKEN=true"] {
        assert!(said.contains(word), "{said}");
    }
    assert!(!said.contains("listening"), "{said}");
    let said = refusal(&stack, &[("FLASHSALE__API__ADMIN_TOKEN", "fifteen-letters")]).await;
    assert!(said.contains("at least 16"), "{said}");
    assert!(!said.contains("fifteen-letters"), "a token that is too short is a secret all the same: {said}");
    stack.close().await;
}

#[tokio::test]
async fn a_busy_port_is_named() {
    let stack = Stack::new().await;
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port().to_string();
    let said = refusal(&stack, &[("FLASHSALE__API__PORT", &port)]).await;
    for word in ["cannot listen on", &port, "FLASHSALE__API__PORT", "in use"] {
        assert!(said.contains(word), "{said}");
    }
    stack.close().await;
}

#[tokio::test]
async fn a_setting_that_makes_no_sense_is_named() {
    let stack = Stack::new().await;
    for (name, value, words) in [
        ("FLASHSALE__API__PORT", "many", ["api.port", "many"]),
        ("FLASHSALE__API__PROT", "3000", ["unknown field", "prot"]),
        ("FLASHSALE__LOG__FORMAT", "xml", ["log.format", "xml"]),
        ("FLASHSALE__LOG__FILTER", "info,a=b=c", ["log.filter", "invalid"]),
        ("FLASHSALE__API__REFRESH_MS", "0", ["api.refresh_ms", "at least 1"]),
        ("FLASHSALE__POSTGRES__URL", "postgres://u:secret@host:port/db", ["postgres.url", ""]),
        ("FLASHSALE__REDIS__URL", "the redis over there secret", ["redis.url", ""]),
        ("FLASHSALE_CONFIG", "/nowhere/flashsale.toml", ["/nowhere/flashsale.toml", "not found"]),
    ] {
        let said = refusal(&stack, &[(name, value)]).await;
        for word in words {
            assert!(said.contains(word), "{name}={value} without {word:?}: {said}");
        }
        assert!(!said.contains("secret"), "{said}");
    }
    stack.close().await;
}
