//! What the outbox still holds is looked into: lost messages are published again, forgotten entries deleted.

use testkit::{Process, until};

use crate::fixture::{PATIENCE, Shop};

fn quick_keeper(shop: &Shop) -> Process {
    shop.stack.start_with("flashsale-keeper", &[], &[("FLASHSALE__KEEPER__SWEEP_AFTER_MS", "200")])
}

#[tokio::test]
async fn a_reservation_that_was_never_published_becomes_an_order() {
    let shop = Shop::open(10).await;
    let reserved = shop.reserve_unpublished("the unlucky one").await.reservations.remove(0);
    let (_persister, _keeper) = (shop.stack.persister(), quick_keeper(&shop));
    let promised = [(reserved.user_id.to_string(), reserved.id.to_string())];
    let written = async || shop.stack.lost(shop.sale, &promised).await.is_empty().then_some(());
    until("the order is written", PATIENCE, written).await;
    assert_eq!(shop.settled(&promised).await["sold"], 1);
}

#[tokio::test]
async fn promised_messages_that_the_broker_lost_are_published_again() {
    let shop = Shop::open(10).await;
    let promised = shop.buy_one_by_one(6).await;
    shop.purge_queue().await;
    let (_persister, keeper) = (shop.stack.persister(), quick_keeper(&shop));
    keeper.wait_for_log("publishing again").await;
    assert_eq!(shop.settled(&promised).await["sold"], 6);
}

#[tokio::test]
async fn an_outbox_entry_whose_order_is_committed_is_deleted() {
    let shop = Shop::open(10).await;
    // As a persister does that dies between its commit and the rest.
    let batch = shop.reserve_unpublished("buyer").await;
    shop.stack.ledger.persist(&batch, None).await.unwrap();
    assert_eq!(shop.api.client.verify(shop.sale).await.body["settled"], false);
    let keeper = quick_keeper(&shop);
    assert_eq!(shop.settled(&[]).await["sold"], 1);
    assert!(!keeper.log().contains("publishing again"));
}
