//! Events out of the audit trail: each row once, none missed, none of what happened while they were off.

use std::time::Duration;

use ledger::{DeadLetter, LeasedWebhook, WEBHOOK_TYPES, WebhookFailure, WebhookFilter, WebhookOutcome, WebhookState};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use crate::fixture::{Fixture, RESERVED_AT, one, units};

const LEASE: Duration = Duration::from_secs(60);

impl Fixture {
    /// With events switched on, all of them.
    pub(crate) async fn with_webhooks(stock: u32) -> Self {
        let fixture = Self::with_stock(stock).await;
        fixture.ledger.subscribe_webhooks(Some(&[])).await.unwrap();
        fixture
    }

    pub(crate) async fn collect(&self) {
        while self.ledger.collect_webhooks().await.unwrap() {}
    }

    /// The types of all events, the oldest first, after a collection.
    pub(crate) async fn types(&self) -> Vec<String> {
        self.payloads().await.iter().map(|payload| payload["type"].as_str().unwrap().to_owned()).collect()
    }

    async fn payloads(&self) -> Vec<Value> {
        self.collect().await;
        let filter = WebhookFilter { limit: i64::MAX, ..WebhookFilter::default() };
        let events = self.ledger.webhooks(&filter).await.unwrap();
        assert!(events.iter().all(|event| WEBHOOK_TYPES.contains(&event.kind.as_str())), "{events:?}");
        events.iter().rev().map(|event| serde_json::from_str(&event.payload).unwrap()).collect()
    }

    async fn lease(&self) -> Vec<LeasedWebhook> {
        self.ledger.lease_webhooks(100, LEASE).await.unwrap()
    }
}

fn failed(id: uuid::Uuid, again_after: Option<Duration>) -> WebhookOutcome {
    let failure = WebhookFailure { error: "500 Internal Server Error".to_owned(), again_after };
    WebhookOutcome { id, response_status: Some(500), failure: Some(failure) }
}

fn delivered(id: uuid::Uuid) -> WebhookOutcome {
    WebhookOutcome { id, response_status: Some(204), failure: None }
}

#[tokio::test]
async fn an_order_is_two_events_with_its_terms_and_the_last_unit_is_one_more() {
    let fixture = Fixture::with_webhooks(2).await;
    let order = units("ann", 2);
    fixture.apply(1, std::slice::from_ref(&order)).await;

    let events = fixture.payloads().await;
    let types: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["order.reserved", "order.confirmed", "sale.sold_out"]);
    for event in &events[..2] {
        let expected = json!({
            "saleId": fixture.sale, "orderId": order.id, "userId": "ann", "status": "CONFIRMED", "quantity": 2,
            "unitPriceMinor": 1999, "currency": "EUR",
        });
        assert_eq!(event["data"], expected);
    }
    assert_eq!(events[0]["createdAt"], "2025-11-13T02:13:20.123Z", "when the gate decided");
    let expected = json!({ "saleId": fixture.sale, "name": "Sale", "totalStock": 2, "totalSold": 2 });
    assert_eq!(events[2]["data"], expected);
    assert_eq!(fixture.payloads().await, events, "each row once");
    fixture.close().await;
}

#[tokio::test]
async fn a_batch_that_takes_several_steps_is_told_order_by_order_and_each_once() {
    let fixture = Fixture::with_webhooks(1_300).await;
    let orders: Vec<_> = (0..1_201).map(|number| one(&format!("buyer-{number}"))).collect();
    fixture.apply(1, &orders).await;
    for more in [true, true, true, false] {
        assert_eq!(fixture.ledger.collect_webhooks().await.unwrap(), more);
    }
    let told = fixture.payloads().await;
    let told = told.iter().map(|event| (event["type"].as_str().unwrap(), event["data"]["orderId"].as_str().unwrap()));
    let ids: Vec<_> = orders.iter().map(|order| order.id.to_string()).collect();
    let expected = ids.iter().flat_map(|id| [("order.reserved", id.as_str()), ("order.confirmed", id)]);
    assert!(told.eq(expected));
    fixture.close().await;
}

