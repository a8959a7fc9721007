//! Rows 1 and 2: the API dies in the middle of a purchase.

use failpoints::Point;
use testkit::{Outcome, Own, Pace, Scene};

/// The API dies at `point` under load; whoever it left in the dark clicks again.
async fn api_dies_at(point: Point) {
    let mut scene = Scene::open(Own::NONE, 5_000).await;
    scene.apis[0].stop().await;
    let failpoint = format!("{}=crash@20", point.name());
    scene.stack.raise(&mut scene.apis[0], &[("FLASHSALE_FAILPOINT", &failpoint)]);
    let load = scene.load(Pace::default());
    let log = scene.apis[0].died().await;
    assert!(log.contains(&format!("failpoint {} fired", point.name())), "{log}");
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
