//! Rows 5, 6 and 7: messages vanish, come twice, or in another order.

use std::collections::VecDeque;
use std::time::Duration;

use broker::{EXCHANGE, queue_name, routing_key};
use futures_util::{FutureExt, StreamExt};
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions, QueueDeleteOptions, QueuePurgeOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use testkit::{Load, Own, Pace, Scene};
use tokio::sync::watch;

use crate::broker::{STOCK, availability, everybody_was_answered};

/// Deliveries that a meddler holds at a time.
const PREFETCH: u16 = 16;
/// How long a meddler waits for one more delivery to hold.
const GATHER: Duration = Duration::from_millis(20);
/// A meddler draws another lot after so many deliveries, or where none has come for so long: the queue gives everything to
/// the one with the highest, and the persister is to have its turns too.
const TURN: (u32, Duration) = (32, Duration::from_millis(50));
const SEED: u64 = 7;

/// Somebody at RabbitMQ with access to a sale's queue who is none of our processes.
pub(crate) struct Meddler {
    channel: Channel,
    queue: String,
    key: String,
    _connection: Connection,
}

impl Meddler {
    pub(crate) async fn at(scene: &Scene) -> Self {
        let epoch = scene.stack.sale(scene.sale).await.epoch;
        let url = scene.stack.rabbitmq.url();
        let connection = Connection::connect(url, ConnectionProperties::default()).await.expect("RabbitMQ answers");
        let channel = connection.create_channel().await.unwrap();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        channel.basic_qos(PREFETCH, BasicQosOptions { global: false }).await.unwrap();
        let (queue, key) = (queue_name(scene.sale, epoch), routing_key(scene.sale, epoch));
        Self { channel, queue, key, _connection: connection }
    }

    /// Publishes `body` to the sale's queue, which has it then.
    pub(crate) async fn publish(&self, body: &[u8], properties: BasicProperties) {
        let options = BasicPublishOptions { mandatory: true, immediate: false };
        let properties = properties.with_delivery_mode(2);
        let key = self.key.clone().into();
        let confirm = self.channel.basic_publish(EXCHANGE.into(), key, options, body, properties).await.unwrap();
        assert!(matches!(confirm.await.unwrap(), Confirmation::Ack(None)), "the queue has the message");
    }

    /// Consumes with a lot of its own.
    async fn consume(&self) -> lapin::Consumer {
        let (queue, options) = (self.queue.clone().into(), BasicConsumeOptions::default());
        let mut arguments = FieldTable::default();
        arguments.insert("x-priority".into(), AMQPValue::LongInt(rand::random()));
        self.channel.basic_consume(queue, "".into(), options, arguments).await.unwrap()
    }

    async fn deliveries(&self) -> Deliveries<'_> {
        Deliveries { meddler: self, consumer: self.consume().await, left: TURN.0, held: VecDeque::new() }
    }

    /// Lets go of the queue: what it holds goes back.
    async fn leave(&self) {
        self.channel.close(200, "OK".into()).await.unwrap();
    }
}

/// What a meddler gets, turn by turn.
struct Deliveries<'a> {
    meddler: &'a Meddler,
    consumer: lapin::Consumer,
    /// How many more this turn may bring.
    left: u32,
    /// What the last turn has left.
    held: VecDeque<Delivery>,
}

impl Deliveries<'_> {
    /// The next delivery, or `None` once it is to stop.
    async fn next(&mut self, stop: &mut watch::Receiver<bool>) -> Option<Delivery> {
        loop {
            if self.left == 0 {
                self.draw().await;
            }
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return None,
                delivery = tokio::time::timeout(TURN.1, self.one()) => match delivery {
                    Ok(delivery) => return Some(delivery),
                    Err(_) => self.left = 0,
                },
            }
        }
    }

    /// One more of this turn, if it comes soon.
    async fn more(&mut self) -> Option<Delivery> {
        tokio::time::timeout(GATHER, self.one()).await.ok()
    }

    async fn one(&mut self) -> Delivery {
        if let Some(held) = self.held.pop_front() {
            return held;
        }
        let delivery = self.consumer.next().await.expect("the queue stays").unwrap();
        self.left = self.left.saturating_sub(1);
        delivery
    }

    async fn draw(&mut self) {
        let cancel = self.meddler.channel.basic_cancel(self.consumer.tag(), BasicCancelOptions::default());
        cancel.await.unwrap();
        while let Some(delivery) = self.consumer.next().now_or_never().flatten() {
            self.held.push_back(delivery.unwrap());
        }
        self.consumer = self.meddler.consume().await;
        self.left = TURN.0;
    }
}

async fn put_back(delivery: &Delivery) {
    delivery.nack(BasicNackOptions { requeue: true, ..Default::default() }).await.unwrap();
}

/// Lets messages pile up that only the queue and the outbox have; nobody holds one.
async fn backlog(scene: &mut Scene, load: &Load) {
    load.until_promised(100).await;
    scene.persisters[0].stop().await;
    load.until_promised(load.history().promised() + 200).await;
}

/// Has a meddler at work until everything is sold, and returns what it has to tell.
async fn until_sold_out<T>(
    scene: &Scene,
    load: &Load,
    meddle: impl AsyncFnOnce(&Meddler, watch::Receiver<bool>) -> T,
) -> T {
    let (stop, stopped) = watch::channel(false);
    let meddler = Meddler::at(scene).await;
    let sold_out = async {
        load.until_sold_out().await;
        stop.send(true).expect("the meddler listens");
    };
    tokio::join!(meddle(&meddler, stopped), sold_out).0
}