#[tokio::test]
async fn an_order_that_waits_for_its_payment_says_until_when() {
    let fixture = Fixture::with_webhooks(2).await;
    let mut batch = fixture.batch(1, &[one("ann")]);
    batch.terms.hold_seconds = 600;
    fixture.ledger.apply(&batch, None).await.unwrap();
    let [event] = fixture.payloads().await.try_into().unwrap();
    assert_eq!((&event["type"], &event["data"]["status"]), (&json!("order.reserved"), &json!("HELD")));
    let until: chrono::DateTime<chrono::Utc> = event["data"]["holdUntil"].as_str().unwrap().parse().unwrap();
    assert!(until.timestamp_millis() > RESERVED_AT, "{event}");
    let behind = "SELECT count(*) FROM audit a JOIN webhook_cursors c USING (sale_id) WHERE a.id > c.position";
    let behind: i64 = sqlx::query_scalar(behind).fetch_one(&mut fixture.connect().await).await.unwrap();
    assert_eq!(behind, 0, "there is nothing more to tell");
    fixture.close().await;
}

#[tokio::test]
async fn only_the_types_that_were_asked_for_are_written() {
    let fixture = Fixture::with_stock(2).await;
    fixture.ledger.subscribe_webhooks(Some(&["sale.sold_out".to_owned()])).await.unwrap();
    fixture.apply(1, &[one("ann"), one("bob")]).await;
    assert_eq!(fixture.types().await, ["sale.sold_out"]);
    fixture.close().await;
}

#[tokio::test]
async fn what_happened_while_they_were_off_is_never_told() {
    let fixture = Fixture::with_stock(10).await;
    fixture.apply(1, &[one("before")]).await;
    assert_eq!(fixture.types().await, [""; 0], "off is how a database begins");

    fixture.ledger.subscribe_webhooks(Some(&[])).await.unwrap();
    fixture.apply(1, &[one("on")]).await;
    // Started anew, with the same settings: nothing is lost in between.
    fixture.ledger.subscribe_webhooks(Some(&[])).await.unwrap();
    assert_eq!(fixture.types().await.len(), 2);

    fixture.ledger.subscribe_webhooks(None).await.unwrap();
    fixture.apply(1, &[one("off")]).await;
    fixture.collect().await;
    fixture.ledger.subscribe_webhooks(Some(&[])).await.unwrap();
    fixture.apply(1, &[one("on again")]).await;
    let users: Vec<Value> = fixture.payloads().await.iter().map(|event| event["data"]["userId"].clone()).collect();
    assert_eq!(users, ["on", "on", "on again", "on again"]);
    fixture.close().await;
}

/// Applies a reservation in a transaction that is left open: its rows have their ids and nobody sees them.
async fn apply_uncommitted<'c>(
    fixture: &Fixture,
    connection: &'c mut PgConnection,
    user: &str,
) -> sqlx::Transaction<'c, sqlx::Postgres> {
    let mut transaction = connection.begin().await.unwrap();
    sqlx::query(
        "SELECT apply_batch($1, 1, NULL, 1999, 'EUR', 0, ARRAY[gen_random_uuid()], ARRAY[$2], ARRAY[1], ARRAY[$3])",
    )
    .bind(fixture.sale.0)
    .bind(user)
    .bind(RESERVED_AT)
    .execute(&mut *transaction)
    .await
    .unwrap();
    transaction
}

#[tokio::test]
async fn a_row_that_becomes_visible_late_is_not_missed_and_the_step_waits_for_nobody() {
    let fixture = Fixture::with_webhooks(10).await;
    let (mut first, mut looker) = (fixture.connect().await, fixture.connect().await);
    let slow = apply_uncommitted(&fixture, &mut first, "slow").await;

    // Another writer, who would draw a higher id and commit before: it has to wait.
    let fast = [one("fast")];
    let fast = fixture.apply(1, &fast);
    let meanwhile = async {
        fixture.until_someone_waits(&mut looker).await;
        let step = tokio::time::timeout(Duration::from_secs(2), fixture.ledger.collect_webhooks()).await;
        assert!(!step.expect("it waits for no writer").unwrap(), "nothing is visible yet");
        slow.commit().await.unwrap();
    };
    tokio::join!(fast, meanwhile);
    let users: Vec<Value> = fixture.payloads().await.iter().map(|event| event["data"]["userId"].clone()).collect();
    assert_eq!(users, ["slow", "slow", "fast", "fast"]);
    fixture.close().await;
}

