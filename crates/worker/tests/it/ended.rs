//! A sale whose window has passed: it ends, it is cleaned up after a while, and an operator can bring it back.

use std::time::Duration;

use broker::Monitor;
use chrono::TimeDelta;
use domain::SaleState;
use testkit::{Stack, new_sale, until};

use crate::fixture::{PATIENCE, Shop};

/// A sale that was bought from, has ended, and left nothing in Redis and RabbitMQ.
async fn ended_and_cleaned() -> (Shop, Vec<(String, String)>) {
    let stack = Stack::new().await;
    let api = stack.api().await;
    let mut sale = new_sale(10);
    sale.ends_at = sale.starts_at + TimeDelta::minutes(1) + TimeDelta::seconds(6);
    let shop = Shop { sale: stack.create(&sale).await, stack, api };
    let _persister = shop.stack.persister();
    let _keeper = shop.stack.start_with("flashsale-keeper", &[], &[("FLASHSALE__KEEPER__CLEANUP_AFTER_SECONDS", "0")]);

    let buy = async || {
        let answer = shop.api.client.purchase(shop.sale, "in time").await;
        (answer.outcome() == "SUCCESS").then(|| answer.order_id().unwrap().to_owned())
    };
    let order = until("a buyer is in time", Duration::from_secs(6), buy).await;
    until("the sale is cleaned up", PATIENCE, async || shop.row().await.cleaned_at).await;
    (shop, vec![("in time".to_owned(), order)])
}

#[tokio::test]
async fn a_sale_whose_window_has_passed_ends_and_is_cleaned_up_and_still_answers() {
    let (shop, promised) = ended_and_cleaned().await;
    let (row, client) = (shop.row().await, &shop.api.client);
    assert_eq!(row.state, SaleState::Ended);

    let monitor = Monitor::new(&shop.stack.settings().rabbitmq);
    assert_eq!(monitor.depth(shop.sale, row.epoch).await.unwrap(), None, "its queue is gone");
    let gates = shop.inventory().gates(&[(shop.sale, row.epoch)]).await.unwrap();
    assert_eq!(gates, [None], "its keys are gone");

    let noticed = async || (client.purchase(shop.sale, "too late").await.status == 400).then_some(());
    until("buyers are told that it is not active", PATIENCE, noticed).await;
    let status = client.status(shop.sale).await.body;
    assert_eq!((&status["totalSold"], &status["remainingStock"]), (&1.into(), &9.into()));
    assert_eq!(client.purchase_of(shop.sale, "in time").await.outcome(), "CONFIRMED");
    assert_eq!(shop.settled(&promised).await["sold"], 1);
}

#[tokio::test]
async fn a_sale_that_has_ended_is_settled_whatever_comes_back_to_it_later() {
    let (shop, promised) = ended_and_cleaned().await;
    let mut connection = shop.stack.database.connect().await;
    // An expiry or a refund after the end: there is no gate any more that could sell the unit.
    for step in [
        "UPDATE orders SET status = 'CANCELLED' WHERE sale_id = $1",
        "UPDATE sales SET sold = 0 WHERE id = $1",
        "INSERT INTO stock_adjustments (sale_id, epoch, order_id, delta, reason)
         SELECT sale_id, epoch, id, quantity, 'cancelled' FROM orders WHERE sale_id = $1",
    ] {
        sqlx::query(step).bind(shop.sale.0).execute(&mut connection).await.unwrap();
    }
    assert_eq!(promised.len(), 1);
    assert_eq!(shop.settled(&[]).await["sold"], 0);
}

#[tokio::test]
async fn a_reset_brings_an_ended_sale_back() {
    let (shop, _) = ended_and_cleaned().await;
    let mut connection = shop.stack.database.connect().await;
    let longer = "UPDATE sales SET ends_at = ends_at + interval '1 hour' WHERE id = $1";
    sqlx::query(longer).bind(shop.sale.0).execute(&mut connection).await.unwrap();

    assert_eq!(shop.api.client.reset(shop.sale, false).await.status, 200);

    let (_persister, _keeper) = (shop.stack.persister(), shop.stack.keeper());
    let promised = shop.buy_one_by_one(10).await;
    assert_eq!(shop.settled(&promised).await["sold"], 10);
    assert_eq!(shop.row().await.state, SaleState::Open);
}
