//! A sale of which nothing is left: this process answers for the gate, and never says what the gate would not.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;
use testkit::{Answer, Api, Proxy, Wire, until};

use crate::fixture::{SOON, Shop};
use crate::till::{PRICE, Till, held_sale};

/// How long a unit that has come back may take to be for sale again, whichever process it came back through, and some
/// for a busy machine.
const BACK_WITHIN: Duration = Duration::from_millis(100 + 400);
/// How long Redis takes for each answer.
const REDIS_TAKES: Duration = Duration::from_millis(20);

/// Another API of the shop, whose way to Redis takes [`REDIS_TAKES`] there and back.
async fn api_far_from_redis(shop: &Shop) -> (Api, Proxy) {
    let variables = shop.stack.variables();
    let (name, url) =
        variables.iter().find(|(name, _)| name == "FLASHSALE__REDIS__URL").expect("a setting of the stack");
    let redis = Proxy::before(url).await;
    let api = shop.stack.api_with(&[(name, &redis.url_of(url))]).await;
    redis.set(Wire::Slow(REDIS_TAKES / 2));
    (api, redis)
}

/// A click at this API, and how long it took.
async fn timed(api: &Api, shop: &Shop, user: &str) -> (Answer, Duration) {
    let asked = Instant::now();
    let answer = api.client.purchase(shop.sale, user).await;
    (answer, asked.elapsed())
}

/// Waits until somebody is refused sooner than Redis could have said so.
async fn refuses_by_itself(api: &Api, shop: &Shop) {
    let refused = async || {
        let (answer, took) = timed(api, shop, "somebody").await;
        assert_eq!((answer.outcome(), &answer.body["remainingStock"]), ("SOLD_OUT", &json!(0)), "{answer:?}");
        (took < REDIS_TAKES).then_some(())
    };
    until("it refuses without asking Redis", SOON, refused).await;
}

#[tokio::test]
async fn nobody_asks_redis_any_more_but_for_those_who_have_bought() {
    let shop = Shop::with_stock(20).await;
    let workers = [shop.stack.persister(), shop.stack.keeper()];
    let mut promised = Vec::new();
    for number in 0..20 {
        let user = format!("winner-{number}");
        promised.push((user.clone(), shop.buy(&user).await));
    }
    let (api, _redis) = api_far_from_redis(&shop).await;
    refuses_by_itself(&api, &shop).await;
    for (user, order) in &promised {
        let answer = api.client.purchase(shop.sale, user).await;
        assert_eq!((answer.outcome(), answer.order_id()), ("ALREADY_PURCHASED", Some(order.as_str())), "{user}");
    }
    // What the gate looks at before its stock.
    let body = json!({ "saleId": shop.sale, "userId": "greedy", "quantity": 2 }).to_string();
    let click = api.client.request(Method::POST, "/api/v1/sale/purchase").header("content-type", "application/json");
    let greedy = api.client.send(click.body(body)).await;
    assert_eq!(greedy.body["code"], "QUANTITY_NOT_ALLOWED", "{greedy:?}");
    assert_eq!(api.client.act(shop.sale, "pause").await.status, 200);
    let late = api.client.purchase(shop.sale, "late").await;
    assert_eq!(late.body["code"], "NOT_ACTIVE", "this process has paused it: {late:?}");
    shop.check_books(&promised).await;
    drop(api);
    shop.close(workers).await;
}

#[tokio::test]
async fn a_unit_that_comes_back_through_another_process_is_for_sale_again_and_its_new_buyer_is_known() {
    let till = Till::without_keeper(&held_sale(2, PRICE, 600)).await;
    let shop = &till.shop;
    let (anns, _) = (till.hold("ann").await, till.hold("bob").await);
    let (far, _redis) = api_far_from_redis(shop).await;
    refuses_by_itself(&far, shop).await;
    assert_eq!(till.client().cancel(&anns).await.outcome(), "CANCELLED");
    let cancelled = Instant::now();
    // As the others see it, who have not changed anything.
    let sold = async || {
        let answer = far.client.purchase(shop.sale, "cleo").await;
        (answer.outcome() == "SUCCESS").then(|| answer.order_id().expect("an order").to_owned())
    };
    let cleos = until("the unit is for sale again", SOON, sold).await;
    assert!(cancelled.elapsed() < BACK_WITHIN, "{:?}", cancelled.elapsed());
    // Nothing is left once more; both processes know their own.
    refuses_by_itself(&far, shop).await;
    for client in [&far.client, till.client()] {
        let again = client.purchase(shop.sale, "cleo").await;
        assert_eq!((again.outcome(), again.order_id()), ("ALREADY_PURCHASED", Some(cleos.as_str())), "{again:?}");
        assert_eq!(client.purchase(shop.sale, "ann").await.outcome(), "ALREADY_PURCHASED", "one order for a buyer");
    }
    till.reaches(&cleos, "HELD").await;
    assert_eq!(till.books().await["sold"], 2);
    drop(far);
    till.close().await;
}
