//! What operators change survives every fault: whoever dies, the gate comes to go by it, and every unit is counted once.

use failpoints::Point;
use serde_json::{Value, json};
use testkit::{Api, Stack, rush, until};

use crate::fixture::{PATIENCE, Shop};

/// An API that dies right after it has committed a change.
async fn doomed(stack: &Stack) -> Api {
    let failpoint = format!("{}=crash", Point::ApiEdited.name());
    stack.api_with(&[("FLASHSALE_FAILPOINT", &failpoint)]).await
}

async fn died(mut api: Api) {
    api.process.ended().await;
    assert!(api.process.log().contains(&Point::ApiEdited.last_words()), "{}", api.process.log());
}

/// The sale as operators see it, once its gate goes by what was asked for.
async fn in_effect(shop: &Shop) -> Value {
    until("the gate goes by it", PATIENCE, async || {
        let sale = shop.api.client.admin_sale(shop.sale).await.body;
        (sale["inEffect"] == true && sale["pendingTotalStock"].is_null()).then_some(sale)
    })
    .await
}

async fn verified(shop: &Shop) -> Value {
    let answer = shop.api.client.verify(shop.sale).await;
    assert_eq!(answer.body["ok"], true, "{:#}", answer.body);
    answer.body["books"].clone()
}

#[tokio::test]
async fn a_change_whose_api_dies_right_after_the_commit_reaches_the_gate_by_a_keeper() {
    let shop = Shop::open(10).await;
    let first = shop.buy_one_by_one(2).await;
    let (paused, raised, lowered) = (doomed(&shop.stack).await, doomed(&shop.stack).await, doomed(&shop.stack).await);
    assert!(paused.client.try_act(shop.sale, "pause").await.is_err());
    died(paused).await;
    let sale = shop.api.client.admin_sale(shop.sale).await.body;
    assert_eq!((&sale["halted"], &sale["inEffect"]), (&json!("paused"), &json!(false)), "written and not told");
    let keeper = shop.stack.keeper();
    let revision = in_effect(&shop).await["revision"].clone();
    assert_eq!(shop.api.client.purchase(shop.sale, "late").await.status, 400);
    assert_eq!(shop.api.client.act(shop.sale, "resume").await.body["revision"], revision.as_i64().unwrap() + 1);
    keeper.kill();

    assert!(raised.client.try_edit(shop.sale, &json!({ "totalStock": 12 })).await.is_err());
    died(raised).await;
    assert_eq!(verified(&shop).await["adjustments"], 2);
    assert!(lowered.client.try_edit(shop.sale, &json!({ "totalStock": 5, "name": "Lamp" })).await.is_err());
    died(lowered).await;
    let sale = shop.api.client.admin_sale(shop.sale).await.body;
    let shown = (&sale["totalStock"], &sale["pendingTotalStock"], &sale["inEffect"]);
    assert_eq!(shown, (&json!(12), &json!(5), &json!(false)));

    let (_keepers, _persister) = ([shop.stack.keeper(), shop.stack.keeper()], shop.stack.persister());
    let sale = in_effect(&shop).await;
    assert_eq!((&sale["totalStock"], &sale["remainingStock"]), (&json!(5), &json!(3)));
    assert_eq!(sale["name"], "A sale of a test", "the rest of the request was waiting for the claim");
    let told = rush(&shop.api.client, shop.sale, "more", 0..10).await;
    let books = shop.settled(&[first, told.promised].concat()).await;
    assert_eq!((&books["sold"], &books["total"]), (&5.into(), &5.into()));
}

/// A sale of 10 units, 2 of them sold, whose gate has given up 5 for an operator: the keeper that asked it has died
/// before it could write that down.
async fn claimed_and_not_booked() -> (Shop, Vec<(String, String)>) {
    let shop = Shop::open(10).await;
    let first = shop.buy_one_by_one(2).await;
    let api = doomed(&shop.stack).await;
    assert!(api.client.try_edit(shop.sale, &json!({ "totalStock": 5 })).await.is_err());
    died(api).await;
    let failpoint = format!("{}=crash", Point::KeeperAdjusted.name());
    let mut keeper = shop.stack.start_with("flashsale-keeper", &[], &[("FLASHSALE_FAILPOINT", &failpoint)]);
    keeper.ended().await;
    assert!(keeper.log().contains(&Point::KeeperAdjusted.last_words()), "{}", keeper.log());
    let books = verified(&shop).await;
    assert_eq!((&books["claimed"], &books["available"], &books["total"]), (&json!(5), &json!(3), &json!(10)));
    (shop, first)
}

#[tokio::test]
async fn a_claim_that_the_gate_has_granted_is_booked_once_by_the_next_keeper() {
    let (shop, first) = claimed_and_not_booked().await;
    let (_keepers, _persister) = ([shop.stack.keeper(), shop.stack.keeper()], shop.stack.persister());
    let sale = in_effect(&shop).await;
    assert_eq!((&sale["totalStock"], &sale["remainingStock"]), (&json!(5), &json!(3)));
    let books = shop.settled(&first).await;
    assert_eq!((&books["sold"], &books["claimed"], &books["total"]), (&2.into(), &0.into(), &5.into()));
}

