//! What becomes of an epoch when Redis forgets, restarts or changes its master.

use inventory::{Error, Loss};

use crate::own_redis::OwnRedis;
use crate::sale::{ALWAYS, EPOCH, Sale, attempt, is_intact, is_new_win};

#[tokio::test]
async fn a_forgotten_script_is_a_lost_epoch_and_no_call_loads_it_again() {
    let redis = OwnRedis::start().await;
    let sale = Sale::open_at(&redis.inventory(), 5, ALWAYS).await;
    let scripts = &sale.installation.scripts;
    redis.raw::<()>(&["SCRIPT", "FLUSH"]).await;
    let results = [
        sale.try_reserve(&[attempt("ann", 1)]).await.map(drop),
        sale.inventory.adjust(sale.id, EPOCH, scripts, &[(1, 1)]).await.map(drop),
        sale.inventory.open(sale.id, EPOCH, scripts, 0).await,
        sale.inventory.close(sale.id, EPOCH, scripts).await,
    ];
    for result in results {
        assert!(matches!(result, Err(Error::Lost(Loss::Script))), "{result:?}");
    }
    let loaded: Vec<bool> = redis.raw(&["SCRIPT", "EXISTS", &scripts.reserve, &scripts.adjust, &scripts.open]).await;
    assert_eq!(loaded, [false; 3]);
    sale.check_books(5, 0, 0).await;
}

#[tokio::test]
async fn a_flushed_redis_keeps_the_scripts_and_still_has_lost_the_epoch() {
    let redis = OwnRedis::start().await;
    let sale = Sale::open_at(&redis.inventory(), 5, ALWAYS).await;
    redis.raw::<()>(&["FLUSHALL"]).await;
    let result = sale.try_reserve(&[attempt("ann", 1)]).await;
    assert!(matches!(result, Err(Error::Lost(Loss::Gate))), "{result:?}");
    let probe = sale.inventory.probe(sale.id, EPOCH, &sale.installation).await.unwrap();
    assert!(probe.scripts_present && probe.gate.is_none() && !is_intact(&probe, EPOCH, &sale.installation));
    assert_eq!(redis.raw::<i64>(&["DBSIZE"]).await, 0, "a lost epoch is not written to");
}

#[tokio::test]
async fn a_killed_redis_comes_back_with_its_books_and_without_the_scripts() {
    let mut redis = OwnRedis::start().await;
    let sale = Sale::open_at(&redis.inventory(), 5, ALWAYS).await;
    assert!(is_new_win(&sale.decide(&attempt("ann", 2)).await));
    redis.kill();
    let result = sale.try_reserve(&[attempt("bob", 1)]).await;
    assert!(matches!(result, Err(Error::Unreachable(_))), "{result:?}");
    redis.kill_and_restart().await;
    let result = sale.try_reserve(&[attempt("bob", 1)]).await;
    assert!(matches!(result, Err(Error::Lost(Loss::Script))), "{result:?}");
    let probe = sale.inventory.probe(sale.id, EPOCH, &sale.installation).await.unwrap();
    assert_ne!(probe.server.run_id, sale.installation.server.run_id);
    assert!(!probe.scripts_present && !is_intact(&probe, EPOCH, &sale.installation));
    sale.check_books(5, 0, 0).await;
}

#[tokio::test]
async fn a_server_that_became_a_replica_is_unreachable_and_after_its_promotion_not_intact() {
    let redis = OwnRedis::start().await;
    let sale = Sale::open_at(&redis.inventory(), 5, ALWAYS).await;
    redis.raw::<()>(&["REPLICAOF", "127.0.0.1", "1"]).await;
    let result = sale.try_reserve(&[attempt("ann", 1)]).await;
    assert!(matches!(result, Err(Error::Unreachable(_))), "{result:?}");
    redis.raw::<()>(&["REPLICAOF", "NO", "ONE"]).await;
    let before = redis.connections_made().await;
    let result = sale.try_reserve(&[attempt("ann", 1)]).await;
    assert!(matches!(result, Err(Error::Lost(Loss::Gate))), "the scripts are there and sell nothing: {result:?}");
    assert_eq!(redis.connections_made().await - before, 2, "the handle left the replica; the other is this test's");
    let probe = sale.inventory.probe(sale.id, EPOCH, &sale.installation).await.unwrap();
    assert_eq!(probe.server.run_id, sale.installation.server.run_id);
    assert!(probe.scripts_present && !is_intact(&probe, EPOCH, &sale.installation), "the history is another");
    sale.check_books(5, 0, 0).await;
}

#[tokio::test]
async fn a_redis_without_memory_refuses_before_anything_is_written() {
    let redis = OwnRedis::start().await;
    let sale = Sale::open_at(&redis.inventory(), 5, ALWAYS).await;
    redis.raw::<()>(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let result = sale.try_reserve(&[attempt("ann", 1)]).await;
    assert!(matches!(result, Err(Error::Unreachable(_))), "{result:?}");
    redis.raw::<()>(&["CONFIG", "SET", "maxmemory", "0"]).await;
    assert!(is_new_win(&sale.decide(&attempt("ann", 1)).await));
    sale.check_books(5, 0, 0).await;
}
