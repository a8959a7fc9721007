//! Units that PostgreSQL books back are for sale again, exactly once, however many keepers run.

use sqlx::Connection;
use testkit::until;

use crate::fixture::{PATIENCE, Shop};

/// Moves one buyer's order out of its active state, as an expiry does.
async fn expire(shop: &Shop, user: &str) {
    let mut connection = shop.stack.database.connect().await;
    let mut transaction = connection.begin().await.unwrap();
    for step in [
        "SELECT FROM sales WHERE id = $1 AND $2 <> '' FOR NO KEY UPDATE",
        "UPDATE orders SET status = 'EXPIRED' WHERE sale_id = $1 AND user_id = $2",
        "UPDATE sales SET sold = sold - 1 WHERE id = $1 AND $2 <> ''",
        "INSERT INTO stock_adjustments (sale_id, epoch, order_id, delta, reason)
         SELECT sale_id, sales.epoch, orders.id, quantity, 'expired' FROM orders JOIN sales ON sales.id = sale_id
         WHERE sale_id = $1 AND user_id = $2",
    ] {
        let done = sqlx::query(step).bind(shop.sale.0).bind(user).execute(&mut *transaction).await.unwrap();
        assert_eq!(done.rows_affected(), 1, "{step}");
    }
    transaction.commit().await.unwrap();
}

#[tokio::test]
async fn a_unit_that_comes_back_is_sold_once_more_and_only_once() {
    let shop = Shop::open(3).await;
    let (_persister, _keepers) = (shop.stack.persister(), [shop.stack.keeper(), shop.stack.keeper()]);
    let first = shop.buy_one_by_one(3).await;
    shop.settled(&first).await;
    let buy = async |user: &str| shop.api.client.purchase(shop.sale, user).await.outcome().to_owned();
    assert_eq!(buy("too late").await, "SOLD_OUT");

    expire(&shop, "buyer-1").await;

    until("the unit is for sale", PATIENCE, async || (buy("too late").await == "SUCCESS").then_some(())).await;
    assert_eq!(buy("later still").await, "SOLD_OUT");
    assert_eq!(buy("buyer-1").await, "ALREADY_PURCHASED", "an expired order is a tombstone");
    let kept = [first[0].clone(), first[2].clone()];
    let books = shop.settled(&kept).await;
    assert_eq!((&books["sold"], &books["available"]), (&3.into(), &0.into()));
}

#[tokio::test]
async fn a_unit_that_comes_back_while_the_gate_is_lost_is_counted_once() {
    let shop = Shop::open(3).await;
    let persister = shop.stack.persister();
    let first = shop.buy_one_by_one(3).await;
    shop.settled(&first).await;

    expire(&shop, "buyer-1").await;
    shop.delete_keys().await;
    let _keepers = [shop.stack.keeper(), shop.stack.keeper()];

    let books = shop.settled(&[first[0].clone(), first[2].clone()]).await;
    assert_eq!((&books["sold"], &books["available"], &books["adjustments"]), (&2.into(), &1.into(), &0.into()));
    assert!(persister.stop().await.success());
}
