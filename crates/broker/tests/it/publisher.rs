//! Publishing: what is promised, what is known, and how the publisher comes back.

use std::time::Duration;

use broker::{Consumers, MAX_RESERVATIONS, PublishError, Publisher, Status, decode};
use domain::Epoch;
use futures_util::future::join_all;
use testkit::{Proxy, Wire};

use crate::fixture::{
    EPOCH, batch, config, config_for, connected, eventually, new_sale, sale_with_queue, soon, tidy, url,
};

#[tokio::test]
async fn a_confirmed_batch_reaches_the_consumer_as_it_was() {
    let (sale, drain) = sale_with_queue().await;
    let publisher = connected(&config()).await;
    let batch = batch(sale, "ann \"quoted\" ü");

    publisher.publish(&batch).await.unwrap();

    let consumers = Consumers::connect(&config()).await.unwrap();
    let mut consumer = consumers.consume(sale, EPOCH).await.unwrap().expect("the queue is declared");
    let delivery = soon("the message arrives", consumer.next()).await.unwrap().unwrap();
    assert_eq!(decode(&delivery.body, (sale, EPOCH)), Ok(batch));
    assert!(!delivery.redelivered);
    consumer.ack(delivery.tag, false).await.unwrap();
    consumers.close().await;
    publisher.close().await;
    tidy(drain).await;
}

#[tokio::test]
async fn the_largest_batches_go_through_frame_by_frame() {
    let (sale, drain) = sale_with_queue().await;
    let publisher = connected(&config()).await;
    let mut batch = batch(sale, &"\u{10ffff}".repeat(128));
    batch.reservations = vec![batch.reservations[0].clone(); MAX_RESERVATIONS];
    let published = join_all((0..4).map(|_| publisher.publish(&batch))).await;
    assert_eq!(published, [const { Ok(()) }; 4]);

    let consumers = Consumers::connect(&config()).await.unwrap();
    let mut consumer = consumers.consume(sale, EPOCH).await.unwrap().expect("the queue is declared");
    for _ in 0..4 {
        let delivery = soon("the message arrives", consumer.next()).await.unwrap().unwrap();
        assert!(decode(&delivery.body, (sale, EPOCH)).as_ref() == Ok(&batch));
        consumer.ack(delivery.tag, false).await.unwrap();
    }
    tidy(drain).await;
}

#[tokio::test]
async fn a_batch_for_an_epoch_without_a_queue_is_returned() {
    let (sale, drain) = sale_with_queue().await;
    let publisher = connected(&config()).await;
    let mut late = batch(sale, "ann");
    late.epoch = Epoch(EPOCH.0 - 1);

    assert_eq!(publisher.publish(&late).await, Err(PublishError::Returned));
    assert_eq!(publisher.publish(&batch(sale, "bob")).await, Ok(()), "the same channel goes on");
    assert!(publisher.is_ready());
    tidy(drain).await;
}

#[tokio::test]
async fn a_returned_batch_is_never_mistaken_for_a_confirmed_one_however_many_are_under_way() {
    const BURST: usize = 400;
    let (sale, drain) = sale_with_queue().await;
    let mut config = config();
    config.max_unconfirmed = BURST;
    let publisher = connected(&config).await;
    for _ in 0..3 {
        let publishes = (0..BURST).map(async |number| {
            let mut batch = batch(sale, &format!("user {number}"));
            let is_routable = number % 2 == 0;
            if !is_routable {
                batch.epoch = EPOCH.next();
            }
            (is_routable, publisher.publish(&batch).await)
        });
        for (is_routable, outcome) in futures_util::future::join_all(publishes).await {
            let expected = if is_routable { Ok(()) } else { Err(PublishError::Returned) };
            assert_eq!(outcome, expected);
        }
    }
    tidy(drain).await;
}

#[tokio::test]
async fn a_batch_no_worker_would_read_is_not_sent() {
    let (sale, drain) = sale_with_queue().await;
    let publisher = connected(&config()).await;
    let mut empty = batch(sale, "ann");
    empty.reservations.clear();
    assert!(matches!(publisher.publish(&empty).await, Err(PublishError::NotSent(_))));
    tidy(drain).await;
}

#[tokio::test]
async fn without_a_connection_nothing_is_sent() {
    let unused = servers::free_port().unwrap();
    let publisher = Publisher::start(&config_for(&format!("amqp://guest:hunter2@127.0.0.1:{unused}/%2f")));
    let is_down = |status: &Status| matches!(status, Status::Down(reason) if reason.contains("refused"));
    eventually("the reason is known", async || is_down(&publisher.status())).await;
    assert!(!publisher.is_ready());
    let error = publisher.publish(&batch(new_sale(), "ann")).await.unwrap_err();
    assert!(matches!(error, PublishError::NotSent(_)), "{error}");
    assert!(!format!("{error} {:?}", publisher.status()).contains("hunter2"));
    soon("a publisher without a connection closes", publisher.close()).await;
}

