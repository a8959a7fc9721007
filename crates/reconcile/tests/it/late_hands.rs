//! A persister that read a sale as open just before its epoch was raised may begin to consume the dead queue while it
//! is being drained. What it holds was promised, and is in no other place once Redis is wiped.

use std::time::Duration;

use broker::{Consumers, Monitor};
use testkit::{Stack, buy_one_by_one, until};

const BUYERS: usize = 150;
const PATIENCE: Duration = Duration::from_secs(30);
/// Longer than the second in which a drained queue has to stay empty.
const LONGER_THAN_EMPTY: Duration = Duration::from_millis(2_500);

#[tokio::test]
async fn a_sale_does_not_open_while_a_late_persister_holds_messages_of_the_dead_epoch() {
    let mut stack = Stack::with_own_redis().await;
    let sale = stack.create_sale(200).await;
    stack.reconcile().await;
    let api = stack.api().await;
    let promised = buy_one_by_one(&api.client, sale, BUYERS).await;
    let dead = stack.sale(sale).await.epoch;
    stack.restart_redis(true);

    let broker = stack.settings().rabbitmq;
    let consumers = Consumers::connect(&broker).await.unwrap();
    let process = stack.start("flashsale-reconcile", &[]);
    let draining = async || (stack.sale(sale).await.sold > 0).then_some(());
    until("the drain is under way, so all hands were seen empty", PATIENCE, draining).await;
    let mut late = consumers.consume(sale, dead).await.unwrap().expect("the dead queue is still there");
    let message = tokio::time::timeout(PATIENCE, late.next()).await;
    message.expect("some messages are left").expect("the channel stands").unwrap();

    let monitor = Monitor::new(&broker);
    let drained = async || monitor.depth(sale, dead).await.unwrap().is_none_or(|depth| depth.ready == 0).then_some(());
    until("nobody else has a message", PATIENCE, drained).await;
    let opened =
        until("the sale is open", PATIENCE, async || stack.sale(sale).await.drain_token.is_none().then_some(()));
    let early = tokio::time::timeout(LONGER_THAN_EMPTY, opened).await;
    assert!(early.is_err(), "the sale was opened while messages of the dead epoch were in somebody's hands");

    late.close().await;
    assert!(process.wait().await.success());
    let verified = stack.settled(&api.client, sale).await.body;
    assert_eq!(verified["books"]["sold"], BUYERS, "{verified:#}");
    assert_eq!(stack.lost(sale, &promised).await, [""; 0]);
    consumers.close().await;
}
