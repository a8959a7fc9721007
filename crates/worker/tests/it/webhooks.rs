//! The shop's back end hears of everything at least once, however it behaves and whoever dies, and no sale waits for it.

use std::time::Duration;

use ledger::{NewSale, Webhook, WebhookFilter, WebhookState};
use serde_json::json;
use testkit::{Manner, Process, Receiver, Stack, new_sale, until};
use tokio::time::Instant;

use crate::fixture::{PATIENCE, Shop};

/// A click that had to wait for a receiver would take as long as the keeper's patience with it.
const AT_ONCE: Duration = Duration::from_millis(2_500);

/// A shop whose back end listens, with a persister and a keeper.
struct Told {
    shop: Shop,
    receiver: Receiver,
    keeper: Process,
    _persister: Process,
}

fn keeper(stack: &Stack, receiver: &Receiver, changes: &[(&str, &str)]) -> Process {
    let settings = receiver.settings();
    let mut settings: Vec<_> = settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    settings.extend(changes);
    stack.start_with("flashsale-keeper", &[], &settings)
}

impl Told {
    async fn open(stock: u32) -> Self {
        Self::with(&new_sale(stock), &[]).await
    }

    async fn with(sale: &NewSale, changes: &[(&str, &str)]) -> Self {
        let (stack, receiver) = (Stack::new().await, Receiver::start().await);
        // First of all, so that it hears of the opening too.
        let keeper = keeper(&stack, &receiver, changes);
        until("the keeper has subscribed", PATIENCE, async || is_recording(&stack).await.then_some(())).await;
        let shop = Shop::on(stack, sale).await;
        let _persister = shop.stack.persister();
        Self { shop, receiver, keeper, _persister }
    }

    async fn heard(&self, kind: &str, count: usize) {
        self.receiver.heard(kind, self.shop.sale, count, PATIENCE).await;
    }

    /// Buyers buy, and none of them waits for anybody but the sale.
    async fn buy(&self, name: &str, count: usize) -> Vec<(String, String)> {
        let mut promised = Vec::new();
        for number in 0..count {
            let (user, clicked) = (format!("{name}-{number}"), Instant::now());
            let answer = self.shop.api.client.purchase(self.shop.sale, &user).await;
            assert!(clicked.elapsed() < AT_ONCE, "{user} waited {:?}", clicked.elapsed());
            promised.push((user, answer.order_id().unwrap_or_else(|| panic!("{answer:?}")).to_owned()));
        }
        promised
    }

    async fn outbox(&self) -> Vec<Webhook> {
        let all = WebhookFilter { limit: i64::MAX, ..WebhookFilter::default() };
        self.shop.stack.ledger.webhooks(&all).await.unwrap()
    }

    /// Waits until all of the outbox is in this state.
    async fn until_all(&self, state: WebhookState) -> Vec<Webhook> {
        let all = async || {
            let events = self.outbox().await;
            events.iter().all(|event| event.state == state).then_some(events)
        };
        until(&format!("all are {state}"), PATIENCE, all).await
    }
}

async fn is_recording(stack: &Stack) -> bool {
    let mut connection = stack.database.connect().await;
    sqlx::query_scalar("SELECT recording FROM webhook_subscription").fetch_one(&mut connection).await.unwrap()
}

#[tokio::test]
async fn an_order_is_told_signed_and_a_sale_is_told_once_when_it_opens_and_sells_out() {
    let told = Told::open(3).await;
    let promised = told.buy("buyer", 3).await;
    for (kind, count) in [("order.reserved", 3), ("order.confirmed", 3), ("sale.sold_out", 1), ("sale.opened", 1)] {
        told.heard(kind, count).await;
    }
    told.shop.settled(&promised).await;
    let events = told.until_all(WebhookState::Delivered).await;
    assert_eq!(events.len(), 8, "{events:?}");
    assert!(events.iter().all(|event| event.attempts == 1 && event.response_status == Some(200)), "{events:?}");

    let received = told.receiver.received();
    assert_eq!(received.len(), 8, "each of them once: {received:?}");
    let (user, order) = &promised[1];
    let of_order = |kind: &str| {
        let found = received.iter().find(|one| one.kind() == kind && one.body["data"]["orderId"] == order.as_str());
        found.unwrap_or_else(|| panic!("{kind} of {order} in {received:?}"))
    };
    for kind in ["order.reserved", "order.confirmed"] {
        let expected = json!({
            "saleId": told.shop.sale, "orderId": order, "userId": user, "status": "CONFIRMED", "quantity": 1,
            "unitPriceMinor": 1999, "currency": "EUR",
        });
        assert_eq!(of_order(kind).body["data"], expected);
    }
}