#[tokio::test]
async fn no_sale_waits_for_a_step_that_is_under_way() {
    let fixture = Fixture::with_webhooks(10).await;
    fixture.apply(1, &[one("ann")]).await;
    let mut connection = fixture.connect().await;
    let mut step = connection.begin().await.unwrap();
    let passed: i32 = sqlx::query_scalar("SELECT collect_webhooks(1000, 16)").fetch_one(&mut *step).await.unwrap();
    assert_eq!(passed, 2);

    let bob = [one("bob")];
    let bought = tokio::time::timeout(Duration::from_secs(2), fixture.apply(1, &bob)).await;
    bought.expect("the sale goes on while the step holds its cursor");
    let other = tokio::time::timeout(Duration::from_secs(2), fixture.ledger.collect_webhooks()).await;
    assert!(!other.expect("nor does another keeper wait").unwrap());
    // The step is lost: another one takes its rows.
    step.rollback().await.unwrap();
    assert_eq!(fixture.types().await.len(), 4);
    fixture.close().await;
}

#[tokio::test]
async fn many_keepers_and_many_buyers_at_once_make_each_event_once() {
    let fixture = Fixture::with_webhooks(400).await;
    let sell = async {
        for n in 0..40 {
            let ten: Vec<_> = (0..10).map(|buyer| one(&format!("buyer-{n}-{buyer}"))).collect();
            fixture.apply(1, &ten).await;
        }
    };
    let keep = async || {
        for _ in 0..200 {
            fixture.ledger.collect_webhooks().await.unwrap();
        }
    };
    tokio::join!(sell, keep(), keep(), keep());
    let events = fixture.payloads().await;
    let told = |kind: &str| {
        let of_kind = events.iter().filter(|event| event["type"] == kind);
        of_kind.map(|event| event["data"]["orderId"].to_string()).collect::<std::collections::BTreeSet<_>>().len()
    };
    assert_eq!((told("order.reserved"), told("order.confirmed"), told("sale.sold_out")), (400, 400, 1));
    assert_eq!(events.len(), 801);
    fixture.close().await;
}

#[tokio::test]
async fn a_reset_forgets_the_orders_and_tells_of_them_all_the_same() {
    let fixture = Fixture::with_webhooks(2).await;
    fixture.apply(1, &[one("ann"), one("bob")]).await;
    let (epoch, token) = fixture.drain().await;
    fixture.ledger.reset(fixture.sale, epoch, token, "operator").await.unwrap().unwrap();
    fixture.open(epoch, token).await;

    let events = fixture.payloads().await;
    let types: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    let told =
        ["order.reserved", "order.confirmed", "order.reserved", "order.confirmed", "sale.sold_out", "sale.reset"];
    assert_eq!(types, told);
    assert_eq!(events[0]["data"]["quantity"], 1, "written before the order was deleted: {}", events[0]);
    assert_eq!(events[5]["data"]["actor"], "operator");
    fixture.close().await;
}

#[tokio::test]
async fn a_promise_that_was_given_up_is_cancelled_and_one_that_was_refused_is_never_told() {
    let fixture = Fixture::with_webhooks(1).await;
    let (dead, refused) = (one("dead"), one("refused"));
    let letter = DeadLetter::of(&fixture.batch(1, std::slice::from_ref(&dead)), &dead, "cursed".to_owned());
    fixture.ledger.bury(&letter).await.unwrap();
    let buried = fixture.ledger.dead_letter_of(dead.id).await.unwrap().unwrap();
    fixture.ledger.discard(buried.id, "operator").await.unwrap();
    fixture.apply(1, &[one("ann"), refused]).await;

    let events = fixture.payloads().await;
    let told: Vec<_> = events.iter().map(|event| (&event["type"], &event["data"]["userId"])).collect();
    let expected = [
        (json!("order.cancelled"), json!("dead")),
        (json!("order.reserved"), json!("ann")),
        (json!("order.confirmed"), json!("ann")),
        (json!("sale.sold_out"), Value::Null),
    ];
    assert_eq!(told, expected.iter().map(|(kind, user)| (kind, user)).collect::<Vec<_>>());
    assert_eq!(events[0]["data"]["status"], "CANCELLED");
    fixture.close().await;
}

