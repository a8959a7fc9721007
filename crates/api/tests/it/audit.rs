//! The audit trail: who did what to a sale, in order.

use domain::SaleId;
use serde_json::{Value, json};
use sqlx::Row;
use testkit::Stack;

use crate::fixture::Shop;

/// One moment of the trail: event, order, user, actor, detail.
#[derive(Debug)]
struct Entry {
    event: String,
    order: Option<uuid::Uuid>,
    user: Option<String>,
    actor: Option<String>,
    detail: Option<Value>,
}

async fn trail(stack: &Stack, sale: SaleId) -> Vec<Entry> {
    let mut connection = stack.database.connect().await;
    let rows = sqlx::query("SELECT event, order_id, user_id, actor, detail FROM trail WHERE sale_id = $1 ORDER BY id")
        .bind(sale.0)
        .fetch_all(&mut connection)
        .await
        .unwrap();
    let entry = |row: &sqlx::postgres::PgRow| Entry {
        event: row.get("event"),
        order: row.get("order_id"),
        user: row.get("user_id"),
        actor: row.get("actor"),
        detail: row.get("detail"),
    };
    rows.iter().map(entry).collect()
}

fn events(trail: &[Entry]) -> Vec<&str> {
    trail.iter().map(|entry| entry.event.as_str()).collect()
}

#[tokio::test]
async fn the_trail_has_a_row_for_each_step_of_a_sale_and_of_each_order() {
    let shop = Shop::with_stock(2).await;
    let persister = shop.stack.persister();
    let mut promised = Vec::new();
    for user in ["ann", "bob"] {
        promised.push((user.to_owned(), shop.buy(user).await));
        shop.persisted(user).await;
    }
    assert_eq!(shop.click("cid").await.outcome(), "SOLD_OUT");
    shop.check_books(&promised).await;

    let before = trail(&shop.stack, shop.sale).await;
    let expected = ["CREATED", "RECONCILED", "RESERVED", "CONFIRMED", "RESERVED", "CONFIRMED", "SOLD_OUT"];
    assert_eq!(events(&before), expected, "and no row for a refusal");
    assert_eq!(before[0].actor.as_deref(), Some("a test"));
    for (entries, (user, order)) in before[2..6].chunks(2).zip(&promised) {
        for entry in entries {
            assert_eq!(entry.user.as_ref(), Some(user), "{entry:?}");
            assert_eq!(entry.order.map(|id| id.to_string()).as_ref(), Some(order), "{entry:?}");
        }
    }
    let report = before[1].detail.as_ref().unwrap();
    assert_eq!((&report["reason"], &report["stock"], &report["epoch"]), (&json!("never_opened"), &json!(2), &json!(1)));

    assert_eq!(shop.client().reset(shop.sale, false).await.status, 200);
    let after = trail(&shop.stack, shop.sale).await;
    assert_eq!(events(&after), ["RESET", "RECONCILED"]);
    assert_eq!(after[0].actor.as_deref(), Some("operator"));
    assert_eq!(after[1].detail.as_ref().unwrap()["reason"], "reset");
    shop.close([persister]).await;
}

#[tokio::test]
async fn an_order_that_is_still_to_be_paid_is_reserved_and_not_yet_confirmed() {
    let mut sale = testkit::new_sale(1);
    sale.terms.hold_seconds = 600;
    let shop = Shop::with(&sale).await;
    let persister = shop.stack.persister();
    let order = shop.buy("ann").await;
    shop.check_books(&[("ann".to_owned(), order)]).await;
    assert_eq!(events(&trail(&shop.stack, shop.sale).await), ["CREATED", "RECONCILED", "RESERVED", "SOLD_OUT"]);
    shop.close([persister]).await;
}
