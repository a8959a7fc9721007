//! Bugs that others of this design have shipped, switched on one by one: the judge finds each of them, and nothing where
//! the same happens without it.

use std::time::Duration;

use broker::Drain;
use failpoints::Bug;
use sqlx::{Connection, Executor};
use testkit::{Cast, History, Judgement, Own, Pace, Scene, Wire, new_sale, until};

use crate::PATIENCE;

/// A sale without a bug settles sooner, sweeps included.
const SETTLES_WITHIN: Duration = Duration::from_secs(40);

/// The same scene with and without a bug; returns what the judge found with it.
async fn with_and_without(bug: Bug, scene: impl AsyncFn(&[(&str, &str)]) -> Judgement) -> Judgement {
    let planted = [("FLASHSALE_PLANTED_BUG", bug.name())];
    let (found, clean) = tokio::join!(scene(&planted), scene(&[]));
    clean.assert_clean();
    assert!(!found.is_clean(), "{} goes unnoticed: {found}", bug.name());
    let broken: Vec<String> = found.broken.iter().map(|broken| broken.chars().take(40).collect()).collect();
    println!("planted | {} | {}", bug.name(), broken.join("; "));
    found
}

/// Judges a sale whose books may never settle.
pub(crate) async fn judged(scene: Scene, history: &History) -> Judgement {
    let judgement = scene.stack.judge_within(SETTLES_WITHIN, scene.client(), scene.sale, history).await;
    scene.end().await;
    judgement
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn planted_a_rebuild_that_does_not_drain_loses_what_was_promised() {
    let found = with_and_without(Bug::RebuildWithoutDrain, async |changes| {
        let mut scene = Scene::with(Own::REDIS, &new_sale(1_000), Cast::default(), changes).await;
        scene.persisters[0].stop().await;
        let load = scene.load(Pace::default());
        load.until_promised(100).await;
        load.history().redis_forgets();
        scene.stack.restart_redis(true);
        load.until_it_sells_again().await;
        scene.raise().await;
        let history = load.stop().await;
        judged(scene, &history).await
    });
    let found = found.await;
    assert!(found.lost.len() >= 100, "{found}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn planted_units_given_back_without_a_confirm_are_sold_twice() {
    let found = with_and_without(Bug::StockGivenBackOnTimeout, async |changes| {
        let scene = Scene::with(Own::NONE, &new_sale(500), Cast::default(), changes).await;
        let load = scene.load(Pace { buyers: 32, ..Pace::default() });
        load.until_promised(100).await;
        scene.api_wires.rabbitmq.set(Wire::ServerMute);
        load.until_felt(load.history().now()).await;
        scene.api_wires.rabbitmq.set(Wire::Open);
        load.until_sold_out().await;
        let history = load.stop().await;
        judged(scene, &history).await
    });
    let found = found.await;
    assert!(!found.lost.is_empty(), "{found}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn planted_outbox_entries_deleted_on_the_confirm_go_down_with_the_queue() {
    let found = with_and_without(Bug::OutboxDeletedOnConfirm, async |changes| {
        let mut scene = Scene::with(Own::NONE, &new_sale(1_000), Cast::default(), changes).await;
        scene.persisters[0].stop().await;
        let load = scene.load(Pace::default());
        load.until_promised(100).await;
        let drain = Drain::lock(&scene.stack.settings().rabbitmq, scene.sale).await.unwrap().unwrap();
        drain.delete(scene.stack.sale(scene.sale).await.epoch).await.unwrap();
        drain.release().await;
        load.until_it_sells_again().await;
        scene.raise().await;
        let history = load.stop().await;
        judged(scene, &history).await
    });
    let found = found.await;
    assert!(found.lost.len() >= 100, "{found}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn planted_a_persister_that_acknowledges_first_loses_what_it_held() {
    let found = with_and_without(Bug::AckBeforeCommit, async |changes| {
        let mut scene = Scene::with(Own::REDIS, &new_sale(1_000), Cast::default(), changes).await;
        // Nobody can commit while this transaction holds the sale's row.
        let mut holder = scene.stack.database.connect().await;
        holder.execute("BEGIN").await.unwrap();
        sqlx::query("SELECT 1 FROM sales WHERE id = $1 FOR UPDATE")
            .bind(scene.sale.0)
            .execute(&mut holder)
            .await
            .unwrap();
        let load = scene.load(Pace::default());
        load.until_promised(100).await;
        let mut observer = scene.stack.database.connect().await;
        let observer = tokio::sync::Mutex::new(&mut observer);
        let waits = async || {
            let waiting = "SELECT count(*) FROM pg_stat_activity
                           WHERE datname = current_database() AND wait_event_type = 'Lock'";
            let count: i64 = sqlx::query_scalar(waiting).fetch_one(&mut **observer.lock().await).await.unwrap();
            (count > 0).then_some(())
        };
        until("a persister waits to commit", PATIENCE, waits).await;
        scene.persisters[0].kill();
        // PostgreSQL would go on with what the dead persister had asked for.
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event_type = 'Lock'";
        observer.lock().await.execute(end).await.unwrap();
        // The outbox alone would save what it held; so Redis forgets.
        load.history().redis_forgets();
        scene.stack.restart_redis(true);
        holder.close().await.unwrap();
        scene.raise().await;
        load.until_it_sells_again().await;
        let history = load.stop().await;
        judged(scene, &history).await
    });
    let found = found.await;
    assert!(!found.lost.is_empty(), "{found}");
}
