//! Rows 3 and 4: RabbitMQ dies, or takes no message.

use std::time::Duration;

use testkit::{History, Load, Own, Pace, Scene, until};

use crate::PATIENCE;

/// The API answers within 8.25 s at the very worst (`api/src/batcher.rs`), and has a deadline of 10 s beyond that.
const NOBODY_WAITS_LONGER: Duration = Duration::from_secs(10);
/// More than is sold before a fault, little enough to be sold out soon after it.
pub(crate) const STOCK: u32 = 2_000;

/// For the table of availability: how long the sale was away, from the fault until somebody bought again.
pub(crate) fn availability(row: u8, fault: &str, away: Duration) {
    println!("availability | row {row:02} | {fault} | {:.1} s", away.as_secs_f64());
}

/// Every click had an answer of the contract, and in time.
pub(crate) fn everybody_was_answered(history: &History) {
    let attempts = history.attempts();
    assert_eq!(attempts.iter().find(|attempt| !attempt.answered).map(|attempt| &attempt.user), None);
    assert!(history.slowest() < NOBODY_WAITS_LONGER, "somebody waited {:?}", history.slowest());
}

/// Waits until so many who clicked after `since` were told to try again.
pub(crate) async fn until_told_to_try_again(load: &Load, since: Duration, count: usize) {
    let told = async || {
        let attempts = load.history().attempts();
        let refused = attempts.iter().filter(|one| one.began >= since && one.answered && !one.outcome.is_decided());
        (refused.count() >= count).then_some(())
    };
    until(&format!("{count} buyers are told to try again"), PATIENCE, told).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_03_the_broker_is_killed_and_comes_back() {
    let mut scene = Scene::open(Own::RABBITMQ, STOCK).await;
    let load = scene.load(Pace::default());
    load.until_promised(200).await;
    let history = load.history().clone();
    scene.stack.rabbitmq.kill();
    let killed = history.now();
    until_told_to_try_again(&load, killed, 200).await;
    assert_eq!(history.promised_after(killed), None, "nothing is promised without RabbitMQ");
    scene.stack.rabbitmq.start();
    let down = history.now() - killed;
    load.until_it_sells_again().await;
    let sold = history.promised_after(killed).expect("it sells again");
    availability(3, &format!("RabbitMQ killed, ready again after {:.1} s", down.as_secs_f64()), sold - killed);
    load.until_sold_out().await;
    let judgement = scene.close(load).await;
    assert_eq!(judgement.sold, i64::from(STOCK), "not one less");
    everybody_was_answered(&history);
}

/// RabbitMQ raises an alarm by `alarm` and takes no message until `lift`; persisters go on.
async fn the_broker_is_short_of(what: &str, alarm: &[&str], lift: &[&str]) {
    let mut scene = Scene::open(Own::RABBITMQ, STOCK).await;
    let load = scene.load(Pace::default());
    let history = load.history().clone();
    load.until_promised(100).await;
    // A backlog, for persisters to work on while publishers are blocked.
    scene.persisters[0].stop().await;
    load.until_promised(history.promised() + 300).await;
    scene.stack.rabbitmq.control(alarm);
    scene.apis[0].process().wait_for_log("the broker blocks publishers").await;
    let blocked = history.now();
    until_told_to_try_again(&load, blocked, 100).await;

    let promised = history.promised();
    scene.stack.raise(&mut scene.persisters[0], &[]);
    let persisted = async || {
        let books = scene.client().verify(scene.sale).await.body["books"].take();
        (books["sold"].as_u64()? >= promised as u64).then_some(())
    };
    until("what was promised is persisted although publishers are blocked", PATIENCE, persisted).await;
    // What it had not acknowledged would be back in the queue.
    scene.persisters[0].stop().await;
    assert_eq!(scene.client().verify(scene.sale).await.body["queuedMessages"], 0, "persisters keep acknowledging");
    scene.stack.raise(&mut scene.persisters[0], &[]);
    let health = scene.client().get("/health").await;
    let rabbitmq = &health.body["services"]["rabbitmq"]["message"];
    assert!(rabbitmq.as_str().is_some_and(|said| said.contains("takes no messages")), "{health:?}");
    assert_eq!(history.promised_after(blocked), None, "nothing is promised while RabbitMQ takes no message");

    scene.stack.rabbitmq.control(lift);
    let lifted = history.now();
    load.until_it_sells_again().await;
    let sold = history.promised_after(blocked).expect("it sells again");
    let fault = format!("RabbitMQ short of {what} for {:.1} s", (lifted - blocked).as_secs_f64());
    availability(4, &fault, sold - blocked);
    load.until_sold_out().await;
    let judgement = scene.close(load).await;
    assert_eq!(judgement.sold, i64::from(STOCK), "not one less");
    everybody_was_answered(&history);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_04_the_broker_is_short_of_memory_and_blocks_publishers() {
    let alarm = ["set_vm_memory_high_watermark", "0.0001"];
    the_broker_is_short_of("memory", &alarm, &["set_vm_memory_high_watermark", "0.6"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_04_the_broker_is_short_of_disk_and_blocks_publishers() {
    let alarm = ["set_disk_free_limit", "1000000GB"];
    the_broker_is_short_of("disk", &alarm, &["set_disk_free_limit", "50MB"]).await;
}
