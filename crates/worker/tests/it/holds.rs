//! Holds that run out: their units are bought again without anybody waiting for the keeper's rounds over the sales.

use testkit::{Stack, until};

use crate::fixture::{PATIENCE, Shop};
use crate::till::held_sale;

/// Far apart: what comes back in these tests does not come by them.
const RARE_ROUNDS: (&str, &str) = ("FLASHSALE__KEEPER__TICK_MS", "3600000");

#[tokio::test]
async fn units_that_nobody_paid_for_are_bought_again_each_once_however_many_keepers_run() {
    let shop = Shop::on(Stack::new().await, &held_sale(20, 2)).await;
    let _persister = shop.stack.persister();
    let _keepers = [(); 2].map(|()| shop.stack.start_with("flashsale-keeper", &[], &[RARE_ROUNDS]));
    assert_eq!(shop.rush(40).await.promised.len(), 20);
    let buy = async |user: &str| shop.api.client.purchase(shop.sale, user).await.outcome().to_owned();

    let mut again = Vec::new();
    for number in 0..20 {
        let user = format!("later-{number}");
        until("a unit is for sale", PATIENCE, async || (buy(&user).await == "SUCCESS").then_some(())).await;
        again.push(user);
    }
    // The next wave of holds runs out too: nothing is ever sold twice, and at last everything is for sale.
    let all_back = async || {
        let books = shop.settled(&[]).await;
        (books["sold"] == 0).then_some(books)
    };
    let books = until("every hold has run out", PATIENCE, all_back).await;
    assert_eq!((&books["available"], &books["adjustments"]), (&20.into(), &0.into()));
    assert_eq!(buy("buyer-0").await, "ALREADY_PURCHASED");
    assert_eq!(again.len(), 20);

    let mut connection = shop.stack.database.connect().await;
    let sql =
        "SELECT count(*) FILTER (WHERE event = 'EXPIRED'), count(DISTINCT order_id) FILTER (WHERE event = 'EXPIRED')
               FROM audit WHERE sale_id = $1";
    let told: (i64, i64) = sqlx::query_as(sql).bind(shop.sale.0).fetch_one(&mut connection).await.unwrap();
    assert_eq!(told, (40, 40), "each of them has expired once");
}

#[tokio::test]
async fn a_hold_that_runs_out_while_redis_is_away_is_for_sale_when_it_is_back() {
    let mut shop = Shop::on(Stack::with_own_redis().await, &held_sale(1, 2)).await;
    let _persister = shop.stack.persister();
    let first = shop.buy_one_by_one(1).await;
    shop.settled(&first).await;
    shop.stack.redis.kill();
    let keeper = shop.stack.keeper();
    let expired = async || {
        let order = shop.stack.ledger.order(first[0].1.parse().unwrap()).await.unwrap().unwrap().order;
        (order.status == domain::OrderState::Expired).then_some(())
    };
    until("the order has expired", PATIENCE, expired).await;
    shop.stack.redis.start();
    let bought = async || (shop.api.client.purchase(shop.sale, "another").await.outcome() == "SUCCESS").then_some(());
    until("the unit is for sale", PATIENCE, bought).await;
    shop.settled(&[]).await;
    drop(keeper);
}