#[tokio::test]
async fn a_receiver_that_was_down_hears_everything_once_it_is_up() {
    let mut told = Told::open(50).await;
    told.heard("sale.opened", 1).await;
    told.receiver.down().await;
    let promised = told.buy("buyer", 20).await;
    told.shop.settled(&promised).await;
    let tried = async || told.outbox().await.iter().any(|event| event.attempts > 2).then_some(());
    until("it was tried again and again", PATIENCE, tried).await;
    assert!(told.receiver.ids("order.reserved", told.shop.sale).is_empty());

    told.receiver.up().await;
    for kind in ["order.reserved", "order.confirmed"] {
        told.heard(kind, 20).await;
    }
    told.until_all(WebhookState::Delivered).await;
}

#[tokio::test]
async fn a_receiver_that_fails_is_asked_less_and_less_and_at_last_given_up() {
    let changes = [("FLASHSALE__WEBHOOKS__MAX_ATTEMPTS", "3"), ("FLASHSALE__WEBHOOKS__EVENTS", "order.confirmed")];
    let told = Told::with(&new_sale(5), &changes).await;
    told.receiver.behave(Manner::Answers(500));
    let promised = told.buy("buyer", 1).await;
    let waiting = async || told.outbox().await.into_iter().find(|event| event.last_error.is_some());
    let event = until("the first attempt has failed", PATIENCE, waiting).await;
    assert_eq!(event.response_status, Some(500));
    assert_eq!(event.last_error.as_deref(), Some("500 Internal Server Error: well"), "with what it said");
    assert!(event.due_at > event.last_attempt_at.unwrap(), "{event:?}");

    let given_up = async || told.outbox().await.into_iter().find(|event| event.state == WebhookState::Failed);
    let event = until("it is given up", PATIENCE, given_up).await;
    assert_eq!((event.attempts, event.delivered_at), (3, None));
    told.keeper.wait_for_log("is given up").await;
    let received = told.receiver.received();
    assert!(received.len() == 3 && received.iter().all(|one| one.id == event.id.to_string()), "{received:?}");

    told.receiver.behave(Manner::Answers(204));
    assert!(told.shop.stack.ledger.redeliver_webhook(event.id, "operator").await.unwrap());
    let [event] = told.until_all(WebhookState::Delivered).await.try_into().unwrap();
    assert_eq!((event.attempts, event.response_status, event.last_error), (1, Some(204), None));
    told.shop.settled(&promised).await;
}

#[tokio::test]
async fn whatever_a_receiver_does_no_buyer_and_no_order_waits_for_it() {
    let changes = [
        ("FLASHSALE__WEBHOOKS__AT_ONCE", "2"),
        ("FLASHSALE__WEBHOOKS__MAX_ATTEMPTS", "1000"),
        ("FLASHSALE__WEBHOOKS__TIMEOUT_MS", "3000"),
    ];
    let told = Told::with(&new_sale(100), &changes).await;
    let manners = [Manner::Hangs, Manner::HangsUp, Manner::Babbles(500), Manner::Moves, Manner::Answers(404)];
    let mut promised = Vec::new();
    for (round, manner) in manners.into_iter().enumerate() {
        told.receiver.behave(manner);
        promised.extend(told.buy(&format!("round-{round}"), 5).await);
        // The sale's own work goes on while two requests hang.
        told.shop.settled(&promised).await;
        let before = told.receiver.received().len();
        let asked = async || (told.receiver.received().len() > before + 1).then_some(());
        until(&format!("the receiver was asked while it {manner:?}"), PATIENCE, asked).await;
        assert!(
            told.outbox().await.iter().all(|event| event.state == WebhookState::Pending || event.kind == "sale.opened")
        );
    }
    // Only the status counts: a body that never ends is not read to its end.
    told.receiver.behave(Manner::Babbles(200));
    for kind in ["order.reserved", "order.confirmed"] {
        told.heard(kind, 25).await;
    }
    told.until_all(WebhookState::Delivered).await;
    assert!(told.shop.settled(&promised).await["sold"] == 25);
}

#[tokio::test]
async fn a_keeper_that_dies_after_the_answer_has_its_event_sent_again_under_the_same_id() {
    let changes =
        [("FLASHSALE_FAILPOINT", "keeper.delivered=crash"), ("FLASHSALE__WEBHOOKS__EVENTS", "order.confirmed")];
    let mut told = Told::with(&new_sale(5), &changes).await;
    let promised = told.buy("buyer", 1).await;
    assert!(!told.keeper.ended().await.success());
    assert!(told.keeper.log().contains(&failpoints::Point::KeeperDelivered.last_words()));
    let [first] = told.receiver.received().try_into().unwrap();
    assert_eq!(told.outbox().await[0].state, WebhookState::Pending);

    let _next = keeper(&told.shop.stack, &told.receiver, &changes[1..]);
    let [event] = told.until_all(WebhookState::Delivered).await.try_into().unwrap();
    assert_eq!((event.attempts, event.id.to_string()), (2, first.id.clone()));
    assert_eq!(told.receiver.received(), [first.clone(), first], "the same event, byte for byte");
    told.shop.settled(&promised).await;
}