#[tokio::test]
async fn a_claim_that_a_lost_gate_had_granted_is_decided_once_by_the_rebuild() {
    let (shop, first) = claimed_and_not_booked().await;
    shop.delete_keys().await;
    let (_keepers, _persister) = ([shop.stack.keeper(), shop.stack.keeper()], shop.stack.persister());
    let sale = in_effect(&shop).await;
    assert_eq!((&sale["totalStock"], &sale["remainingStock"]), (&json!(5), &json!(3)));
    let scout = until("the API knows the new gate", PATIENCE, async || {
        let answer = shop.api.client.purchase(shop.sale, "scout").await;
        answer.order_id().filter(|_| answer.outcome() == "SUCCESS").map(|order| ("scout".to_owned(), order.to_owned()))
    })
    .await;
    let told = rush(&shop.api.client, shop.sale, "more", 0..10).await;
    let books = shop.settled(&[first, told.promised, vec![scout]].concat()).await;
    assert_eq!((&books["sold"], &books["total"]), (&5.into(), &5.into()));
}

#[tokio::test]
async fn what_is_changed_while_redis_is_lost_is_in_the_gate_that_is_built_next() {
    let stack = Stack::with_own_redis().await;
    let sale = stack.create_sale(10).await;
    stack.reconcile().await;
    let api = stack.api().await;
    let mut shop = Shop { stack, api, sale };
    let first = shop.buy_one_by_one(2).await;
    shop.stack.redis.freeze();

    let client = shop.api.client.clone();
    let paused = client.act(sale, "pause").await;
    assert_eq!((paused.status.as_u16(), &paused.body["inEffect"]), (202, &json!(false)), "{paused:?}");
    let edited = client.edit(sale, &json!({ "totalStock": 20, "unitPriceMinor": 500, "perUserLimit": 2 })).await;
    assert_eq!((edited.status.as_u16(), &edited.body["totalStock"]), (202, &json!(20)), "{edited:?}");
    let lowering = tokio::spawn({
        let client = client.clone();
        async move { client.edit(sale, &json!({ "totalStock": 15, "name": "Lamp" })).await }
    });
    until("the claim is written", PATIENCE, async || {
        (client.admin_sale(sale).await.body["pendingTotalStock"] == 15).then_some(())
    })
    .await;
    shop.stack.restart_redis(true);
    let (_keepers, _persister) = ([shop.stack.keeper(), shop.stack.keeper()], shop.stack.persister());

    let lowered = lowering.await.unwrap();
    assert!([200, 202].contains(&lowered.status.as_u16()), "{lowered:?}");
    let lowered = in_effect(&shop).await;
    let shown = (&lowered["totalStock"], &lowered["remainingStock"], &lowered["halted"]);
    assert_eq!(shown, (&json!(15), &json!(13), &json!("paused")));
    assert_eq!(client.purchase(sale, "early").await.status, 400, "it has opened paused");
    assert_eq!(client.edit(sale, &json!({ "totalStock": 15, "name": "Lamp" })).await.body["name"], "Lamp");
    assert_eq!(client.act(sale, "resume").await.status, 200);
    let told = rush(&client, sale, "more", 0..20).await;
    assert_eq!(told.promised.len(), 13);
    let books = shop.settled(&[first, told.promised].concat()).await;
    assert_eq!((&books["sold"], &books["total"]), (&15.into(), &15.into()));
    let row = shop.row().await;
    assert_eq!((row.terms.unit_price_minor, row.per_user_limit.get()), (500, 2));
}

#[tokio::test]
async fn what_is_changed_while_a_gate_is_being_built_is_in_it_when_it_opens() {
    let shop = Shop::open(10).await;
    let first = shop.buy_one_by_one(2).await;
    let dead = shop.row().await.epoch;
    shop.delete_keys().await;
    // It leaves its new queue alone for a while: by then the gate is written, closed.
    let slowly = [("FLASHSALE__RABBITMQ__QUEUE_SETTLE_MS", "4000")];
    let rebuilding = shop.stack.start_with("flashsale-reconcile", &[], &slowly);
    let inventory = shop.inventory();
    until("the new gate is written", PATIENCE, async || inventory.gates(&[(shop.sale, dead.next())]).await.unwrap()[0])
        .await;
    let client = &shop.api.client;
    let paused = client.act(shop.sale, "pause").await;
    assert_eq!((paused.status.as_u16(), &paused.body["state"]), (202, &json!("draining")), "{paused:?}");
    assert_eq!(client.edit(shop.sale, &json!({ "totalStock": 12, "unitPriceMinor": 500 })).await.status, 202);
    assert!(rebuilding.wait().await.success());

    // No keeper has told it.
    let gate = inventory.gates(&[(shop.sale, dead.next())]).await.unwrap()[0].unwrap();
    assert_eq!((gate.open, gate.rules), (true, shop.row().await.rules()));
    let told = async || client.purchase(shop.sale, "early").await;
    until("the API knows the gate", PATIENCE, async || (told().await.status == 400).then_some(())).await;
    let (_keeper, _persister) = (shop.stack.keeper(), shop.stack.persister());
    assert_eq!(in_effect(&shop).await["remainingStock"], 10);
    assert_eq!(client.act(shop.sale, "resume").await.status, 200);
    let told = rush(client, shop.sale, "more", 0..15).await;
    assert_eq!(told.promised.len(), 10);
    assert_eq!(shop.settled(&[first, told.promised].concat()).await["sold"], 12);
}
