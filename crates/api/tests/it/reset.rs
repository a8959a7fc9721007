//! `POST /api/v1/admin/reset`: a sale as if it had never sold anything.

use reqwest::Method;
use serde_json::json;
use testkit::ADMIN_TOKEN;
use uuid::Uuid;

use crate::fixture::{SOON, Shop, assert_problem};

/// How many rows these tables have of the shop's sale.
async fn rows(shop: &Shop, tables: &[&str]) -> Vec<i64> {
    let mut connection = shop.stack.database.connect().await;
    let mut rows = Vec::new();
    for table in tables {
        let count = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table} WHERE sale_id = $1"));
        rows.push(sqlx::query_scalar(count).bind(shop.sale.0).fetch_one(&mut connection).await.unwrap());
    }
    rows
}

#[tokio::test]
async fn a_reset_clears_orders_buyers_refusals_and_the_trail_and_gives_all_units_back() {
    let shop = Shop::with_stock(2).await;
    let persister = shop.stack.persister();
    for user in ["ann", "bob"] {
        shop.buy(user).await;
    }
    assert_eq!(shop.click("cid").await.outcome(), "SOLD_OUT");
    shop.stack.settled(shop.client(), shop.sale).await;
    testkit::until("the refusal is written", SOON, async || (rows(&shop, &["refusals"]).await == [1]).then_some(()))
        .await;
    // CREATED, RECONCILED, RESERVED and CONFIRMED twice, and SOLD_OUT.
    assert_eq!(rows(&shop, &["orders", "trail"]).await, [2, 7]);

    let answer = shop.client().reset(shop.sale, false).await;
    let expected = json!({ "success": true, "message": format!("Sale {} has been reset", shop.sale) });
    assert_eq!((answer.status.as_u16(), answer.body), (200, expected));

    // RESET and RECONCILED.
    assert_eq!(rows(&shop, &["orders", "refusals", "stock_adjustments", "trail"]).await, [0, 0, 0, 2]);
    let status = shop.client().status(shop.sale).await.body;
    assert_eq!((&status["remainingStock"], &status["totalSold"]), (&json!(2), &json!(0)), "known to this API at once");
    assert_eq!(shop.client().purchase_of(shop.sale, "ann").await.outcome(), "NOT_PURCHASED");
    let again = ("ann".to_owned(), shop.buy("ann").await);
    shop.check_books(&[again]).await;
    shop.close([persister]).await;
}

#[tokio::test]
async fn a_reset_while_reservations_are_on_their_way_is_refused_unless_it_is_forced_and_then_they_never_return() {
    let shop = Shop::with_stock(2).await;
    let first = shop.buy("ann").await;
    let busy = shop.client().reset(shop.sale, false).await;
    assert_problem(&busy, 409, "SALE_BUSY");
    assert_eq!(busy.headers["retry-after"], "1");
    for words in ["1 reservations are on their way", "\"force\": true"] {
        assert!(busy.body["message"].as_str().unwrap().contains(words), "{busy:?}");
    }
    assert_eq!(shop.click("ann").await.order_id(), Some(first.as_str()), "a refused reset changes nothing");

    assert_eq!(shop.client().reset(shop.sale, true).await.status, 200);
    assert_eq!(shop.client().purchase_of(shop.sale, "ann").await.outcome(), "NOT_PURCHASED");
    let second = shop.buy("ann").await;
    let persister = shop.stack.persister();
    assert_ne!(first, second);
    shop.check_books(&[("ann".to_owned(), second)]).await;
    shop.close([persister]).await;
}

#[tokio::test]
async fn a_reset_of_no_sale_or_with_a_senseless_body_is_a_problem() {
    let shop = Shop::with_stock(1).await;
    shop.buy("ann").await;
    let unknown = domain::SaleId(Uuid::new_v4());
    assert_problem(&shop.client().reset(unknown, false).await, 404, "SALE_NOT_FOUND");
    assert_problem(&shop.client().reset(unknown, true).await, 404, "SALE_NOT_FOUND");
    for (body, status, code) in [
        (String::new(), 400, "INVALID_BODY"),
        ("{}".to_owned(), 400, "INVALID_FIELD"),
        (json!({ "saleId": null }).to_string(), 400, "INVALID_FIELD"),
        (json!({ "saleId": "all" }).to_string(), 400, "INVALID_FIELD"),
        (json!({ "saleId": shop.sale, "force": "yes" }).to_string(), 400, "INVALID_BODY"),
        (json!({ "saleId": [shop.sale] }).to_string(), 400, "INVALID_BODY"),
        (" ".repeat(4_097), 413, "BODY_TOO_LARGE"),
    ] {
        let request = shop.client().request(Method::POST, "/api/v1/admin/reset").bearer_auth(ADMIN_TOKEN);
        assert_problem(&shop.client().send(request.body(body)).await, status, code);
    }
    assert_eq!(shop.click("ann").await.outcome(), "ALREADY_PURCHASED", "nothing was reset");
    shop.close([]).await;
}

#[tokio::test]
async fn a_reset_opens_a_sale_that_was_never_opened_and_leaves_others_alone() {
    let shop = Shop::with_stock(1).await;
    let order = shop.buy("ann").await;
    let closed = shop.stack.create_sale(3).await;
    assert_eq!(shop.client().reset(closed, false).await.status, 200);
    assert_eq!(shop.client().purchase(closed, "ann").await.outcome(), "SUCCESS");
    assert_eq!(shop.click("ann").await.order_id(), Some(order.as_str()));
    shop.close([]).await;
}

#[tokio::test]
async fn of_many_resets_at_once_one_works_and_the_others_say_that_it_does() {
    let shop = Shop::with_stock(5).await;
    let resets = futures_util::future::join_all((0..8).map(|_| shop.client().reset(shop.sale, false))).await;
    let done = resets.iter().filter(|answer| answer.status == 200).count();
    assert!(done >= 1, "{resets:?}");
    for answer in resets.iter().filter(|answer| answer.status != 200) {
        assert_problem(answer, 409, "RECONCILE_RUNNING");
    }
    let promised = ("ann".to_owned(), shop.buy("ann").await);
    let persister = shop.stack.persister();
    shop.check_books(&[promised]).await;
    shop.close([persister]).await;
}
