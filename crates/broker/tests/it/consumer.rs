//! Consuming: acknowledgement, redelivery, and the end of a queue.

use std::time::Duration;

use broker::{Consumer, Consumers, Delivery, decode};
use domain::SaleId;

use crate::fixture::{EPOCH, batch, config, connected, eventually, new_sale, publish_all, sale_with_queue, soon, tidy};

async fn next(consumer: &mut Consumer) -> Delivery {
    soon("a delivery arrives", consumer.next()).await.expect("the queue exists").unwrap()
}

fn user(delivery: &Delivery, sale: SaleId) -> String {
    decode(&delivery.body, (sale, EPOCH)).unwrap().reservations[0].user_id.to_string()
}

#[tokio::test]
async fn a_queue_that_does_not_exist_is_not_consumed() {
    let consumers = Consumers::connect(&config()).await.unwrap();
    assert!(consumers.consume(new_sale(), EPOCH).await.unwrap().is_none());
    assert!(consumers.is_connected(), "only the channel closed");
}

#[tokio::test]
async fn what_is_not_acknowledged_comes_again_and_is_counted() {
    let (sale, drain) = sale_with_queue().await;
    publish_all(sale, &["ann", "bob", "cid"]).await;
    let consumers = Consumers::connect(&config()).await.unwrap();
    let mut consumer = consumers.consume(sale, EPOCH).await.unwrap().unwrap();
    let first = [next(&mut consumer).await, next(&mut consumer).await, next(&mut consumer).await];
    assert_eq!(first.each_ref().map(|delivery| (delivery.redelivered, delivery.delivery_count)), [(false, 0); 3]);
    consumer.ack(first[1].tag, false).await.unwrap();
    consumer.close().await;

    let mut consumer = consumers.consume(sale, EPOCH).await.unwrap().unwrap();
    let again = [next(&mut consumer).await, next(&mut consumer).await];
    assert_eq!(again.each_ref().map(|delivery| user(delivery, sale)), ["ann", "cid"]);
    assert_eq!(again.each_ref().map(|delivery| (delivery.redelivered, delivery.delivery_count)), [(true, 1); 2]);
    consumer.ack(again[1].tag, true).await.unwrap();
    consumer.close().await;
    assert_eq!(drain.get(EPOCH).await.unwrap(), None, "`multiple` acknowledged the earlier one too");
    tidy(drain).await;
}

#[tokio::test]
async fn everything_that_is_here_already_can_be_gathered_without_waiting() {
    let (sale, drain) = sale_with_queue().await;
    let consumers = Consumers::connect(&config()).await.unwrap();
    let mut consumer = consumers.consume(sale, EPOCH).await.unwrap().unwrap();
    assert!(consumer.try_next().is_none());
    publish_all(sale, &["ann", "bob", "cid"]).await;
    let mut users = Vec::new();
    eventually("all three are gathered", async || {
        while let Some(delivery) = consumer.try_next() {
            users.push(user(&delivery.unwrap(), sale));
        }
        users.len() == 3
    })
    .await;
    assert_eq!(users, ["ann", "bob", "cid"]);
    tidy(drain).await;
}

#[tokio::test]
async fn no_more_than_the_prefetch_is_handed_out() {
    let (sale, drain) = sale_with_queue().await;
    publish_all(sale, &["ann", "bob", "cid", "dan", "eve"]).await;
    let mut config = config();
    config.prefetch = 2;
    let consumers = Consumers::connect(&config).await.unwrap();
    let mut consumer = consumers.consume(sale, EPOCH).await.unwrap().unwrap();
    let (first, second) = (next(&mut consumer).await, next(&mut consumer).await);
    assert!(drain.get(EPOCH).await.unwrap().is_some(), "the third is still in the queue");
    consumer.ack(second.tag, true).await.unwrap();
    assert_eq!(user(&next(&mut consumer).await, sale), "dan");
    assert!(first.tag < second.tag);
    tidy(drain).await;
}

#[tokio::test]
async fn one_consumer_gets_all_that_it_can_take_and_the_other_one_the_rest() {
    let (sale, drain) = sale_with_queue().await;
    let mut config = config();
    config.prefetch = 2;
    let consumers = Consumers::connect(&config).await.unwrap();
    let consume = async || consumers.consume(sale, EPOCH).await.unwrap().unwrap();
    let (mut first, mut second) = (consume().await, consume().await);
    publish_all(sale, &["ann", "bob", "cid", "dan"]).await;
    let mut held = [next(&mut first).await, next(&mut second).await];
    if user(&held[0], sale) != "ann" {
        (first, second) = (second, first);
        held.reverse();
    }
    assert_eq!(held.each_ref().map(|delivery| user(delivery, sale)), ["ann", "cid"]);
    assert_eq!(user(&next(&mut first).await, sale), "bob");
    let last = next(&mut second).await;
    assert_eq!(user(&last, sale), "dan");

    second.ack(last.tag, true).await.unwrap();
    first.close().await;
    let left = [next(&mut second).await, next(&mut second).await];
    assert_eq!(left.each_ref().map(|delivery| user(delivery, sale)), ["ann", "bob"]);
    tidy(drain).await;
}

#[tokio::test]
async fn an_abandoned_wait_loses_no_delivery() {
    let (sale, drain) = sale_with_queue().await;
    let consumers = Consumers::connect(&config()).await.unwrap();
    let mut consumer = consumers.consume(sale, EPOCH).await.unwrap().unwrap();
    let publisher = connected(&config()).await;
    let mut users = Vec::new();
    for number in 0..20 {
        publisher.publish(&batch(sale, &number.to_string())).await.unwrap();
        // Sometimes the timer wins and sometimes the delivery.
        if let Ok(delivery) = tokio::time::timeout(Duration::from_micros(300), consumer.next()).await {
            let delivery = delivery.unwrap().unwrap();
            users.push(user(&delivery, sale));
            consumer.ack(delivery.tag, false).await.unwrap();
        }
    }
    while users.len() < 20 {
        let delivery = next(&mut consumer).await;
        users.push(user(&delivery, sale));
        consumer.ack(delivery.tag, false).await.unwrap();
    }
    assert_eq!(users, (0..20).map(|number| number.to_string()).collect::<Vec<_>>());
    tidy(drain).await;
}

#[tokio::test]
async fn a_consumer_ends_with_its_queue_and_stays_ended() {
    let (sale, drain) = sale_with_queue().await;
    let consumers = Consumers::connect(&config()).await.unwrap();
    let mut consumer = consumers.consume(sale, EPOCH).await.unwrap().unwrap();
    drain.delete(EPOCH).await.unwrap();
    assert!(soon("the end is noticed", consumer.next()).await.is_none());
    assert!(consumer.try_next().is_none());
    assert!(soon("it is still ended", consumer.next()).await.is_none());
    assert!(consumers.is_connected());
    drain.release().await;
}

#[tokio::test]
async fn a_closed_connection_cannot_acknowledge() {
    let (sale, drain) = sale_with_queue().await;
    publish_all(sale, &["ann"]).await;
    let consumers = Consumers::connect(&config()).await.unwrap();
    let mut consumer = consumers.consume(sale, EPOCH).await.unwrap().unwrap();
    let delivery = next(&mut consumer).await;
    consumers.close().await;
    assert!(consumer.ack(delivery.tag, false).await.is_err());
    eventually("it is in the queue again", async || drain.get(EPOCH).await.unwrap().is_some()).await;
    tidy(drain).await;
}
