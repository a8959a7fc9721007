//! Row 20: the clocks of our own processes are an hour wrong, in both directions at once. Windows go by Redis's clock.

use std::fs;
use std::path::PathBuf;

use chrono::{DateTime, TimeDelta, Utc};
use domain::SaleState;
use ledger::NewSale;
use testkit::{Cast, History, Load, Outcome, Own, Pace, Replica, Scene, Stack, new_sale, until};

use crate::PATIENCE;

/// How wrong the clocks of two replicas of the same kind are, in the words of libfaketime.
const ERRORS: [(&str, i64); 2] = [("+1h", 60), ("-1h", -60)];

/// libfaketime, where Debian puts it for each architecture.
fn libfaketime() -> PathBuf {
    let folders = fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path());
    let found = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1")).find(|path| path.exists());
    found.expect("libfaketime is installed; run cargo xtask test")
}

/// A sale of `stock` units served by two replicas of each process, one an hour ahead, one an hour behind.
async fn apart(sale: &NewSale) -> Scene {
    let mut scene = Scene::with(Own::NONE, sale, Cast { apis: 2, persisters: 2, keepers: 2 }, &[]).await;
    let Scene { stack, apis, persisters, keepers, .. } = &mut scene;
    for replicas in [apis, persisters, keepers] {
        for (replica, (words, minutes)) in replicas.iter_mut().zip(ERRORS) {
            replica.stop().await;
            mislead(stack, replica, words, sale.starts_at + TimeDelta::minutes(1 + minutes)).await;
        }
    }
    scene.raise().await;
    scene
}

/// Starts the replica under a clock that is wrong: by its own log it is about `expected`.
async fn mislead(stack: &Stack, replica: &mut Replica, words: &str, expected: DateTime<Utc>) {
    let library = libfaketime();
    let fake = [
        ("LD_PRELOAD", library.to_str().unwrap()),
        ("FAKETIME", words),
        // Nobody sets the clock that timers go by.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
    stack.raise(replica, &fake);
    let line: serde_json::Value = serde_json::from_str(&replica.process().wait_for_log("\"timestamp\"").await).unwrap();
    let told: DateTime<Utc> = line["timestamp"].as_str().unwrap().parse().unwrap();
    assert!((told - expected).abs() < TimeDelta::minutes(5), "{told} is not about {expected}");
}

/// What buyers see of the sale at each API.
async fn statuses(scene: &Scene, sale: domain::SaleId) -> Vec<String> {
    let mut seen = Vec::new();
    for client in &scene.clients {
        seen.push(client.status(sale).await.body["status"].as_str().unwrap_or_default().to_owned());
    }
    seen
}

/// By one clock the sale is long over, by the other it is far from its start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_20_a_sale_is_sold_out_by_processes_whose_clocks_are_two_hours_apart() {
    let mut sale = new_sale(1_500);
    sale.ends_at = sale.starts_at + TimeDelta::minutes(30);
    let scene = apart(&sale).await;
    assert_eq!(statuses(&scene, scene.sale).await, ["ACTIVE", "ACTIVE"]);
    let load = scene.load(Pace::default());
    load.until_sold_out().await;
    let judgement = scene.close(load).await;
    assert_eq!((judgement.sold, judgement.unknown), (1_500, 0), "{judgement}");
}

/// The sale opens and ends for all at once: by Redis's clock, which is right.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_20_a_sale_starts_and_ends_by_the_clock_of_redis() {
    let scene = apart(&new_sale(1)).await;
    let mut sale = new_sale(1_000_000);
    // A sale of a test has started a minute ago.
    sale.starts_at += TimeDelta::minutes(1) + TimeDelta::seconds(5);
    sale.ends_at = sale.starts_at + TimeDelta::seconds(5);
    scene.stack.create(&sale).await;
    let load = Load::start(&scene.stack.database, &scene.clients.iter().collect::<Vec<_>>(), sale.id, Pace::default());
    load.until_promised(100).await;
    let ended = async || (scene.stack.sale(sale.id).await.state == SaleState::Ended).then_some(());
    until("the sale has ended", PATIENCE, ended).await;

    let mut told: Vec<Outcome> = load.history().attempts().into_iter().map(|attempt| attempt.outcome).collect();
    told.dedup_by_key(|outcome| std::mem::discriminant(outcome));
    told.retain(Outcome::is_decided);
    assert_eq!(told.first(), Some(&Outcome::NotActive), "early clicks came too early");
    assert_eq!(told.last(), Some(&Outcome::NotActive), "late clicks came too late");
    let (orders, outside): (i64, i64) = sqlx::query_as(
        "SELECT count(*), count(*) FILTER (WHERE reserved_at < $2 OR reserved_at >= $3) FROM orders WHERE sale_id = $1",
    )
    .bind(sale.id.0)
    .bind(sale.starts_at)
    .bind(sale.ends_at)
    .fetch_one(&mut scene.stack.database.connect().await)
    .await
    .unwrap();
    assert!(orders >= 100 && outside == 0, "{outside} of {orders} orders are from outside the window");
    let history = load.stop().await;
    scene.stack.judge(scene.client(), sale.id, &history).await.assert_clean();
    scene.judge(&History::default()).await.assert_clean();
    scene.end().await;
}
