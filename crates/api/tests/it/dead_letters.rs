//! `/api/v1/admin/dead-letters`: what became no order, and what operators make of it. The books hold at every step.

use domain::{Epoch, SaleState};
use futures_util::future::join_all;
use ledger::{DeadLetter, LISTED_BODY_BYTES, LetterFilter};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use testkit::{ADMIN_TOKEN, Answer, until};
use uuid::Uuid;

use crate::fixture::{SOON, Shop, assert_problem};

const PATH: &str = "/api/v1/admin/dead-letters";

impl Shop {
    async fn run(&self, sql: String) {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut self.stack.database.connect().await).await.unwrap();
    }

    /// Makes PostgreSQL refuse every order of this buyer, until [`Shop::accept`].
    pub(crate) async fn refuse(&self, user: &str) {
        self.run(format!("ALTER TABLE orders ADD CONSTRAINT not_{user} CHECK (user_id <> '{user}')")).await;
    }

    pub(crate) async fn accept(&self, user: &str) {
        self.run(format!("ALTER TABLE orders DROP CONSTRAINT not_{user}")).await;
    }

    /// Buys for one whom PostgreSQL refuses, with a persister at work: the promised order and its letter.
    pub(crate) async fn buy_in_vain(&self, user: &str) -> (String, Value) {
        self.refuse(user).await;
        let order = self.buy(user).await;
        let letter = self.letter_of(&order).await;
        (order, letter)
    }

    /// The letter of an order that PostgreSQL refuses, once it is buried.
    pub(crate) async fn letter_of(&self, order: &str) -> Value {
        let buried = async || {
            let letters = self.letters("?state=unresolved").await;
            letters.into_iter().find(|letter| letter["orderId"] == order)
        };
        until("the reservation is buried", SOON, buried).await
    }

    async fn letters(&self, query: &str) -> Vec<Value> {
        let answer = self.client().get_as_operator(&format!("{PATH}{query}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body["deadLetters"].as_array().unwrap().clone()
    }

    pub(crate) async fn decide(&self, decision: &str, id: &Value) -> Answer {
        let path = format!("{PATH}/{}/{decision}", id.as_str().unwrap());
        self.client().send(self.client().request(Method::POST, &path).bearer_auth(ADMIN_TOKEN)).await
    }

    /// Sold, in the gate or on its way there, and behind letters, once nothing is in flight.
    pub(crate) async fn balance(&self) -> [i64; 3] {
        let balanced = async || {
            let body = self.client().verify(self.sale).await.body;
            assert_eq!(body["ok"], true, "{body:#}");
            let books = |field: &str| body["books"][field].as_i64().unwrap();
            let on_sale = books("available") + books("adjustments");
            (books("inFlight") == 0).then(|| [books("sold"), on_sale, books("deadLetters")])
        };
        until("nothing is in flight", SOON, balanced).await
    }

    /// A new gate under a new epoch, as after a reconciler that crashed.
    async fn rebuild(&self) {
        let before = self.stack.sale(self.sale).await.epoch;
        self.drain().await;
        self.stack.reconcile().await;
        assert!(self.stack.sale(self.sale).await.epoch > before);
    }

    pub(crate) async fn ends(&self) {
        self.run("UPDATE sales SET ends_at = clock_timestamp()".to_owned()).await;
        let ended = async || (self.stack.sale(self.sale).await.state == SaleState::Ended).then_some(());
        until("the sale is over", SOON, ended).await;
    }

    async fn drain(&self) {
        let sql = "UPDATE sales SET state = 'draining', drain_token = gen_random_uuid() WHERE state = 'open'";
        self.run(sql.to_owned()).await;
    }
}

#[tokio::test]
async fn a_discarded_letter_gives_its_unit_to_the_next_buyer() {
    let shop = Shop::with_stock(1).await;
    let (persister, keeper) = (shop.stack.persister(), shop.stack.keeper());
    let (order, letter) = shop.buy_in_vain("ann").await;
    assert_eq!(shop.balance().await, [0, 0, 1]);
    assert_eq!(shop.click("bob").await.outcome(), "SOLD_OUT");

    shop.accept("ann").await;
    let answer = shop.decide("discard", &letter["id"]).await;
    let message = format!("Dead letter {} has been discarded", letter["id"].as_str().unwrap());
    let expected = json!({ "success": true, "resolution": "discarded", "unitsReturned": 1, "message": message });
    assert_eq!((answer.status.as_u16(), answer.body), (200, expected));
    assert_eq!(shop.balance().await, [0, 1, 0]);
    let bought = async || (shop.click("bob").await.outcome() == "SUCCESS").then_some(());
    until("the unit is back on sale", SOON, bought).await;
    shop.persisted("bob").await;
    assert_eq!(shop.balance().await, [1, 0, 0]);

    let cancelled = json!({ "purchased": false, "orderId": order, "status": "CANCELLED" });
    for rebuilt in [false, true] {
        if rebuilt {
            shop.rebuild().await;
        }
        assert_eq!(shop.client().purchase_of(shop.sale, "ann").await.body, cancelled);
        let again = async || {
            let answer = shop.click("ann").await;
            (answer.outcome() != "TRY_AGAIN").then_some(answer)
        };
        let again = until("the gate is open", SOON, again).await;
        assert_eq!((again.outcome(), again.order_id()), ("ALREADY_PURCHASED", Some(order.as_str())));
        assert_eq!(shop.balance().await, [1, 0, 0]);
        assert_problem(&shop.decide("discard", &letter["id"]).await, 409, "DEAD_LETTER_RESOLVED");
        let redriven = shop.decide("redrive", &letter["id"]).await;
        assert_problem(&redriven, 409, "DEAD_LETTER_RESOLVED");
        assert!(redriven.body["detail"].as_str().unwrap().contains("discarded before"), "{redriven:?}");
    }
    shop.close([persister, keeper]).await;
}

#[tokio::test]
async fn a_redriven_letter_becomes_the_order_that_was_promised() {
    let shop = Shop::with_stock(2).await;
    let persister = shop.stack.persister();
    let (order, letter) = shop.buy_in_vain("ann").await;
    assert_eq!(shop.balance().await, [0, 1, 1]);

    let refused = shop.decide("redrive", &letter["id"]).await;
    assert_problem(&refused, 409, "REDRIVE_FAILED");
    assert!(refused.body["detail"].as_str().unwrap().contains("\"not_ann\" (23514)"), "{refused:?}");
    assert_eq!(shop.letters("").await[0]["reason"], refused.body["detail"]);
    assert_eq!(shop.balance().await, [0, 1, 1]);

    shop.accept("ann").await;
    shop.drain().await;
    let draining = shop.decide("redrive", &letter["id"]).await;
    assert_problem(&draining, 409, "RECONCILE_RUNNING");
    assert_eq!(draining.headers["retry-after"], "1");
    shop.stack.reconcile().await;
    assert_eq!(shop.balance().await, [0, 1, 1]);

    let answers = join_all((0..8).map(|_| shop.decide("redrive", &letter["id"]))).await;
    let (done, late): (Vec<Answer>, Vec<Answer>) = answers.into_iter().partition(|answer| answer.status == 200);
    assert_eq!((done.len(), &done[0].body["resolution"]), (1, &json!("redriven")));
    late.iter().for_each(|answer| assert_problem(answer, 409, "DEAD_LETTER_RESOLVED"));
    assert_eq!(shop.balance().await, [1, 1, 0]);
    let bought = json!({ "purchased": true, "orderId": order, "status": "CONFIRMED" });
    assert_eq!(shop.client().purchase_of(shop.sale, "ann").await.body, bought);
    shop.rebuild().await;
    shop.check_books(&[("ann".to_owned(), order)]).await;
    assert_eq!(shop.balance().await, [1, 1, 0]);
    shop.close([persister]).await;
}

#[tokio::test]
async fn letters_of_an_ended_sale_can_still_be_decided_about() {
    let shop = Shop::with_stock(3).await;
    let (persister, keeper) = (shop.stack.persister(), shop.stack.keeper());
    let (_, first) = shop.buy_in_vain("ann").await;
    let (_, second) = shop.buy_in_vain("bob").await;
    shop.ends().await;
    assert_eq!(shop.balance().await, [0, 1, 2]);

    // PostgreSQL refuses ann's cancelled order too.
    let refused = shop.decide("discard", &first["id"]).await;
    assert_problem(&refused, 409, "REDRIVE_FAILED");
    assert!(refused.body["detail"].as_str().unwrap().contains("\"not_ann\" (23514)"), "{refused:?}");
    assert_eq!(shop.balance().await, [0, 1, 2]);
    shop.accept("ann").await;
    assert_eq!(shop.decide("discard", &first["id"]).await.status, 200);
    assert_eq!(shop.balance().await, [0, 2, 1]);
    shop.accept("bob").await;
    assert_eq!(shop.decide("redrive", &second["id"]).await.status, 200);
    assert_eq!(shop.balance().await, [1, 2, 0]);
    shop.close([persister, keeper]).await;
}

#[tokio::test]
async fn a_message_that_could_not_be_read_is_read_again() {
    let shop = Shop::with_stock(3).await;
    let order = shop.buy("ann").await;
    // What a decoder that did not know this version yet would have buried. The message itself is still on its way.
    let inventory = inventory::Inventory::new(&shop.stack.settings().redis).unwrap();
    let entries = inventory.outbox(shop.sale, Epoch(1), None, 0, 10).await.unwrap();
    let batch = inventory::batches(shop.sale, Epoch(1), entries).pop().unwrap();
    for (reason, body) in [("version 1 is not known", broker::encode(&batch)), ("no JSON", b"\xff{".to_vec())] {
        let letter = DeadLetter::unreadable(shop.sale, Epoch(1), reason.to_owned(), body);
        shop.stack.ledger.bury(&letter).await.unwrap();
    }
    let letters = shop.letters("").await;
    assert_eq!(letters[0]["body"].as_str().unwrap().as_bytes(), broker::encode(&batch));
    assert_eq!((&letters[1]["body"], &letters[1]["bodyEncoding"]), (&json!("/3s="), &json!("base64")));

    let refused = shop.decide("redrive", &letters[1]["id"]).await;
    assert_problem(&refused, 409, "REDRIVE_FAILED");
    assert!(refused.body["detail"].as_str().unwrap().contains("not a batch"), "{refused:?}");
    shop.drain().await;
    assert_problem(&shop.decide("redrive", &letters[0]["id"]).await, 409, "RECONCILE_RUNNING");
    shop.run("UPDATE sales SET state = 'open', drain_token = NULL".to_owned()).await;
    assert_eq!(shop.decide("redrive", &letters[0]["id"]).await.body["resolution"], "redriven");
    assert_eq!(shop.client().purchase_of(shop.sale, "ann").await.outcome(), "CONFIRMED");
    assert_problem(&shop.decide("redrive", &letters[0]["id"]).await, 409, "DEAD_LETTER_RESOLVED");
    assert_eq!(shop.decide("discard", &letters[1]["id"]).await.body["unitsReturned"], 0);

    let persister = shop.stack.persister();
    shop.check_books(&[("ann".to_owned(), order)]).await;
    shop.close([persister]).await;
}

#[tokio::test]
async fn of_a_message_that_is_read_again_each_refused_reservation_waits_in_a_letter_of_its_own() {
    let shop = Shop::with_stock(3).await;
    let (ann, bob) = (shop.buy("ann").await, shop.buy("bob").await);
    let inventory = inventory::Inventory::new(&shop.stack.settings().redis).unwrap();
    let entries = inventory.outbox(shop.sale, Epoch(1), None, 0, 10).await.unwrap();
    let batch = inventory::batches(shop.sale, Epoch(1), entries).pop().unwrap();
    let letter = DeadLetter::unreadable(shop.sale, Epoch(1), "unknown".to_owned(), broker::encode(&batch));
    shop.stack.ledger.bury(&letter).await.unwrap();
    let unreadable = shop.letters("").await.remove(0);
    // Room for one of the two.
    shop.run("UPDATE sales SET total_stock = 1".to_owned()).await;

    let split = shop.decide("redrive", &unreadable["id"]).await;
    assert_eq!((split.status.as_u16(), &split.body["resolution"]), (200, &json!("split")), "{split:?}");
    let left = shop.letters("").await;
    assert_eq!((left.len(), &left[0]["orderId"]), (1, &json!(bob)), "{left:?}");
    let message = split.body["message"].as_str().unwrap();
    let own = left[0]["id"].as_str().unwrap();
    assert!(message.contains("that are orders: 1; discarded: 0; unresolved"), "{message}");
    assert!(message.ends_with(&format!(": 1: {own}, the sale has no unit left for it")), "{message}");
    assert_eq!(left[0]["reason"], "the sale has no unit left for it");
    let refused = shop.client().purchase_of(shop.sale, "bob").await;
    assert_ne!(refused.outcome(), "REFUSED", "{refused:?}");
    assert_problem(&shop.decide("redrive", &unreadable["id"]).await, 409, "DEAD_LETTER_RESOLVED");

    shop.run("UPDATE sales SET total_stock = 3".to_owned()).await;
    assert_eq!(shop.decide("redrive", &left[0]["id"]).await.body["resolution"], "redriven");
    let persister = shop.stack.persister();
    shop.check_books(&[("ann".to_owned(), ann), ("bob".to_owned(), bob)]).await;
    shop.close([persister]).await;
}

#[tokio::test]
async fn a_discard_never_says_so_of_an_order_that_is_there() {
    let shop = Shop::with_stock(2).await;
    let persister = shop.stack.persister();
    let (_, letter) = shop.buy_in_vain("ann").await;
    shop.accept("ann").await;
    let buried = shop.stack.ledger.dead_letter(letter["id"].as_str().unwrap().parse().unwrap()).await.unwrap().unwrap();
    let batch = serde_json::from_slice(&buried.body).unwrap();
    shop.stack.ledger.persist(&batch, None).await.unwrap();
    let answer = shop.decide("discard", &letter["id"]).await;
    let message = format!(
        "Dead letter {} has been redriven: its reservation is an order already, CONFIRMED",
        letter["id"].as_str().unwrap()
    );
    let expected = json!({ "success": true, "resolution": "redriven", "unitsReturned": 0, "message": message });
    assert_eq!((answer.status.as_u16(), answer.body), (200, expected));
    assert_eq!(shop.balance().await, [1, 1, 0]);
    shop.close([persister]).await;
}

#[tokio::test]
async fn a_letter_is_listed_with_everything_that_is_known_of_it() {
    let shop = Shop::with_stock(1).await;
    let persister = shop.stack.persister();
    let (order, letter) = shop.buy_in_vain("ann").await;
    let shown = shop.client().get_as_operator(&format!("{PATH}/{}", letter["id"].as_str().unwrap())).await;
    assert_eq!((shown.status.as_u16(), &shown.body), (200, &letter));
    for (field, value) in [
        ("saleId", json!(shop.sale)),
        ("epoch", json!(1)),
        ("orderId", json!(order)),
        ("userId", json!("ann")),
        ("quantity", json!(1)),
        ("bodyEncoding", json!("utf-8")),
        ("resolvedAt", Value::Null),
        ("resolution", Value::Null),
    ] {
        assert_eq!(letter[field], value, "{field}");
    }
    let body = letter["body"].as_str().unwrap();
    assert_eq!(letter["bodyBytes"], body.len());
    assert_eq!(serde_json::from_str::<Value>(body).unwrap()["reservations"][0]["id"], order);
    assert!(letter["reason"].as_str().unwrap().contains("not_ann"), "{letter:#}");
    assert_eq!(letter.as_object().unwrap().len(), 13, "{letter:#}");

    shop.accept("ann").await;
    assert_eq!(shop.decide("discard", &letter["id"]).await.status, 200);
    assert!(shop.letters("").await.is_empty());
    let resolved = &shop.letters("?state=resolved").await[0];
    assert_eq!((&resolved["id"], &resolved["resolution"]), (&letter["id"], &json!("discarded")));
    assert!(resolved["resolvedAt"].as_str().unwrap() > letter["createdAt"].as_str().unwrap());
    shop.close([persister]).await;
}

#[tokio::test]
async fn letters_come_in_pages_that_follow_each_other() {
    let shop = Shop::with_stock(1).await;
    let long = "é".repeat(3_000).into_bytes();
    for n in 0..5u8 {
        let body = if n == 0 { [b"x", long.as_slice()].concat() } else { vec![n] };
        let letter = DeadLetter::unreadable(shop.sale, Epoch(1), format!("reason {n}"), body);
        shop.stack.ledger.bury(&letter).await.unwrap();
    }
    let (mut seen, mut query) = (Vec::new(), "?limit=2".to_owned());
    loop {
        let page = shop.client().get_as_operator(&format!("{PATH}{query}")).await.body;
        let letters = page["deadLetters"].as_array().unwrap();
        assert!((1..=2).contains(&letters.len()), "{page:#}");
        seen.extend(letters.iter().map(|letter| letter["reason"].as_str().unwrap().to_owned()));
        let Some(next) = page["nextCursor"].as_str() else { break };
        query = format!("?limit=2&cursor={next}");
    }
    assert_eq!(seen, ["reason 0", "reason 1", "reason 2", "reason 3", "reason 4"]);
    assert_eq!(shop.letters("?limit=5").await.len(), 5);
    assert_eq!(shop.letters(&format!("?state=all&saleId={}", shop.sale)).await.len(), 5);
    assert!(shop.letters(&format!("?saleId={}", Uuid::new_v4())).await.is_empty());

    let first = &shop.letters("?limit=1").await[0];
    let beginning = first["body"].as_str().unwrap();
    // The last character would have been cut in two.
    assert_eq!(
        (beginning.len(), &first["bodyBytes"]),
        (usize::try_from(LISTED_BODY_BYTES).unwrap() - 1, &json!(6_001))
    );
    let whole = shop.client().get_as_operator(&format!("{PATH}/{}", first["id"].as_str().unwrap())).await.body;
    assert_eq!(whole["body"].as_str().unwrap().len(), 6_001);
    shop.close([]).await;
}

#[tokio::test]
async fn a_senseless_question_about_dead_letters_is_a_problem() {
    let shop = Shop::with_stock(1).await;
    for query in [
        "state=dead",
        "state=",
        "saleId=7",
        "saleId=",
        "limit=0",
        "limit=201",
        "limit=-1",
        "limit=ten",
        "cursor=",
        "cursor=1",
        "cursor=1.2",
        "cursor=99999999999999999999.00000000-0000-4000-8000-000000000001",
        "limit=1&limit=2",
        "sale=1",
        "a[]=1",
    ] {
        let answer = shop.client().get_as_operator(&format!("{PATH}?{query}")).await;
        assert_problem(&answer, 400, "INVALID_FIELD");
    }
    let unknown = json!(Uuid::new_v4());
    let path = format!("{PATH}/{}", unknown.as_str().unwrap());
    assert_problem(&shop.client().get_as_operator(&path).await, 404, "DEAD_LETTER_NOT_FOUND");
    for decision in ["redrive", "discard"] {
        assert_problem(&shop.decide(decision, &unknown).await, 404, "DEAD_LETTER_NOT_FOUND");
        assert_problem(&shop.decide(decision, &json!("7")).await, 400, "INVALID_FIELD");
    }
    assert_problem(&shop.client().get_as_operator(&format!("{PATH}/7")).await, 400, "INVALID_FIELD");
    shop.close([]).await;
}

#[tokio::test]
async fn letters_of_a_sale_are_gone_with_its_reset() {
    let shop = Shop::with_stock(1).await;
    let persister = shop.stack.persister();
    let (_, letter) = shop.buy_in_vain("ann").await;
    assert_eq!(shop.balance().await, [0, 0, 1]);
    assert_eq!(shop.client().reset(shop.sale, false).await.status, 200);
    assert_problem(&shop.decide("redrive", &letter["id"]).await, 404, "DEAD_LETTER_NOT_FOUND");
    let all = LetterFilter { limit: 200, ..LetterFilter::default() };
    assert_eq!(shop.stack.ledger.dead_letters(&all).await.unwrap(), []);
    assert_eq!(shop.balance().await, [0, 1, 0]);
    shop.close([persister]).await;
}
