//! `GET /api/v1/admin/sales/{saleId}/verify`: the books of a sale, and each invariant red where it is broken.

use domain::SaleId;
use serde_json::json;
use sqlx::PgConnection;
use testkit::{Answer, until};
use uuid::Uuid;

use crate::fixture::{SOON, Shop, assert_problem};

const INVARIANTS: [&str; 8] = [
    "never_oversold",
    "sold_counter_is_sum_of_orders",
    "one_order_per_user",
    "no_reservation_refused",
    "every_payment_fits_its_order",
    "every_unit_is_somewhere",
    "the_gate_stands",
    "the_gate_knows_every_buyer",
];

/// The names of the invariants that do not hold.
fn broken(answer: &Answer) -> Vec<&str> {
    let invariants = answer.body["invariants"].as_array().unwrap().iter();
    invariants.filter(|each| each["ok"] == false).map(|each| each["name"].as_str().unwrap()).collect()
}

/// Breaks what no code of ours would.
async fn tamper(connection: &mut PgConnection, sql: &str, sale: SaleId) {
    let sql = sql.replace("$SALE", &format!("'{sale}'"));
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(connection).await.unwrap();
}

#[tokio::test]
async fn the_books_show_where_each_unit_is_before_and_after_the_orders_are_written() {
    let shop = Shop::with_stock(10).await;
    let mut promised = Vec::new();
    for user in ["ann", "bob", "cid"] {
        promised.push((user.to_owned(), shop.buy(user).await));
    }
    let answer = shop.client().verify(shop.sale).await;
    assert_eq!(answer.status, 200);
    let body = &answer.body;
    let books = json!({
        "total": 10, "sold": 0, "available": 7, "inFlight": 3, "adjustments": 0, "deadLetters": 0, "claimed": 0,
        "sum": 10,
    });
    assert_eq!(body["books"], books);
    assert_eq!((&body["ok"], &body["settled"]), (&json!(true), &json!(false)), "{body:#}");
    assert_eq!((&body["saleId"], &body["state"]), (&json!(shop.sale), &json!("open")));
    let names: Vec<&str> =
        body["invariants"].as_array().unwrap().iter().map(|each| each["name"].as_str().unwrap()).collect();
    assert_eq!(names, INVARIANTS);
    let sum = json!({ "name": "every_unit_is_somewhere", "expected": "10", "actual": "10", "ok": true });
    assert_eq!(body["invariants"][5], sum);

    let persister = shop.stack.persister();
    let settled = shop.check_books(&promised).await;
    let books = json!({
        "total": 10, "sold": 3, "available": 7, "inFlight": 0, "adjustments": 0, "deadLetters": 0, "claimed": 0,
        "sum": 10,
    });
    assert_eq!(settled.body["books"], books);
    shop.close([persister]).await;
}

/// What is done to a sale of two units with two orders, and the invariants that must show it.
const TAMPERINGS: [(&str, &[&str]); 7] = [
    (
        "DELETE FROM orders WHERE sale_id = $SALE AND user_id = 'ann'",
        &["sold_counter_is_sum_of_orders", "every_unit_is_somewhere", "the_gate_knows_every_buyer"],
    ),
    ("UPDATE sales SET sold = sold - 1 WHERE id = $SALE", &["sold_counter_is_sum_of_orders"]),
    ("UPDATE sales SET total_stock = 3 WHERE id = $SALE", &["every_unit_is_somewhere"]),
    ("UPDATE sales SET epoch = epoch + 1 WHERE id = $SALE", &["the_gate_stands", "the_gate_knows_every_buyer"]),
    (
        "UPDATE orders SET status = 'REFUSED' WHERE sale_id = $SALE AND user_id = 'ann'",
        &["sold_counter_is_sum_of_orders", "no_reservation_refused", "every_unit_is_somewhere"],
    ),
    (
        "ALTER TABLE sales DROP CONSTRAINT never_oversell; UPDATE sales SET total_stock = 1 WHERE id = $SALE",
        &["never_oversold", "every_unit_is_somewhere"],
    ),
    (
        "ALTER TABLE orders DROP CONSTRAINT one_order_per_user;
         UPDATE orders SET user_id = 'ann' WHERE sale_id = $SALE",
        &["one_order_per_user"],
    ),
];

#[tokio::test]
async fn each_invariant_turns_red_when_it_is_broken() {
    let shop = Shop::with_stock(2).await;
    let persister = shop.stack.persister();
    let mut sales = Vec::new();
    for _ in TAMPERINGS {
        sales.push(shop.stack.create_sale(2).await);
    }
    shop.stack.reconcile().await;
    for sale in &sales {
        for user in ["ann", "bob"] {
            until("the sale is open", SOON, async || {
                (shop.client().purchase(*sale, user).await.outcome() == "SUCCESS").then_some(())
            })
            .await;
        }
        assert!(broken(&shop.stack.settled(shop.client(), *sale).await).is_empty());
    }
    let mut connection = shop.stack.database.connect().await;
    for (sale, (sql, expected)) in sales.iter().zip(TAMPERINGS) {
        tamper(&mut connection, sql, *sale).await;
        let answer = shop.client().verify(*sale).await;
        assert_eq!(broken(&answer), expected, "{sql}: {:#}", answer.body);
        assert_eq!(answer.body["ok"], false);
    }
    assert_eq!(shop.client().verify(shop.sale).await.body["ok"], true, "the sale that nobody touched");
    shop.close([persister]).await;
}

#[tokio::test]
async fn the_books_of_a_sale_that_does_not_exist_are_not_found() {
    let shop = Shop::with_stock(1).await;
    let answer = shop.client().verify(SaleId(Uuid::new_v4())).await;
    assert_problem(&answer, 404, "SALE_NOT_FOUND");
    assert_problem(&shop.client().get_as_operator("/api/v1/admin/sales/7/verify").await, 400, "INVALID_FIELD");
    shop.close([]).await;
}
