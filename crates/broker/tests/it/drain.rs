//! Draining: the lock, the fence, and the queue's end.

use broker::{Consumers, Drain, Error, PublishError, decode};
use testkit::{Proxy, Wire};

use crate::fixture::{
    EPOCH, batch, config, config_for, connected, eventually, new_sale, publish_all, sale_with_queue, tidy, url,
};

#[tokio::test]
async fn one_reconciler_at_a_time_drains_a_sale() {
    let sale = new_sale();
    let first = Drain::lock(&config(), sale).await.unwrap().expect("the sale is free");
    assert!(Drain::lock(&config(), sale).await.unwrap().is_none());
    assert!(Drain::lock(&config(), new_sale()).await.unwrap().is_some(), "another sale is another lock");
    first.release().await;
    eventually("the lock is free", async || Drain::lock(&config(), sale).await.unwrap().is_some()).await;
}

#[tokio::test]
async fn a_dropped_drain_frees_its_lock_and_its_messages() {
    let (sale, drain) = sale_with_queue().await;
    publish_all(sale, &["ann"]).await;
    assert!(drain.get(EPOCH).await.unwrap().is_some());
    drop(drain);

    let mut next = None;
    eventually("the lock is free", async || {
        next = Drain::lock(&config(), sale).await.unwrap();
        next.is_some()
    })
    .await;
    let next = next.unwrap();
    eventually("the message is back", async || next.get(EPOCH).await.unwrap().is_some()).await;
    tidy(next).await;
}

#[tokio::test]
async fn a_queue_is_drained_message_by_message() {
    let (sale, drain) = sale_with_queue().await;
    publish_all(sale, &["ann", "bob"]).await;
    for name in ["ann", "bob"] {
        let delivery = drain.get(EPOCH).await.unwrap().expect("it was confirmed");
        let batch = decode(&delivery.body, (sale, EPOCH)).unwrap();
        assert_eq!(batch.reservations[0].user_id.as_str(), name);
        drain.ack(delivery.tag).await.unwrap();
        assert!(matches!(drain.ack(delivery.tag).await, Err(Error::NotHeld(_))), "once is enough");
    }
    assert_eq!(drain.get(EPOCH).await.unwrap(), None);
    tidy(drain).await;
}

#[tokio::test]
async fn an_unbound_epoch_returns_what_is_published_late_and_keeps_what_it_has() {
    let (sale, drain) = sale_with_queue().await;
    let publisher = connected(&config()).await;
    publisher.publish(&batch(sale, "ann")).await.unwrap();
    drain.unbind(EPOCH).await.unwrap();
    drain.unbind(EPOCH).await.unwrap();
    assert_eq!(publisher.publish(&batch(sale, "late")).await, Err(PublishError::Returned));
    let delivery = drain.get(EPOCH).await.unwrap().expect("confirmed before the fence");
    drain.ack(delivery.tag).await.unwrap();
    assert_eq!(drain.get(EPOCH).await.unwrap(), None);
    tidy(drain).await;
}

#[tokio::test]
async fn a_queue_that_does_not_exist_is_empty_unbound_deleted_and_without_consumers() {
    let sale = new_sale();
    let drain = Drain::lock(&config(), sale).await.unwrap().unwrap();
    assert_eq!(drain.get(EPOCH).await.unwrap(), None);
    assert_eq!(counted_consumers(&drain).await, None);
    drain.unbind(EPOCH).await.unwrap();
    drain.delete(EPOCH).await.unwrap();

    drain.declare(EPOCH).await.unwrap();
    drain.declare(EPOCH).await.unwrap();
    publish_all(sale, &["ann"]).await;
    assert!(drain.get(EPOCH).await.unwrap().is_some(), "the drain works on after every refusal");
    tidy(drain).await;
}

#[tokio::test]
async fn a_deleted_queue_takes_its_messages_along() {
    let (sale, drain) = sale_with_queue().await;
    publish_all(sale, &["ann"]).await;
    let held = drain.get(EPOCH).await.unwrap().unwrap();
    drain.delete(EPOCH).await.unwrap();
    assert_eq!(drain.get(EPOCH).await.unwrap(), None);
    drain.declare(EPOCH).await.unwrap();
    assert_eq!(drain.get(EPOCH).await.unwrap(), None);
    assert!(matches!(drain.ack(held.tag).await, Err(Error::NotHeld(_))), "its channel went with the queue");
    tidy(drain).await;
}

#[tokio::test]
async fn consumers_are_counted() {
    let (sale, drain) = sale_with_queue().await;
    assert_eq!(counted_consumers(&drain).await, Some(0));
    let consumers = Consumers::connect(&config()).await.unwrap();
    let first = consumers.consume(sale, EPOCH).await.unwrap().unwrap();
    let _second = consumers.consume(sale, EPOCH).await.unwrap().unwrap();
    eventually("both are counted", async || counted_consumers(&drain).await == Some(2)).await;
    first.close().await;
    eventually("one is left", async || counted_consumers(&drain).await == Some(1)).await;
    consumers.close().await;
    eventually("none is left", async || counted_consumers(&drain).await == Some(0)).await;
    tidy(drain).await;
}

#[tokio::test]
async fn a_fetch_whose_answer_is_late_loses_no_message() {
    let proxy = Proxy::before(&url()).await;
    let mut config = config_for(&proxy.url_of(&url()));
    config.connect_timeout_ms = 1_000;
    let sale = new_sale();
    let drain = Drain::lock(&config, sale).await.unwrap().expect("nobody else knows this sale");
    drain.declare(EPOCH).await.unwrap();
    // Opens the channel to fetch on, so that the mute wire holds back the message and nothing before it.
    assert_eq!(drain.get(EPOCH).await.unwrap(), None);
    publish_all(sale, &["ann"]).await;
    proxy.set(Wire::ServerMute);
    assert!(matches!(drain.get(EPOCH).await, Err(Error::Timeout(_))));
    proxy.set(Wire::Open);
    eventually("the message is back", async || drain.get(EPOCH).await.unwrap().is_some()).await;
    tidy(drain).await;
}

#[tokio::test]
async fn a_drain_can_run_in_a_task_of_its_own() {
    let (sale, drain) = sale_with_queue().await;
    publish_all(sale, &["ann"]).await;
    let run = async move {
        let delivery = drain.get(EPOCH).await.unwrap().unwrap();
        drain.ack(delivery.tag).await.unwrap();
        drain.unbind(EPOCH).await.unwrap();
        assert_eq!(counted_consumers(&drain).await, Some(0));
        tidy(drain).await;
    };
    tokio::spawn(run).await.unwrap();
}

async fn counted_consumers(drain: &Drain) -> Option<u32> {
    drain.depth(EPOCH).await.unwrap().map(|depth| depth.consumers)
}