#[tokio::test]
async fn two_keepers_share_the_work_and_a_stopped_one_finishes_what_it_has_begun() {
    let told = Told::open(300).await;
    let second = keeper(&told.shop.stack, &told.receiver, &[]);
    let sold = told.shop.rush(300).await;
    told.heard("order.confirmed", 50).await;
    assert!(second.stop().await.success());
    for kind in ["order.reserved", "order.confirmed"] {
        told.heard(kind, 300).await;
    }
    told.heard("sale.sold_out", 1).await;
    told.until_all(WebhookState::Delivered).await;
    assert_eq!(told.receiver.received().len(), 602, "nobody died, so each came once");
    told.shop.settled(&sold.promised).await;
}

#[tokio::test]
async fn a_sale_that_ends_or_is_reset_is_told_and_opens_anew() {
    let told = Told::open(2).await;
    let promised = told.buy("buyer", 2).await;
    told.shop.settled(&promised).await;
    let answer = told.shop.api.client.reset(told.shop.sale, false).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    for (kind, count) in [("order.reserved", 2), ("order.confirmed", 2), ("sale.reset", 1), ("sale.opened", 2)] {
        told.heard(kind, count).await;
    }
    let mut connection = told.shop.stack.database.connect().await;
    let over = "UPDATE sales SET ends_at = clock_timestamp(), revision = revision + 1";
    sqlx::query(over).execute(&mut connection).await.unwrap();
    told.heard("sale.ended", 1).await;
    let events = told.until_all(WebhookState::Delivered).await;
    let kinds: Vec<&str> = events.iter().rev().map(|event| event.kind.as_str()).collect();
    let order = kinds.iter().filter(|kind| kind.starts_with("sale.")).copied().collect::<Vec<_>>();
    assert_eq!(order, ["sale.opened", "sale.sold_out", "sale.reset", "sale.opened", "sale.ended"], "{kinds:?}");
}

#[tokio::test]
async fn without_a_receiver_nothing_is_written_and_a_later_one_begins_with_the_present() {
    let shop = Shop::open(10).await;
    let (_persister, quiet) = (shop.stack.persister(), shop.stack.keeper());
    let before = shop.buy_one_by_one(3).await;
    shop.settled(&before).await;
    assert!(quiet.stop().await.success());

    let receiver = Receiver::start().await;
    let keeper = keeper(&shop.stack, &receiver, &[]);
    until("the keeper has subscribed", PATIENCE, async || is_recording(&shop.stack).await.then_some(())).await;
    let answer = shop.api.client.purchase(shop.sale, "later").await;
    receiver.heard("order.confirmed", shop.sale, 1, PATIENCE).await;
    shop.settled(&[("later".to_owned(), answer.order_id().unwrap().to_owned())]).await;
    let users: Vec<_> = receiver.received().iter().map(|one| one.body["data"]["userId"].clone()).collect();
    assert_eq!(users, ["later", "later"]);
    assert!(keeper.stop().await.success());
}

#[tokio::test]
async fn ten_thousand_orders_are_all_told() {
    const ORDERS: u16 = 10_000;
    let told = Told::open(ORDERS.into()).await;
    let sold = told.shop.rush(ORDERS.into()).await;
    assert_eq!(sold.promised.len(), usize::from(ORDERS));
    let within = Duration::from_secs(150);
    for (kind, count) in [("order.reserved", ORDERS), ("order.confirmed", ORDERS), ("sale.sold_out", 1)] {
        told.receiver.heard(kind, told.shop.sale, count.into(), within).await;
    }
    told.shop.settled(&sold.promised).await;
    let mut connection = told.shop.stack.database.connect().await;
    let done = async || {
        let left: i64 = sqlx::query_scalar("SELECT count(*) FROM webhook_events WHERE state <> 'delivered'")
            .fetch_one(&mut told.shop.stack.database.connect().await)
            .await
            .unwrap();
        (left == 0).then_some(())
    };
    until("all are delivered", PATIENCE, done).await;
    let orders: i64 =
        sqlx::query_scalar("SELECT count(DISTINCT (order_id, type)) FROM webhook_events WHERE order_id IS NOT NULL")
            .fetch_one(&mut connection)
            .await
            .unwrap();
    assert_eq!(orders, 2 * i64::from(ORDERS), "each order twice and no other");
}
