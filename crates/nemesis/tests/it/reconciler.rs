//! Reconcilers die at every point there is, twice in a row each; the one after them finishes.

use std::fs;
use std::path::Path;
use std::time::Duration;

use failpoints::Point;
use inventory::Inventory;
use testkit::{Load, Own, Pace, Scene};

use crate::PATIENCE;
use crate::worker::dies_at;

/// Enough to be still on sale when the fault hits, few enough to be sold out in the end.
const STOCK: u32 = 2_000;

/// A sale under load that no keeper looks after.
async fn unkept() -> (Scene, Load) {
    let mut scene = Scene::open(Own::NONE, STOCK).await;
    scene.keepers[0].stop().await;
    let load = scene.load(Pace::default());
    load.until_promised(300).await;
    (scene, load)
}

/// Redis loses the gate, the buyers and the outbox. Two keepers die while they rebuild it, the third opens it.
async fn keepers_die_at(point: Point) {
    let (mut scene, load) = unkept().await;
    let before = scene.stack.sale(scene.sale).await.epoch;
    let inventory = Inventory::new(&scene.stack.settings().redis).unwrap();
    load.history().redis_forgets();
    inventory.remove(scene.sale, before).await.unwrap();
    let lost_at = load.history().now();
    load.until_felt(lost_at).await;
    for _ in 0..2 {
        dies_at(&scene.stack, &mut scene.keepers[0], point, 1).await;
    }
    finish(scene, load, lost_at, &format!("row 16 | gate lost, two keepers killed at {}", point.name())).await;
}

/// RabbitMQ loses the queue with its messages. `flashsale-reconcile` dies twice while it rebuilds, then it finishes.
async fn reconciles_die_at(point: Point) {
    let (scene, load) = unkept().await;
    let drain = scene.stack.lock_queue(scene.sale).await;
    drain.delete(scene.stack.sale(scene.sale).await.epoch).await.unwrap();
    let lost_at = load.history().now();
    drain.release().await;
    load.until_felt(lost_at).await;
    let failpoint = format!("{}=crash", point.name());
    for _ in 0..2 {
        let mut dies = scene.stack.start_with("flashsale-reconcile", &[], &[("FLASHSALE_FAILPOINT", &failpoint)]);
        assert!(!dies.ended().await.success());
        assert!(dies.log().contains(&point.last_words()), "{}", dies.log());
    }
    scene.stack.reconcile().await;
    finish(
        scene,
        load,
        lost_at,
        &format!("row 05 | queue deleted, flashsale-reconcile killed twice at {}", point.name()),
    )
    .await;
}

/// Tells how long nobody was promised an order after the fault. `lost_at` is when that had become impossible.
pub(crate) fn tell_unsold(load: &Load, lost_at: Duration, row: &str) {
    let again = load.history().promised_after(lost_at).unwrap();
    println!("availability | {row} | {:.1} s", (again - lost_at).as_secs_f64());
}

/// Lets a keeper look after the sale again, and every unit be sold. `row` tells what the sale has been through.
async fn finish(mut scene: Scene, load: Load, lost_at: Duration, row: &str) {
    let before = scene.stack.sale(scene.sale).await;
    scene.raise().await;
    load.until_it_sells_again().await;
    tell_unsold(&load, lost_at, row);
    load.until_sold_out().await;
    let after = scene.stack.sale(scene.sale).await;
    // Each of the two that died had an epoch of its own, and so has whoever finished.
    assert!(after.epoch.0 >= 4, "{before:?} became {after:?}");
    let slowest = load.history().slowest();
    assert!(slowest < PATIENCE / 3, "nobody hangs: {slowest:?}");
    let judgement = scene.close(load).await;
    assert_eq!(judgement.sold, i64::from(STOCK), "{judgement}");
}

/// Tests that call a function with each point of a reconcile.
macro_rules! at_each_point {
    ($($name:ident: $die_at:ident($point:ident),)+) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            $die_at(Point::$point).await;
        }
    )+};
}

at_each_point! {
    row_16_keepers_are_killed_once_they_have_raised_the_epoch: keepers_die_at(ReconcileFenced),
    row_16_keepers_are_killed_once_the_dead_queue_is_drained: keepers_die_at(ReconcileDrained),
    row_16_keepers_are_killed_once_the_stock_is_settled: keepers_die_at(ReconcileSettled),
    row_16_keepers_are_killed_once_the_gate_is_open_in_redis: keepers_die_at(ReconcileOpened),
    row_05_reconciles_are_killed_once_they_have_raised_the_epoch: reconciles_die_at(ReconcileFenced),
    row_05_reconciles_are_killed_once_the_dead_outbox_is_persisted: reconciles_die_at(ReconcileDrained),
    row_05_reconciles_are_killed_once_the_stock_is_settled: reconciles_die_at(ReconcileSettled),
    row_05_reconciles_are_killed_once_the_gate_is_open_in_redis: reconciles_die_at(ReconcileOpened),
}

/// A failpoint that no row reaches proves nothing.
#[test]
fn each_point_where_a_process_may_die_has_a_row() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let rows: String =
        fs::read_dir(folder).unwrap().map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect();
    for point in Point::ALL {
        let (named, handed_over) = (format!("Point::{point:?}"), format!("_die_at({point:?})"));
        assert!(rows.contains(&named) || rows.contains(&handed_over), "{} is reached by no row", point.name());
    }
}
