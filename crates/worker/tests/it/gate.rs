//! A keeper sees that a gate is lost, or its queue, and rebuilds: nothing promised is lost, no other sale is closed.

use broker::Consumers;
use domain::SaleState;
use testkit::{rush, until};

use crate::fixture::{PATIENCE, Shop};

#[tokio::test]
async fn a_queue_deleted_under_a_live_sale_is_rebuilt_and_nothing_is_lost() {
    let shop = Shop::open(200).await;
    let keeper = shop.stack.keeper();
    let (first, ()) = tokio::join!(shop.rush(250), async {
        until_units_are_reserved(&shop).await;
        shop.delete_queue().await;
    });
    let _persister = shop.stack.persister();
    keeper.wait_for_log("queue_lost").await;
    let second = sell_out(&shop).await;
    assert_eq!(shop.settled(&[first.promised, second].concat()).await["sold"], 200);
}

#[tokio::test]
async fn a_queue_that_nothing_leads_to_any_more_is_rebuilt_and_nothing_is_lost() {
    let shop = Shop::open(20).await;
    let first = shop.buy_one_by_one(5).await;
    shop.unbind_queue().await;
    let answer = shop.api.client.purchase(shop.sale, "unlucky").await;
    assert_eq!((answer.status.as_u16(), answer.outcome()), (503, "TRY_AGAIN"));
    let unknown = ("unlucky".to_owned(), answer.order_id().expect("the id of what may have been reserved").to_owned());
    let (keeper, _persister) = (shop.stack.keeper(), shop.stack.persister());
    keeper.wait_for_log("unroutable").await;
    assert_eq!(shop.settled(&[first, vec![unknown]].concat()).await["sold"], 6);
}

#[tokio::test]
async fn a_gate_deleted_under_a_live_sale_is_rebuilt_and_nothing_is_lost() {
    let shop = Shop::open(200).await;
    let keeper = shop.stack.keeper();
    let (first, ()) = tokio::join!(shop.rush(250), async {
        until_units_are_reserved(&shop).await;
        shop.delete_keys().await;
    });
    let _persister = shop.stack.persister();
    keeper.wait_for_log("gate_lost").await;
    let second = sell_out(&shop).await;
    assert_eq!(shop.settled(&[first.promised, second].concat()).await["sold"], 200);
}

/// Nobody persists yet, so that there is a backlog when the fault happens.
async fn until_units_are_reserved(shop: &Shop) {
    let selling = async || {
        let status = shop.api.client.status(shop.sale).await.body;
        (status["remainingStock"].as_i64()? < 150).then_some(())
    };
    until("units are reserved", PATIENCE, selling).await;
}

/// More buyers than units, once the sale is open again.
async fn sell_out(shop: &Shop) -> Vec<(String, String)> {
    let open = async || (shop.row().await.state == SaleState::Open).then_some(());
    until("the sale is open", PATIENCE, open).await;
    let sells = async || (shop.api.client.purchase(shop.sale, "scout").await.status == 200).then_some(());
    until("the API has noticed", PATIENCE, sells).await;
    rush(&shop.api.client, shop.sale, "second", 0..200).await.promised
}

#[tokio::test]
async fn three_keepers_open_a_new_sale_once_and_mend_it_once() {
    let shop = Shop::open(10).await;
    let second_sale = shop.stack.create_sale(10).await;
    let keepers = [(); 3].map(|()| shop.stack.keeper());
    let opened = async || (shop.stack.sale(second_sale).await.state == SaleState::Open).then_some(());
    until("the new sale is open", PATIENCE, opened).await;
    assert_eq!(shop.stack.sale(second_sale).await.epoch.0, 1, "opened once");

    shop.delete_keys().await;
    let mended = async || (shop.api.client.purchase(shop.sale, "scout").await.status == 200).then_some(());
    until("the first sale sells again", PATIENCE, mended).await;
    let bought = shop.buy_one_by_one(2).await;
    let _persister = shop.stack.persister();
    assert_eq!(shop.settled(&bought).await["sold"], 3);
    assert_eq!(shop.row().await.epoch.0, 2, "mended once");
    for keeper in keepers {
        assert!(keeper.stop().await.success());
    }
}

#[tokio::test]
async fn a_sale_that_is_being_rebuilt_does_not_close_another() {
    let shop = Shop::open(10).await;
    let other = shop.stack.create_sale(10).await;
    let promised = shop.buy_one_by_one(3).await;
    // Somebody holds a message of the first sale, so that its rebuild has to wait.
    let consumers = Consumers::connect(&shop.stack.settings().rabbitmq).await.unwrap();
    let mut holder = consumers.consume(shop.sale, shop.row().await.epoch).await.unwrap().unwrap();
    holder.next().await.unwrap().unwrap();
    shop.delete_keys().await;
    let (_persister, _keeper) = (shop.stack.persister(), shop.stack.keeper());
    let draining = async || (shop.row().await.state == SaleState::Draining).then_some(());
    until("the first sale is being rebuilt", PATIENCE, draining).await;

    let sells = async || (shop.api.client.purchase(other, "scout").await.outcome() == "SUCCESS").then_some(());
    until("the other sale sells", PATIENCE, sells).await;
    let told = rush(&shop.api.client, other, "buyer", 0..20).await;
    assert_eq!(told.promised.len(), 9, "{told:?}");
    shop.stack.settled(&shop.api.client, other).await;
    assert_eq!(shop.api.client.purchase(shop.sale, "buyer").await.status, 503);
    assert_eq!(shop.row().await.state, SaleState::Draining, "the first was closed all the time");

    holder.close().await;
    consumers.close().await;
    assert_eq!(shop.settled(&promised).await["sold"], 3);
}
