//! A queue that nobody can consume.

use lapin::options::{QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties};
use testkit::{Stack, buy_one_by_one, until};

use crate::fixture::PATIENCE;

#[tokio::test]
async fn a_queue_that_cannot_be_consumed_is_told_as_such_and_holds_up_no_other_sale() {
    let stack = Stack::new().await;
    let (sound, sick) = (stack.create_sale(20).await, stack.create_sale(20).await);
    stack.reconcile().await;
    let connection = Connection::connect(stack.rabbitmq.url(), ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let queue = broker::queue_name(sick, stack.sale(sick).await.epoch);
    channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()).await.unwrap();
    // Another connection's own: whoever else asks for it is refused.
    let options = QueueDeclareOptions::exclusive();
    channel.queue_declare(queue.as_str().into(), options, FieldTable::default()).await.unwrap();

    let api = stack.api().await;
    let promised = buy_one_by_one(&api.client, sound, 3).await;
    let persister = stack.persister();
    let persisted = async || (stack.sale(sound).await.sold == 3).then_some(());
    until("the sound sale's orders are written", PATIENCE, persisted).await;
    assert_eq!(stack.lost(sound, &promised).await, [""; 0]);
    persister.wait_for_log("a queue cannot be consumed").await;
    assert!(!persister.log().contains("cannot be read"), "{}", persister.log());
    connection.close(200, "OK".into()).await.unwrap();
}
