//! Row 25: the API is cut off from Redis or from RabbitMQ, in one direction or in both, and nobody closes a connection.

use testkit::{Cast, Outcome, Own, Pace, Proxy, Scene, Wire, new_sale};

use crate::broker::{STOCK, availability, everybody_was_answered, until_told_to_try_again};

/// A scene whose RabbitMQ connections are given up after four seconds of silence instead of twenty.
async fn scene() -> Scene {
    let changes = [("FLASHSALE__RABBITMQ__HEARTBEAT_SECONDS", "2")];
    Scene::with(Own::NONE, &new_sale(STOCK), Cast::default(), &changes).await
}

/// The state of `wire` becomes `fault`, until `loss` is in the API's log and buyers were told to try again.
async fn cut_off(name: &str, wire: impl Fn(&Scene) -> &Proxy, fault: Wire, loss: &str) {
    let mut scene = scene().await;
    let load = scene.load(Pace::default());
    let history = load.history().clone();
    load.until_promised(200).await;
    wire(&scene).set(fault);
    let cut = history.now();
    until_told_to_try_again(&load, cut, 40).await;
    scene.apis[0].process().wait_for_log(loss).await;
    assert_eq!(history.promised_after(cut), None, "nothing is promised across a wire that is cut");
    let healed = history.now();
    wire(&scene).set(Wire::Open);
    load.until_it_sells_again().await;
    let sold = history.promised_after(cut).expect("it sells again");
    let fault = format!("API cut off from {name} ({fault:?}) for {:.1} s", (healed - cut).as_secs_f64());
    availability(25, &fault, sold - cut);
    load.until_sold_out().await;
    let judgement = scene.close(load).await;
    assert_eq!(judgement.sold, i64::from(STOCK), "not one less");
    everybody_was_answered(&history);
    // Whoever clicked again was told of the reservation that the first click had made.
    assert_eq!(judgement.unkept_holds, [""; 0]);
    assert!(history.count(|outcome| matches!(outcome, Outcome::Held(_))) > 0);
}

async fn cut_off_from_redis(fault: Wire) {
    cut_off("Redis", |scene| &scene.api_wires.redis, fault, "reservations cannot be decided").await;
}

async fn cut_off_from_rabbitmq(fault: Wire) {
    let loss = "the publisher has no connection to the broker";
    cut_off("RabbitMQ", |scene| &scene.api_wires.rabbitmq, fault, loss).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_25_the_api_does_not_hear_redis() {
    cut_off_from_redis(Wire::ServerMute).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_25_redis_does_not_hear_the_api() {
    cut_off_from_redis(Wire::ClientMute).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_25_neither_redis_nor_the_api_hears_the_other() {
    cut_off_from_redis(Wire::Silent).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_25_the_api_does_not_hear_rabbitmq() {
    cut_off_from_rabbitmq(Wire::ServerMute).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_25_rabbitmq_does_not_hear_the_api() {
    cut_off_from_rabbitmq(Wire::ClientMute).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_25_neither_rabbitmq_nor_the_api_hears_the_other() {
    cut_off_from_rabbitmq(Wire::Silent).await;
}
