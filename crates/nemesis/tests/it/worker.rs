//! Rows 9 to 11 and 27: persisters and keepers die between any two of their steps, or get stuck there.

use failpoints::Point;
use inventory::Inventory;
use testkit::{Cast, Outcome, Own, Pace, Replica, Scene, Stack, new_sale, rush, until};

use crate::PATIENCE;
use crate::reconciler::tell_unsold;

/// Few enough to be sold out within seconds.
const STOCK: u32 = 1_500;

/// A watchdog that waits for seconds only, which must be longer than servers may take.
const IMPATIENT: [(&str, &str); 4] = [
    ("FLASHSALE__WORKER__WATCHDOG_SECONDS", "4"),
    ("FLASHSALE__RABBITMQ__HEARTBEAT_SECONDS", "1"),
    ("FLASHSALE__POSTGRES__ACQUIRE_TIMEOUT_MS", "1000"),
    ("FLASHSALE__POSTGRES__STATEMENT_TIMEOUT_MS", "2000"),
];

/// Starts a replica that is to die at `point`, the `nth` time it gets there, and returns its log once it has.
pub(crate) async fn dies_at(stack: &Stack, replica: &mut Replica, point: Point, nth: u32) -> String {
    ends_at(stack, replica, point, &format!("crash@{nth}"), &[]).await
}

/// Starts a replica that gets stuck at `point`, and waits until its watchdog has ended it.
async fn stuck_at(stack: &Stack, replica: &mut Replica, point: Point, nth: u32) {
    let log = ends_at(stack, replica, point, &format!("freeze@{nth}"), &IMPATIENT).await;
    assert!(log.contains("stuck, the process is ended"), "{log}");
}

async fn ends_at(stack: &Stack, replica: &mut Replica, point: Point, action: &str, changes: &[(&str, &str)]) -> String {
    let failpoint = format!("{}={action}", point.name());
    stack.raise(replica, &[changes, &[("FLASHSALE_FAILPOINT", &failpoint)]].concat());
    let log = replica.died().await;
    assert!(log.contains(&point.last_words()), "{log}");
    log
}

/// The only persister dies at `point` under load, and so does the one after it. The third sells the rest.
async fn persisters_die_at(point: Point) {
    let mut scene = Scene::open(Own::NONE, STOCK).await;
    scene.persisters[0].stop().await;
    let load = scene.load(Pace::default());
    for nth in [3, 1] {
        dies_at(&scene.stack, &mut scene.persisters[0], point, nth).await;
    }
    scene.raise().await;
    load.until_sold_out().await;
    assert_nobody_noticed(scene, load).await;
}

/// One of two persisters dies at `point`; what it held is the other one's. That stands still meanwhile: whoever drew the
/// better lot, the first one has messages once the other holds as many as it may.
async fn one_of_two_persisters_dies_at(point: Point) {
    let cast = Cast { persisters: 2, ..Cast::default() };
    let mut scene = Scene::with(Own::NONE, &new_sale(STOCK), cast, &[]).await;
    scene.persisters[0].stop().await;
    scene.persisters[1].freeze();
    let load = scene.load(Pace::default());
    dies_at(&scene.stack, &mut scene.persisters[0], point, 3).await;
    scene.persisters[1].thaw();
    load.until_sold_out().await;
    assert_nobody_noticed(scene, load).await;
}

