//! `/api/v1/admin/webhooks`: what the shop's back end was told, and having it told again.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use testkit::{ADMIN_TOKEN, Answer, Manner, Receiver, until};

use crate::fixture::{SOON, Shop, assert_problem};
use crate::routes::NO_LETTER;

const PATH: &str = "/api/v1/admin/webhooks";

impl Shop {
    async fn webhooks(&self, query: &str) -> Answer {
        self.client().get_as_operator(&format!("{PATH}{query}")).await
    }

    /// The ids of a page, and where the next one begins.
    async fn page(&self, query: &str) -> (Vec<String>, Option<String>) {
        let answer = self.webhooks(query).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let ids = answer.body["webhooks"].as_array().unwrap().iter();
        let ids = ids.map(|event| event["id"].as_str().unwrap().to_owned()).collect();
        (ids, answer.body["nextCursor"].as_str().map(str::to_owned))
    }

    async fn redeliver(&self, id: &str) -> Answer {
        let request = self.client().request(Method::POST, &format!("{PATH}/{id}/redeliver"));
        self.client().send(request.bearer_auth(ADMIN_TOKEN)).await
    }
}

#[tokio::test]
async fn an_event_that_was_given_up_is_found_read_and_told_again_at_an_operators_word() {
    let (shop, receiver) = (Shop::with_stock(5).await, Receiver::start().await);
    receiver.behave(Manner::Answers(503));
    let settings = receiver.settings();
    let mut settings: Vec<_> = settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    settings.extend([("FLASHSALE__WEBHOOKS__MAX_ATTEMPTS", "2"), ("FLASHSALE__WEBHOOKS__EVENTS", "order.confirmed")]);
    let keeper = shop.stack.start_with("flashsale-keeper", &[], &settings);
    keeper.wait_for_log("subscribed").await;
    let persister = shop.stack.persister();
    let order = shop.buy("ann").await;

    let failed = async || shop.webhooks("?state=failed").await.body["webhooks"].get(0).cloned();
    let event = until("it is given up", SOON, failed).await;
    let id = event["id"].as_str().unwrap().to_owned();
    let fields = ["type", "saleId", "orderId", "state", "attempts", "responseStatus", "lastError", "nextAttemptAt"];
    let told = fields.map(|field| event[field].clone());
    let expected =
        json!(["order.confirmed", shop.sale, order, "failed", 2, 503, "503 Service Unavailable: well", null]);
    assert_eq!(json!(told), expected);
    assert_eq!(event["payload"]["data"]["userId"], "ann");
    assert_eq!(shop.client().get_as_operator(&format!("{PATH}/{id}")).await.body, event, "one is as in the list");

    receiver.behave(Manner::Answers(200));
    let answers = join_all((0..4).map(|_| shop.redeliver(&id))).await;
    for answer in answers {
        let message = format!("Event {id} will be sent again");
        assert_eq!((answer.status.as_u16(), answer.body), (202, json!({ "success": true, "message": message })));
    }
    let delivered = async || shop.page("?state=delivered").await.0.pop();
    assert_eq!(until("it is delivered", SOON, delivered).await, id);
    // It was delivered: asked for once more, it is sent once more.
    let before = receiver.received().len();
    shop.redeliver(&id).await;
    let again = async || (receiver.received().len() > before).then_some(());
    until("it is sent once more", SOON, again).await;
    assert!(receiver.received().iter().all(|one| one.id == id), "always the same event");

    let asked: Vec<(String, Value)> =
        sqlx::query_as("SELECT actor, detail FROM audit WHERE event = 'WEBHOOK_REDELIVERED'")
            .fetch_all(&mut shop.stack.database.connect().await)
            .await
            .unwrap();
    assert_eq!(asked.len(), 5);
    assert!(asked.iter().all(|(actor, detail)| actor == "operator" && detail["webhook"] == id.as_str()), "{asked:?}");
    shop.check_books(&[("ann".to_owned(), order)]).await;
    shop.close([persister, keeper]).await;
}

#[tokio::test]
async fn events_are_paged_newest_first_and_filtered() {
    let shop = Shop::with_stock(4).await;
    shop.stack.ledger.subscribe_webhooks(Some(&[])).await.unwrap();
    let persister = shop.stack.persister();
    let mut promised = Vec::new();
    for user in ["ann", "bob", "cid", "dot"] {
        promised.push((user.to_owned(), shop.buy(user).await));
    }
    shop.check_books(&promised).await;
    while shop.stack.ledger.collect_webhooks().await.unwrap() {}

    let (all, none) = shop.page("?limit=200").await;
    assert_eq!((all.len(), none), (9, None), "two for each order and one for the last unit");
    let (mut paged, mut cursor) = (Vec::new(), String::new());
    loop {
        let (page, next) = shop.page(&format!("?limit=2{cursor}")).await;
        assert!(page.len() <= 2);
        paged.extend(page);
        let Some(next) = next else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(paged, all);
    for (query, count) in [
        ("?type=order.reserved", 4),
        ("?type=sale.sold_out&state=pending", 1),
        ("?state=delivered", 0),
        (&format!("?saleId={}", shop.sale), 9),
        (&format!("?saleId={NO_LETTER}"), 0),
    ] {
        assert_eq!(shop.page(query).await.0.len(), count, "{query}");
    }
    for (query, what) in [
        ("?state=lost", "pending, delivered or failed"),
        ("?type=order.lost", "order.reserved"),
        ("?saleId=1", "UUID"),
        ("?cursor=x", "nextCursor"),
        ("?limit=0", "from 1 to 200"),
        ("?event=x", "query may have"),
    ] {
        let answer = shop.webhooks(query).await;
        assert_problem(&answer, 400, "INVALID_FIELD");
        assert!(answer.body["detail"].as_str().unwrap().contains(what), "{query}: {answer:?}");
    }
    assert_problem(&shop.webhooks(&format!("/{NO_LETTER}")).await, 404, "WEBHOOK_NOT_FOUND");
    assert_problem(&shop.redeliver(NO_LETTER).await, 404, "WEBHOOK_NOT_FOUND");
    assert_problem(&shop.redeliver("1").await, 400, "INVALID_FIELD");
    shop.close([persister]).await;
}