#[tokio::test]
async fn a_connection_cut_while_a_confirm_is_outstanding_leaves_the_outcome_unknown_and_comes_back() {
    let (sale, drain) = sale_with_queue().await;
    let proxy = Proxy::before(&url()).await;
    let publisher = connected(&config_for(&proxy.url_of(&url()))).await;
    // The first publish opens the channel; from then on only the confirm is missing.
    publisher.publish(&batch(sale, "ann")).await.unwrap();
    proxy.set(Wire::ServerMute);

    let (outstanding, message) = (publisher.clone(), batch(sale, "bob"));
    let outstanding = tokio::spawn(async move { outstanding.publish(&message).await });
    for _ in ["ann", "bob"] {
        eventually("the queue has it", async || drain.get(EPOCH).await.unwrap().is_some()).await;
    }
    assert!(!outstanding.is_finished(), "the confirm is held back");
    proxy.set(Wire::Cut);

    let outcome = soon("the loss is noticed", outstanding).await.unwrap();
    assert!(matches!(outcome, Err(PublishError::Unknown(_))), "{outcome:?}");
    eventually("the loss is reported", async || matches!(publisher.status(), Status::Down(_))).await;
    assert!(matches!(publisher.publish(&batch(sale, "cid")).await, Err(PublishError::NotSent(_))));

    proxy.set(Wire::Open);
    eventually("the publisher is back", async || publisher.is_ready()).await;
    publisher.publish(&batch(sale, "dan")).await.unwrap();
    publisher.close().await;
    tidy(drain).await;
}

#[tokio::test]
async fn a_broker_that_falls_silent_is_given_up_after_two_heartbeats() {
    let (sale, drain) = sale_with_queue().await;
    let proxy = Proxy::before(&url()).await;
    let mut config = config_for(&proxy.url_of(&url()));
    config.heartbeat_seconds = 1;
    let publisher = connected(&config).await;
    proxy.set(Wire::ServerMute);
    let outcome = soon("the silence is noticed", publisher.publish(&batch(sale, "ann"))).await.unwrap_err();
    assert!(outcome.to_string().contains("heartbeat"), "{outcome}");
    eventually("the loss is reported", async || matches!(publisher.status(), Status::Down(_))).await;
    tidy(drain).await;
}

#[tokio::test]
async fn a_late_confirm_leaves_the_outcome_unknown_and_its_channel_in_use_until_it_comes() {
    let (sale, drain) = sale_with_queue().await;
    let proxy = Proxy::before(&url()).await;
    let mut config = config_for(&proxy.url_of(&url()));
    config.max_unconfirmed = 1;
    let publisher = connected(&config).await;
    publisher.publish(&batch(sale, "ann")).await.unwrap();
    config.confirm_timeout_ms = 100;
    let hasty = connected(&config).await;
    hasty.publish(&batch(sale, "bob")).await.unwrap();

    proxy.set(Wire::ServerMute);
    let outcome = hasty.publish(&batch(sale, "cid")).await;
    assert!(matches!(outcome, Err(PublishError::Unknown(_))), "{outcome:?}");
    assert_eq!(hasty.status(), Status::Connected);
    assert!(!hasty.is_ready(), "the one channel still waits");
    assert!(matches!(hasty.publish(&batch(sale, "dan")).await, Err(PublishError::NotSent(_))));

    proxy.set(Wire::Open);
    eventually("the late confirm frees the channel", async || hasty.is_ready()).await;
    tidy(drain).await;
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_no_channel_behind() {
    let (sale, drain) = sale_with_queue().await;
    let proxy = Proxy::before(&url()).await;
    let mut config = config_for(&proxy.url_of(&url()));
    config.max_unconfirmed = 1;
    let publisher = connected(&config).await;
    publisher.publish(&batch(sale, "ann")).await.unwrap();

    proxy.set(Wire::ServerMute);
    let message = batch(sale, "bob");
    let impatient = tokio::time::timeout(Duration::from_millis(50), publisher.publish(&message));
    assert!(impatient.await.is_err(), "the confirm is held back");
    assert!(!publisher.is_ready());
    proxy.set(Wire::Open);

    eventually("the confirm frees the channel", async || publisher.is_ready()).await;
    publisher.publish(&batch(sale, "cid")).await.unwrap();
    tidy(drain).await;
}

#[tokio::test]
async fn closing_waits_for_outstanding_confirms_and_refuses_new_messages() {
    let (sale, drain) = sale_with_queue().await;
    let proxy = Proxy::before(&url()).await;
    let mut config = config_for(&proxy.url_of(&url()));
    config.connect_timeout_ms = 500;
    let publisher = connected(&config).await;
    publisher.publish(&batch(sale, "ann")).await.unwrap();
    proxy.set(Wire::ServerMute);
    let (outstanding, message) = (publisher.clone(), batch(sale, "bob"));
    let outstanding = tokio::spawn(async move { outstanding.publish(&message).await });
    eventually("it is under way", async || drain.get(EPOCH).await.unwrap().is_some()).await;
    eventually("both are there", async || drain.get(EPOCH).await.unwrap().is_some()).await;

    let closer = publisher.clone();
    let mut closing = tokio::spawn(async move { closer.close().await });
    eventually("it refuses", async || matches!(publisher.status(), Status::Down(_))).await;
    assert!(matches!(publisher.publish(&batch(sale, "cid")).await, Err(PublishError::NotSent(_))));
    let early = tokio::time::timeout(Duration::from_secs(1), &mut closing).await;
    assert!(early.is_err(), "it waits for the confirm, longer than for the answer to anything else");

    proxy.set(Wire::Open);
    assert_eq!(soon("the confirm arrives", outstanding).await.unwrap(), Ok(()));
    soon("it closes", closing).await.unwrap();
    tidy(drain).await;
}
