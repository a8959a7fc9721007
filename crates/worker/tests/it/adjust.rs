//! Units that PostgreSQL books back are for sale again, exactly once, however many keepers run.

use testkit::until;

use crate::fixture::{PATIENCE, Shop};

#[tokio::test]
async fn a_unit_that_comes_back_is_sold_once_more_and_only_once() {
    let shop = Shop::open(3).await;
    let (_persister, _keepers) = (shop.stack.persister(), [shop.stack.keeper(), shop.stack.keeper()]);
    let first = shop.buy_one_by_one(3).await;
    shop.settled(&first).await;
    let buy = async |user: &str| shop.api.client.purchase(shop.sale, user).await.outcome().to_owned();
    assert_eq!(buy("too late").await, "SOLD_OUT");

    shop.stack.expire(shop.sale, &["buyer-1"]).await;

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

    shop.stack.expire(shop.sale, &["buyer-1"]).await;
    shop.delete_keys().await;
    let _keepers = [shop.stack.keeper(), shop.stack.keeper()];

    let books = shop.settled(&[first[0].clone(), first[2].clone()]).await;
    assert_eq!((&books["sold"], &books["available"], &books["adjustments"]), (&2.into(), &1.into(), &0.into()));
    assert!(persister.stop().await.success());
}
