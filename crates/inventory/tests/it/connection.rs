//! Connections that are absent, silent, broken or cut off, and calls whose outcome is not known.

use std::time::{Duration, Instant};

use inventory::{Config, Decision, Error, Inventory};
use tokio::net::TcpListener;

use crate::own_redis::OwnRedis;
use crate::sale::{ALWAYS, Sale, attempt, config, is_new_win};

#[test]
fn a_handle_is_made_without_a_runtime_and_without_a_server() {
    let inventory = Inventory::new(&config("redis://127.0.0.1:1")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    assert!(matches!(runtime.block_on(inventory.ping()), Err(Error::Unreachable(_))));
}

#[tokio::test]
async fn no_error_and_no_debug_output_shows_the_password() {
    let mut said = String::new();
    for url in ["http://:hunter2@127.0.0.1:1", "redis://:hunter2@", ":hunter2@127.0.0.1", "redis://:hunter2@h:x"] {
        let error = Inventory::new(&config(url)).unwrap_err();
        said += &format!("{error} {error:?}\n");
    }
    let redis = OwnRedis::start().await;
    redis.raw::<()>(&["CONFIG", "SET", "requirepass", "another"]).await;
    for url in ["redis://:hunter2@127.0.0.1:1".to_owned(), redis.url().replace("127", ":hunter2@127")] {
        let inventory = Inventory::new(&config(&url)).unwrap();
        let error = inventory.ping().await.unwrap_err();
        assert!(matches!(error, Error::Unreachable(_)), "{error:?}");
        said += &format!("{error} {error:?} {inventory:?} {:?}\n", config(&url));
    }
    assert!(!said.contains("hunter2"), "{said}");
}

#[tokio::test]
async fn a_server_that_accepts_and_stays_silent_costs_the_connect_timeout_for_everybody_at_once() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", silent.local_addr().unwrap());
    let inventory = Inventory::new(&Config { connect_timeout_ms: 200, ..config(&url) }).unwrap();
    let began = Instant::now();
    let results = futures_util::future::join_all((0..20).map(|_| inventory.ping())).await;
    assert!(results.iter().all(|result| matches!(result, Err(Error::Unreachable(_)))), "{results:?}");
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_reservation_over_a_broken_connection_is_made_over_a_new_one() {
    let redis = OwnRedis::start().await;
    let sale = Sale::open_at(&redis.inventory(), 5, ALWAYS).await;
    for name in ["ann", "bob"] {
        let killed: i64 = redis.raw(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
        assert!(killed >= 1);
        assert!(is_new_win(&sale.decide(&attempt(name, 1)).await));
    }
    sale.check_books(5, 0, 0).await;
}

#[tokio::test]
async fn where_the_epoch_is_lost_after_a_call_that_may_have_run_its_outcome_stays_unknown() {
    let redis = OwnRedis::start().await;
    let sale = Sale::open_at(&redis.inventory(), 5, ALWAYS).await;
    for loss in ["SCRIPT FLUSH", "FLUSHALL"] {
        let sale = if loss == "SCRIPT FLUSH" { &sale } else { &Sale::open_at(&redis.inventory(), 5, ALWAYS).await };
        assert!(is_new_win(&sale.decide(&attempt("ann", 1)).await));
        redis.raw::<()>(&loss.split(' ').collect::<Vec<_>>()).await;
        let killed: i64 = redis.raw(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
        assert!(killed >= 1);
        let result = sale.try_reserve(&[attempt("bob", 1)]).await;
        assert!(matches!(result, Err(Error::Unreachable(_))), "{loss}: {result:?}");
        let result = sale.try_reserve(&[attempt("bob", 1)]).await;
        assert!(matches!(result, Err(Error::Lost(_))), "the first and only try: {loss}: {result:?}");
    }
}

#[tokio::test]
async fn a_call_that_ran_but_was_not_answered_in_time_is_won_by_the_repeated_call() {
    let redis = OwnRedis::start().await;
    let sale = Sale::open_at(&redis.impatient_inventory(500), 5, ALWAYS).await;
    redis.raw::<()>(&["CLIENT", "PAUSE", "60000", "WRITE"]).await;
    let resume_in_time = async {
        redis.wait_for_a_second_script_call().await;
        redis.raw::<()>(&["CLIENT", "UNPAUSE"]).await;
    };
    let batch = [attempt("ann", 2)];
    let (reserved, ()) = tokio::join!(sale.reserve(&batch), resume_in_time);
    assert_eq!((reserved.stock_left, &reserved.decisions[..]), (3, &[Decision::Won { outbox_id: None }][..]));
    sale.check_books(5, 0, 0).await;
}

#[tokio::test]
async fn a_call_that_is_never_answered_ends_after_two_timeouts_and_the_next_one_has_a_new_connection() {
    let redis = OwnRedis::start().await;
    let sale = Sale::open_at(&redis.impatient_inventory(150), 5, ALWAYS).await;
    let ann = attempt("ann", 2);
    redis.raw::<()>(&["CLIENT", "PAUSE", "60000", "WRITE"]).await;
    let before = redis.connections_made().await;
    let began = Instant::now();
    let result = sale.try_reserve(std::slice::from_ref(&ann)).await;
    assert!(matches!(result, Err(Error::Unreachable(_))), "{result:?}");
    assert!((300..5_000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    redis.raw::<()>(&["CLIENT", "UNPAUSE"]).await;
    assert!(matches!(sale.decide(&ann).await, Decision::Won { .. }));
    assert_eq!(redis.connections_made().await - before, 3, "the handle's new one; the others are this test's");
    sale.check_books(5, 0, 0).await;
}
