//! Rows 1 and 2: the API dies in the middle of a purchase.

use failpoints::Point;
use testkit::{Outcome, Own, Pace, Scene, Wire, until};

use crate::PATIENCE;

/// The API dies with so many messages published.
const MESSAGES: usize = 20;

/// Messages in the queue of the sale.
async fn queued(scene: &Scene) -> usize {
    let monitor = broker::Monitor::connect(&scene.stack.settings().rabbitmq).await.unwrap();
    let depth = monitor.depth(scene.sale, scene.stack.sale(scene.sale).await.epoch).await.unwrap();
    depth.map_or(0, |depth| depth.ready as usize)
}

/// The API dies at `point` under load; whoever it left in the dark clicks again.
async fn api_dies_at(point: Point) {
    let mut scene = Scene::open(Own::NONE, 5_000).await;
    scene.apis[0].stop().await;
    // So that the queue shows what was published.
    scene.persisters[0].stop().await;
    scene.keepers[0].stop().await;
    let failpoint = format!("{}=crash@{MESSAGES}", point.name());
    scene.stack.raise(&mut scene.apis[0], &[("FLASHSALE_FAILPOINT", &failpoint)]);
    let load = scene.load(Pace::default());
    let log = scene.apis[0].died().await;
    assert!(log.contains(&point.last_words()), "{log}");
    if point != Point::ApiReserved {
        let arrived = async || (queued(&scene).await >= MESSAGES).then_some(());
        until("the last message has arrived", PATIENCE, arrived).await;
    }
    scene.raise().await;
    load.until_it_sells_again().await;
    let history = load.history().clone();
    let judgement = scene.close(load).await;
    assert!(judgement.unknown > 0, "somebody was left in the dark");
    // Whoever clicked again got the very reservation that was left behind.
    assert_eq!(judgement.unkept_holds, [""; 0]);
    let told = history.by_user();
    let resumed = told.values().filter(|outcomes| outcomes.iter().any(|outcome| matches!(outcome, Outcome::Held(_))));
    assert!(resumed.count() > 0, "a retry found the reservation of the first click");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_01_the_api_is_killed_between_script_and_publish() {
    api_dies_at(Point::ApiReserved).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_02_the_api_is_killed_after_the_publish_and_before_the_confirm() {
    api_dies_at(Point::BrokerPublished).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_02_the_api_is_killed_after_the_confirm_and_before_the_answer() {
    api_dies_at(Point::ApiConfirmed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_02_the_wire_is_cut_after_some_confirms_and_the_others_never_come() {
    let scene = Scene::open(Own::NONE, 2_000).await;
    let load = scene.load(Pace::default());
    load.until_promised(100).await;
    let since = load.history().now();
    scene.api_wires.rabbitmq.set(Wire::CutAfter(10));
    let fired = async || (scene.api_wires.rabbitmq.wire() == Wire::Cut).then_some(());
    until("the wire is cut", PATIENCE, fired).await;
    load.until_felt(since).await;
    scene.api_wires.rabbitmq.set(Wire::Open);
    load.until_it_sells_again().await;
    load.until_sold_out().await;
    assert_eq!(scene.close(load).await.sold, 2_000);
}