/// Every unit is sold, and every click was answered by more than "try again".
async fn nobody_noticed(scene: Scene, load: Load) {
    let history = load.history().clone();
    let judgement = scene.close(load).await;
    assert_eq!(judgement.sold, i64::from(STOCK), "not one less");
    assert_eq!(judgement.unknown, 0, "no buyer notices");
    everybody_was_answered(&history);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_05_the_queue_is_deleted_under_load() {
    let mut scene = Scene::open(Own::NONE, STOCK).await;
    let load = scene.load(Pace::default());
    let history = load.history().clone();
    backlog(&mut scene, &load).await;
    let meddler = Meddler::at(&scene).await;
    let options = QueueDeleteOptions::default();
    let lost = meddler.channel.queue_delete(meddler.queue.clone().into(), options).await.unwrap();
    let deleted = history.now();
    assert!(lost > 0, "promised reservations were in the queue");
    scene.stack.raise(&mut scene.persisters[0], &[]);
    scene.keepers[0].process().wait_for_log("RabbitMQ lost the queue").await;
    load.until_it_sells_again().await;
    let sold = history.promised_after(deleted).expect("it sells again");
    availability(5, "queue deleted", sold - deleted);
    load.until_sold_out().await;
    let judgement = scene.close(load).await;
    assert_eq!(judgement.sold, i64::from(STOCK), "not one less");
    assert!(judgement.unknown > 0, "what is published to no queue is never promised");
    everybody_was_answered(&history);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_05_the_queue_is_purged_under_load() {
    let mut scene = Scene::open(Own::NONE, STOCK).await;
    let load = scene.load(Pace::default());
    let history = load.history().clone();
    backlog(&mut scene, &load).await;
    let meddler = Meddler::at(&scene).await;
    let options = QueuePurgeOptions::default();
    let lost = meddler.channel.queue_purge(meddler.queue.clone().into(), options).await.unwrap();
    let purged = history.now();
    assert!(lost > 0, "promised reservations were in the queue");
    scene.stack.raise(&mut scene.persisters[0], &[]);
    load.until_it_sells_again().await;
    availability(5, "queue purged", history.promised_after(purged).expect("it sells on") - purged);
    load.until_sold_out().await;
    scene.keepers[0].process().wait_for_log("publishing again what no message carries").await;
    nobody_noticed(scene, load).await;
}

/// Marks a message that a meddler has published, for it to recognize.
const COPY: &str = "copy";

/// Publishes every message that comes its way twice, until `stop`; all bodies it has seen.
async fn duplicate(meddler: &Meddler, mut stop: watch::Receiver<bool>) -> Vec<Vec<u8>> {
    let mut deliveries = meddler.deliveries().await;
    let mut seen = Vec::new();
    while let Some(delivery) = deliveries.next(&mut stop).await {
        if delivery.properties.message_id().as_ref().is_some_and(|id| id.as_str() == COPY) {
            put_back(&delivery).await;
            continue;
        }
        let copy = BasicProperties::default().with_message_id(COPY.into());
        meddler.publish(&delivery.data, copy.clone()).await;
        meddler.publish(&delivery.data, copy).await;
        delivery.ack(BasicAckOptions::default()).await.unwrap();
        seen.push(delivery.data);
    }
    meddler.leave().await;
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_06_messages_are_duplicated() {
    let scene = Scene::open(Own::NONE, STOCK).await;
    let load = scene.load(Pace::default());
    let seen = until_sold_out(&scene, &load, duplicate).await;
    assert!(seen.len() >= 20, "only {} messages were duplicated", seen.len());
    // Once more each, long after their orders were written and their outbox entries deleted.
    scene.stack.settled(scene.client(), scene.sale).await;
    let late = Meddler::at(&scene).await;
    for body in &seen {
        late.publish(body, BasicProperties::default()).await;
    }
    nobody_noticed(scene, load).await;
}

/// What a meddler did to messages.
#[derive(Debug, Default)]
struct Meddled {
    put_back: usize,
    published_anew: usize,
    /// Deliveries that had been put back before.
    redelivered: usize,
}

/// Takes messages and gives them back in another order, half of them to the head of the queue and half to its tail.
async fn reorder(meddler: &Meddler, mut stop: watch::Receiver<bool>) -> Meddled {
    let mut random = SmallRng::seed_from_u64(SEED);
    let mut deliveries = meddler.deliveries().await;
    let mut meddled = Meddled::default();
    while let Some(first) = deliveries.next(&mut stop).await {
        let mut held = vec![first];
        while held.len() < usize::from(PREFETCH)
            && let Some(one) = deliveries.more().await
        {
            held.push(one);
        }
        held.shuffle(&mut random);
        for delivery in held {
            meddled.redelivered += usize::from(delivery.redelivered);
            if random.random_bool(0.5) {
                put_back(&delivery).await;
                meddled.put_back += 1;
            } else {
                meddler.publish(&delivery.data, BasicProperties::default()).await;
                delivery.ack(BasicAckOptions::default()).await.unwrap();
                meddled.published_anew += 1;
            }
        }
    }
    meddler.leave().await;
    meddled
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_07_messages_are_reordered_and_put_back() {
    let scene = Scene::open(Own::NONE, STOCK).await;
    let load = scene.load(Pace::default());
    let meddled = until_sold_out(&scene, &load, reorder).await;
    let Meddled { put_back, published_anew, redelivered } = meddled;
    assert!(put_back >= 20 && published_anew >= 20 && redelivered > 0, "{meddled:?}");
    nobody_noticed(scene, load).await;
}