#[tokio::test]
async fn an_event_is_one_keepers_at_a_time_and_keeps_its_id_and_its_bytes() {
    let fixture = Fixture::with_webhooks(5).await;
    fixture.apply(1, &[one("ann")]).await;
    fixture.collect().await;
    let first = fixture.lease().await;
    assert_eq!(first.len(), 2);
    assert_eq!(fixture.lease().await, [], "leased");

    let (sent, lost) = (&first[0], &first[1]);
    fixture.ledger.settle_webhooks(&[failed(sent.id, Some(Duration::ZERO))]).await.unwrap();
    let again = fixture.lease().await;
    assert_eq!(again, [LeasedWebhook { attempts: 2, ..sent.clone() }]);
    // The other keeper died: its lease passes.
    let passed = sqlx::query("UPDATE webhook_events SET due_at = clock_timestamp() WHERE id = $1").bind(lost.id);
    passed.execute(&mut fixture.connect().await).await.unwrap();
    assert_eq!(fixture.lease().await, [LeasedWebhook { attempts: 2, ..lost.clone() }]);
    fixture.close().await;
}

#[tokio::test]
async fn a_success_counts_whenever_it_comes_and_a_failure_only_before_it() {
    let fixture = Fixture::with_webhooks(5).await;
    fixture.apply(1, &[one("ann")]).await;
    fixture.collect().await;
    let [a, b] = fixture.lease().await.try_into().unwrap();
    let state = async |id| {
        let event = fixture.ledger.webhook(id).await.unwrap().unwrap();
        (event.state, event.response_status, event.last_error)
    };
    let error = Some("500 Internal Server Error".to_owned());
    let settle = async |outcome| fixture.ledger.settle_webhooks(&[outcome]).await.unwrap();
    settle(failed(a.id, Some(LEASE))).await;
    assert_eq!(state(a.id).await, (WebhookState::Pending, Some(500), error.clone()));
    settle(failed(a.id, None)).await;
    assert_eq!(state(a.id).await, (WebhookState::Failed, Some(500), error));
    settle(delivered(a.id)).await;
    assert_eq!(state(a.id).await, (WebhookState::Delivered, Some(204), None));
    settle(failed(a.id, Some(Duration::ZERO))).await;
    assert_eq!(state(a.id).await, (WebhookState::Delivered, Some(204), None));

    // What was delivered is deleted in time, what was not stays whatever its age.
    settle(failed(b.id, None)).await;
    let age = "UPDATE webhook_events SET delivered_at = delivered_at - interval '3 days',
                                         created_at = created_at - interval '3 days'";
    sqlx::query(age).execute(&mut fixture.connect().await).await.unwrap();
    assert!(!fixture.ledger.forget_webhooks(4).await.unwrap());
    assert!(fixture.ledger.forget_webhooks(2).await.unwrap());
    assert!(!fixture.ledger.forget_webhooks(2).await.unwrap());
    assert_eq!(fixture.ledger.webhook(a.id).await.unwrap(), None);
    assert_eq!(state(b.id).await.0, WebhookState::Failed);

    assert!(fixture.ledger.redeliver_webhook(b.id, "operator").await.unwrap());
    assert!(!fixture.ledger.redeliver_webhook(a.id, "operator").await.unwrap());
    assert_eq!(fixture.lease().await, [LeasedWebhook { attempts: 1, ..b }]);
    fixture.collect().await;
    assert_eq!(fixture.lease().await, [], "that it was asked for is no event itself");
    fixture.close().await;
}
