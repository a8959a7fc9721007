//! Row 29: an operator edits, pauses, resumes, and moves the stock up and down, whatever breaks meanwhile.
//!
//! What must hold in the end: the sale is what the last answered change of each field asked for, the gate goes by it,
//! nothing was sold while a pause was in effect, and never more than the stock that was left.

use std::time::Duration;

use failpoints::Point;
use inventory::Inventory;
use serde_json::{Value, json};
use testkit::{Answer, Cast, History, Load, Operator, Outcome, Own, Pace, Scene, Wishes, new_sale, until};

use crate::redis::command;
use crate::worker::dies_at;
use crate::{PATIENCE, seed};

/// Little enough for the stock to be close to what is sold all the time.
const STOCK: u32 = 300;
/// Changes that are made before and after each fault.
const SOME: usize = 15;
/// The last price of all.
const LAST_PRICE: i64 = 4_321;

/// A sale under load and in the hands of an operator.
struct Shop {
    scene: Scene,
    load: Load,
    operator: Operator,
}

impl Shop {
    async fn open(own: Own) -> Self {
        let seed = seed();
        let cast = Cast { apis: 2, ..Cast::default() };
        let scene = Scene::with(own, &new_sale(STOCK), cast, &[]).await;
        let load = scene.load(Pace { buyers: 8, rest: Duration::from_millis(40), seed });
        load.until_promised(50).await;
        let operator = Operator::start(&scene.clients, scene.sale, load.history(), seed).await;
        operator.until_done(SOME).await;
        Self { scene, load, operator }
    }

    /// The sale sells, and goes by what the operator says.
    async fn recovers(&self) {
        self.load.until_it_decides_again().await;
        self.operator.until_done(SOME).await;
    }

    /// Ends the operator's work and holds the sale against it: in PostgreSQL, in Redis and in what buyers were told.
    async fn judge(self, what: &str) -> Wishes {
        self.recovers().await;
        let Self { scene, load, operator } = self;
        let mut wishes = operator.stop().await;
        wishes.hold_against(&in_effect(&scene).await);
        let history = load.stop().await;
        assert_the_gate_knows(&scene).await;
        let last_order = last_words(&scene, &history).await;
        let judgement = scene.judge(&history).await;
        let (sold_while_paused, clicks) = wishes.sold_while_paused(&history);
        println!("row 29 | {what} | {wishes}{clicks} clicks in a pause | {judgement}");
        assert_eq!(wishes.broken, [""; 0], "{wishes}");
        assert_eq!(sold_while_paused, [""; 0], "sold in one of {:?}: {wishes}", wishes.pauses);
        assert!(clicks > 0, "{wishes}");
        judgement.assert_clean();
        let sale = scene.stack.sale(scene.sale).await;
        assert_eq!(
            (judgement.sold, sale.sold),
            (sale.total_stock, sale.total_stock),
            "not one unit too many or too few"
        );
        assert_eq!(scene.client().order(&last_order).await.body["unitPriceMinor"], LAST_PRICE);
        scene.end().await;
        wishes
    }
}

/// Waits until the gate goes by all that PostgreSQL has, and tells how operators see the sale then.
async fn in_effect(scene: &Scene) -> Value {
    let in_effect = async || {
        let shown = scene.client().admin_sale(scene.sale).await.body;
        (shown["inEffect"] == true && shown["pendingTotalStock"].is_null()).then_some(shown)
    };
    until("the gate goes by what the operator asked for", PATIENCE, in_effect).await
}

/// The rules in Redis, revision included, are those in PostgreSQL.
async fn assert_the_gate_knows(scene: &Scene) {
    let sale = scene.stack.sale(scene.sale).await;
    let inventory = Inventory::new(&scene.stack.settings().redis).unwrap();
    let gates = inventory.gates(&[(sale.id, sale.epoch)]).await.unwrap();
    assert_eq!(gates[0].expect("there is a gate").rules, sale.rules());
}

