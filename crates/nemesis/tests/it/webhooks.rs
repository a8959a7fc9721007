//! Row 28: keepers die that have just told the shop's back end something.

use std::collections::BTreeMap;

use failpoints::Point;
use testkit::{Cast, Own, Pace, Receiver, Scene, new_sale, until};

use crate::PATIENCE;
use crate::worker::dies_at;

/// Few enough to be sold out within seconds.
const STOCK: u16 = 300;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_28_keepers_are_killed_after_webhooks_were_answered() {
    let receiver = Receiver::start().await;
    let settings = receiver.settings();
    let settings: Vec<_> = settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let mut scene = Scene::with(Own::NONE, &new_sale(STOCK.into()), Cast::default(), &settings).await;
    scene.keepers[0].process().wait_for_log("subscribed").await;
    scene.keepers[0].stop().await;
    let load = scene.load(Pace::default());
    for nth in [3, 1] {
        dies_at(&scene.stack, &mut scene.keepers[0], Point::KeeperDelivered, nth).await;
    }
    scene.raise().await;
    load.until_sold_out().await;

    for (kind, count) in [("order.reserved", STOCK), ("order.confirmed", STOCK), ("sale.sold_out", 1)] {
        receiver.heard(kind, scene.sale, count.into(), PATIENCE).await;
        assert_eq!(receiver.ids(kind, scene.sale).len(), usize::from(count), "each {kind} has one id");
    }
    // A dead keeper's lease runs out first.
    let sent_again = async || (repeats(&receiver) >= 2).then_some(());
    until("what two dead keepers had sent is sent again", PATIENCE, sent_again).await;
    let judgement = scene.close(load).await;
    assert_eq!((judgement.sold, judgement.unknown), (i64::from(STOCK), 0), "{judgement}");
}

/// How often an event came that had come before, each time the same.
fn repeats(receiver: &Receiver) -> usize {
    let mut bodies = BTreeMap::new();
    let mut again = 0;
    for told in receiver.received() {
        again += usize::from(bodies.contains_key(&told.id));
        let first = bodies.entry(told.id.clone()).or_insert_with(|| told.body.clone());
        assert_eq!(*first, told.body, "the same event, whoever sends it");
    }
    again
}