/// Every unit is sold, and no buyer was told to try again.
async fn assert_nobody_noticed(scene: Scene, load: testkit::Load) {
    let judgement = scene.close(load).await;
    assert_eq!((judgement.sold, judgement.unknown), (i64::from(STOCK), 0), "{judgement}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_09_persisters_are_killed_before_the_commit() {
    persisters_die_at(Point::PersisterGathered).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_09_another_persister_takes_over_before_the_commit() {
    one_of_two_persisters_dies_at(Point::PersisterGathered).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_10_persisters_are_killed_after_the_commit() {
    persisters_die_at(Point::PersisterCommitted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_10_another_persister_takes_over_after_the_commit() {
    one_of_two_persisters_dies_at(Point::PersisterCommitted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_11_persisters_are_killed_after_the_acknowledgement() {
    persisters_die_at(Point::PersisterAcknowledged).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_11_another_persister_takes_over_after_the_acknowledgement() {
    one_of_two_persisters_dies_at(Point::PersisterAcknowledged).await;
}

/// Units that came back are for sale once, however often a keeper dies that had just given them to the gate.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_11_keepers_are_killed_between_the_gate_and_the_mark_that_it_was_adjusted() {
    let mut scene = Scene::open(Own::NONE, STOCK).await;
    let early = rush(scene.client(), scene.sale, "early", 0..40).await.promised;
    assert_eq!(early.len(), 40);
    let written = async || scene.stack.lost(scene.sale, &early).await.is_empty().then_some(());
    until("the early orders are written", PATIENCE, written).await;
    scene.keepers[0].stop().await;
    let users: Vec<String> = early.into_iter().map(|(user, _)| user).collect();
    scene.stack.expire(scene.sale, &users.iter().map(String::as_str).collect::<Vec<_>>()).await;

    let load = scene.load(Pace::default());
    for user in &users {
        // They were promised an order and had it, and let it expire: nothing is owed to them.
        load.history().record(user, load.history().now(), Outcome::Unknown);
    }
    for _ in 0..2 {
        dies_at(&scene.stack, &mut scene.keepers[0], Point::KeeperAdjusted, 1).await;
        let pending = scene.stack.ledger.pending_adjustments(scene.sale).await.unwrap();
        assert_eq!(pending.len(), users.len(), "nobody has recorded them as applied");
    }
    scene.raise().await;
    load.until_sold_out().await;
    let judgement = scene.close(load).await;
    assert_eq!(judgement.sold, i64::from(STOCK), "{judgement}");
}

/// Takes messages out of the sale's queue and throws them away; returns how many.
async fn throw_away(scene: &Scene, most: usize) -> usize {
    let drain = scene.stack.lock_queue(scene.sale).await;
    let epoch = scene.stack.sale(scene.sale).await.epoch;
    let mut thrown = 0;
    while thrown < most
        && let Some(message) = drain.get(epoch).await.unwrap()
    {
        drain.ack(message.tag).await.unwrap();
        thrown += 1;
    }
    drain.release().await;
    thrown
}

/// Promised messages that the broker lost come back once each, however often a keeper dies that had just published.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_11_keepers_are_killed_after_they_have_published_again() {
    // Eager: it publishes again even what still waits in the queue.
    let eager = [("FLASHSALE__KEEPER__SWEEP_AFTER_MS", "200"), ("FLASHSALE__KEEPER__REPUBLISH_SECONDS", "1")];
    let mut scene = Scene::with(Own::NONE, &new_sale(STOCK), Cast::default(), &eager).await;
    scene.persisters[0].stop().await;
    scene.keepers[0].stop().await;
    let load = scene.load(Pace::default());
    load.until_promised(300).await;
    assert_eq!(throw_away(&scene, 100).await, 100, "promised messages are lost");
    for _ in 0..2 {
        let log = dies_at(&scene.stack, &mut scene.keepers[0], Point::KeeperRepublished, 1).await;
        assert!(log.contains("publishing again what no message carries"), "{log}");
    }
    scene.raise().await;
    load.until_sold_out().await;
    assert_nobody_noticed(scene, load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_27_stuck_persisters_are_ended_by_their_watchdogs_and_the_next_one_finishes() {
    let mut scene = Scene::open(Own::NONE, STOCK).await;
    scene.persisters[0].stop().await;
    let load = scene.load(Pace { buyers: 4, ..Pace::default() });
    for nth in [3, 1] {
        stuck_at(&scene.stack, &mut scene.persisters[0], Point::PersisterGathered, nth).await;
    }
    scene.raise().await;
    load.until_sold_out().await;
    assert_nobody_noticed(scene, load).await;
}

/// The keeper that is stuck has the sale's drain lock, and nobody else can rebuild the gate until its watchdog ends it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_27_a_keeper_that_is_stuck_in_a_rebuild_is_ended_by_its_watchdog_and_another_finishes() {
    let cast = Cast { keepers: 2, ..Cast::default() };
    let mut scene = Scene::with(Own::NONE, &new_sale(STOCK), cast, &[]).await;
    scene.keepers[0].stop().await;
    scene.keepers[1].stop().await;
    let load = scene.load(Pace::default());
    load.until_promised(300).await;
    let epoch = scene.stack.sale(scene.sale).await.epoch;
    load.history().redis_forgets();
    Inventory::new(&scene.stack.settings().redis).unwrap().remove(scene.sale, epoch).await.unwrap();
    let lost_at = load.history().now();
    load.until_felt(lost_at).await;
    stuck_at(&scene.stack, &mut scene.keepers[0], Point::ReconcileDrained, 1).await;
    scene.raise().await;
    load.until_it_sells_again().await;
    tell_unsold(&load, lost_at, "row 27 | gate lost, the keeper that rebuilds it is stuck");
    load.until_sold_out().await;
    let judgement = scene.close(load).await;
    assert_eq!(judgement.sold, i64::from(STOCK), "{judgement}");
}