/// The operator's last changes, each tried by a buyer: sells at a new price, is paused, sells, and has nothing left.
/// The order that was made at the new price.
async fn last_words(scene: &Scene, history: &History) -> String {
    let (client, sale) = (scene.client(), scene.sale);
    let buy = async |user: &str| {
        let began = history.now();
        let outcome = Outcome::of(&client.try_purchase(sale, user).await);
        history.record(user, began, outcome.clone());
        outcome
    };
    let done = async |answer: Answer| {
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    };
    let shown = done(client.act(sale, "resume").await).await;
    let more = shown["totalStock"].as_i64().unwrap() + 5;
    done(client.edit(sale, &json!({ "totalStock": more, "unitPriceMinor": LAST_PRICE })).await).await;
    let Outcome::Promised(order) = buy("last-1").await else { panic!("there are five more") };
    done(client.act(sale, "pause").await).await;
    assert_eq!(buy("last-2").await, Outcome::NotActive);
    done(client.act(sale, "resume").await).await;
    assert!(buy("last-3").await.is_promise());
    let books = scene.stack.settled(client, sale).await.body["books"].take();
    done(client.edit(sale, &json!({ "totalStock": books["sold"] })).await).await;
    assert_eq!(buy("last-4").await, Outcome::SoldOut);
    order
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_29_an_operator_changes_a_sale_whose_redis_is_killed_and_then_flushed() {
    let mut shop = Shop::open(Own::REDIS).await;
    shop.scene.stack.redis.kill();
    shop.load.until_felt(shop.load.history().now()).await;
    shop.operator.until_unsure().await;
    shop.scene.stack.redis.start();
    shop.recovers().await;
    shop.load.history().redis_forgets();
    let _: () = command(&mut shop.scene.stack.redis, &["FLUSHALL"]).await;
    shop.load.until_felt(shop.load.history().now()).await;
    let wishes = shop.judge("Redis killed, FLUSHALL").await;
    assert!(wishes.late > 0, "some changes waited for a gate: {wishes}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_29_an_operator_changes_a_sale_whose_postgresql_is_killed_and_back_after_seconds() {
    let mut shop = Shop::open(Own::POSTGRES).await;
    shop.scene.stack.postgres.kill();
    // Buyers go on without it, operators cannot.
    shop.load.until_it_decides_again().await;
    shop.operator.until_unsure().await;
    shop.scene.stack.postgres.start();
    let wishes = shop.judge("PostgreSQL killed").await;
    assert!(wishes.unknown > 0, "some changes had no answer: {wishes}");
}

/// The API dies with a change that the gate has not heard of; the keeper dies, so that only APIs tell the gate; the queue
/// goes, so that the gate is built anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_29_an_operator_changes_a_sale_whose_api_and_keeper_are_killed_and_whose_queue_is_deleted() {
    let mut shop = Shop::open(Own::NONE).await;
    shop.scene.apis[0].stop().await;
    for nth in [3, 1] {
        dies_at(&shop.scene.stack, &mut shop.scene.apis[0], Point::ApiEdited, nth).await;
    }
    shop.scene.raise().await;
    shop.recovers().await;

    shop.scene.keepers[0].kill();
    shop.operator.until_done(SOME).await;
    let drain = shop.scene.stack.lock_queue(shop.scene.sale).await;
    drain.delete(shop.scene.stack.sale(shop.scene.sale).await.epoch).await.unwrap();
    drain.release().await;
    shop.scene.raise().await;
    let rebuilt = async || (shop.scene.stack.sale(shop.scene.sale).await.epoch.0 > 1).then_some(());
    until("the gate is built anew", PATIENCE, rebuilt).await;
    let wishes = shop.judge("API, keeper killed, queue deleted").await;
    assert!(wishes.unknown > 1, "the changes that two APIs died of had no answer: {wishes}");
}
