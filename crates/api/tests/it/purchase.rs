//! `POST /api/v1/sale/purchase`: every outcome, to the letter.

use domain::Quantity;
use futures_util::future::join_all;
use ledger::NewSale;
use reqwest::Method;
use serde_json::json;
use testkit::{new_sale, until};
use uuid::Uuid;

use crate::fixture::{PURCHASE, SOON, Shop, assert_problem};

/// A sale of one unit whose window is moved by this many seconds from the one that is open now.
fn sale_moved_by(seconds: i64) -> NewSale {
    let sale = new_sale(1);
    let by = chrono::TimeDelta::seconds(seconds);
    NewSale { starts_at: sale.starts_at + by, ends_at: sale.ends_at + by, ..sale }
}

#[tokio::test]
async fn a_buyer_is_told_success_a_second_click_already_purchased_and_the_next_buyer_sold_out() {
    let shop = Shop::with_stock(1).await;
    let won = shop.click("ann").await;
    assert_eq!(won.status, 200);
    assert_eq!(won.headers["content-type"], "application/json");
    let order: Uuid = won.order_id().unwrap().parse().unwrap();
    assert_eq!(order.get_version_num(), 7);
    let expected = json!({
        "success": true, "status": "SUCCESS", "message": "Purchase reserved successfully",
        "orderId": order, "remainingStock": 0,
    });
    assert_eq!(won.body, expected);

    let again = shop.click("ann").await;
    assert_eq!(again.status, 200);
    let expected = json!({
        "success": false, "status": "ALREADY_PURCHASED", "message": "You have already purchased from this sale",
        "orderId": order,
    });
    assert_eq!(again.body, expected);

    let late = shop.click("bob").await;
    assert_eq!(late.status, 200);
    let expected =
        json!({ "success": false, "status": "SOLD_OUT", "message": "Sale is sold out", "remainingStock": 0 });
    assert_eq!(late.body, expected);

    let persister = shop.stack.persister();
    shop.check_books(&[("ann".to_owned(), order.to_string())]).await;
    assert_eq!(shop.click("ann").await.outcome(), "ALREADY_PURCHASED", "also once the order is written");
    shop.close([persister]).await;
}

#[tokio::test]
async fn a_sale_that_has_not_started_or_is_over_is_not_active() {
    let shop = Shop::with(&sale_moved_by(600)).await;
    let (past, ended) = (sale_moved_by(-7_200), sale_moved_by(-7_200));
    shop.stack.create(&ended).await;
    shop.stack.reconcile().await;
    shop.stack.create(&past).await;
    // Opens the one and ends the other.
    shop.stack.reconcile().await;
    for (sale, state) in [(shop.sale, "open"), (past.id, "open"), (ended.id, "ended")] {
        assert_eq!(shop.stack.ledger.sale(sale).await.unwrap().unwrap().state.as_str(), state);
        let refused = until("this API has seen the sale open", SOON, async || {
            let answer = shop.client().purchase(sale, "ann").await;
            (answer.outcome() != "TRY_AGAIN").then_some(answer)
        })
        .await;
        assert_problem(&refused, 400, "NOT_ACTIVE");
        assert_eq!(refused.body["statusCode"], 400);
        assert_eq!(refused.body["message"], "Sale is not currently active");
        assert_eq!(refused.body["error"], "Bad Request");
        assert_eq!(shop.client().purchase_of(sale, "ann").await.outcome(), "NOT_PURCHASED");
    }
    shop.close([]).await;
}

#[tokio::test]
async fn a_buyer_gets_as_many_units_as_the_sale_allows_and_has() {
    let limit = Quantity::try_from(3).unwrap();
    let shop = Shop::with(&NewSale { per_user_limit: limit, ..new_sale(5) }).await;
    let won = shop.click_for("ann", 3).await;
    assert_eq!((won.outcome(), &won.body["remainingStock"]), ("SUCCESS", &json!(2)));

    let too_few = shop.click_for("bob", 3).await;
    assert_eq!(too_few.status, 200);
    assert_eq!((too_few.outcome(), &too_few.body["remainingStock"]), ("SOLD_OUT", &json!(2)));
    let fewer = shop.click_for("bob", 2).await;
    assert_eq!((fewer.outcome(), &fewer.body["remainingStock"]), ("SUCCESS", &json!(0)));

    let beyond = shop.click_for("cid", 4).await;
    assert_problem(&beyond, 400, "QUANTITY_NOT_ALLOWED");
    assert_eq!(beyond.body["message"], "quantity must be at most 3 in this sale");

    let persister = shop.stack.persister();
    let books = shop.stack.settled(shop.client(), shop.sale).await;
    assert_eq!((&books.body["books"]["sold"], &books.body["books"]["total"]), (&json!(5), &json!(5)));
    let promised = [("ann", &won), ("bob", &fewer)];
    let promised = promised.map(|(user, answer)| (user.to_owned(), answer.order_id().unwrap().to_owned()));
    assert!(shop.stack.lost(shop.sale, &promised).await.is_empty());
    shop.close([persister]).await;
}

#[tokio::test]
async fn units_and_not_orders_reach_the_stock_exactly_however_quantities_are_mixed() {
    let limit = Quantity::try_from(5).unwrap();
    let shop = Shop::with(&NewSale { per_user_limit: limit, ..new_sale(103) }).await;
    let other = shop.stack.api().await;
    let clients = [shop.client(), &other.client];
    let buy = async |n: usize, units: usize| {
        let (user, client) = (format!("user-{n}"), clients[n % 2]);
        let body = json!({ "saleId": shop.sale, "userId": user, "quantity": units });
        (user, units, client.send(client.request(Method::POST, PURCHASE).json(&body)).await)
    };
    // Fives leave three, of twos and fours one two fits in, and then a one.
    let mut answers = join_all((0..30).map(|n| buy(n, 5))).await;
    answers.extend(join_all((30..50).map(|n| buy(n, n % 2 * 2 + 2))).await);
    answers.extend(join_all((50..60).map(|n| buy(n, 1))).await);
    let won = answers.iter().filter(|(_, _, answer)| answer.outcome() == "SUCCESS");
    let (mut units, mut promised) = (0, Vec::new());
    for (user, quantity, answer) in won {
        units += quantity;
        promised.push((user.clone(), answer.order_id().unwrap().to_owned()));
    }
    assert_eq!((units, promised.len()), (103, 20 + 1 + 1), "units and orders");
    for (user, quantity, answer) in answers.iter().filter(|(_, _, answer)| answer.outcome() != "SUCCESS") {
        assert_eq!(answer.outcome(), "SOLD_OUT", "{user}: {answer:?}");
        assert!(answer.body["remainingStock"].as_u64().unwrap() < *quantity as u64, "{user}: {answer:?}");
    }
    let workers = [shop.stack.persister(), shop.stack.keeper()];
    let books = shop.stack.settled(shop.client(), shop.sale).await;
    assert_eq!((&books.body["books"]["sold"], &books.body["books"]["available"]), (&json!(103), &json!(0)));
    assert!(shop.stack.lost(shop.sale, &promised).await.is_empty());
    drop(other);
    shop.close(workers).await;
}

#[tokio::test]
async fn a_quantity_that_is_no_number_of_units_is_a_bad_request() {
    let shop = Shop::with_stock(1).await;
    for (quantity, code) in [
        (json!(0), "INVALID_FIELD"),
        (json!(10_001), "INVALID_FIELD"),
        (json!(-1), "INVALID_BODY"),
        (json!(1.5), "INVALID_BODY"),
        (json!("1"), "INVALID_BODY"),
        (json!(4_294_967_296_u64), "INVALID_BODY"),
        (json!([1]), "INVALID_BODY"),
        (json!(true), "INVALID_BODY"),
    ] {
        assert_problem(&shop.click_for("ann", quantity).await, 400, code);
    }
    assert_problem(&shop.click_for("ann", 2).await, 400, "QUANTITY_NOT_ALLOWED");
    assert_eq!(shop.client().verify(shop.sale).await.body["books"]["available"], 1);
    shop.close([]).await;
}

#[tokio::test]
async fn a_buyer_may_buy_once_from_each_sale() {
    let shop = Shop::with_stock(1).await;
    let other = shop.stack.create_sale(1).await;
    shop.stack.reconcile().await;
    let first = shop.buy("ann").await;
    let second = until("the new gate is known", SOON, async || {
        let answer = shop.client().purchase(other, "ann").await;
        (answer.outcome() == "SUCCESS").then(|| answer.order_id().unwrap().to_owned())
    });
    assert_ne!(first, second.await);
    shop.close([]).await;
}

#[tokio::test]
async fn a_sale_that_no_reconciler_has_opened_asks_buyers_to_try_again() {
    let shop = Shop::with_stock(1).await;
    let closed = shop.stack.create_sale(1).await;
    let answer = shop.client().purchase(closed, "ann").await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.headers["retry-after"], "1");
    let expected = json!({ "success": false, "status": "TRY_AGAIN", "message": "Please try again in a moment" });
    assert_eq!(answer.body, expected, "nothing was decided, so no order is named");

    shop.stack.reconcile().await;
    let answer = until("the gate is open", SOON, async || {
        let answer = shop.client().purchase(closed, "ann").await;
        (answer.outcome() != "TRY_AGAIN").then_some(answer)
    });
    assert_eq!(answer.await.outcome(), "SUCCESS");
    shop.close([]).await;
}

#[tokio::test]
async fn a_purchase_from_a_sale_that_does_not_exist_is_not_found() {
    let shop = Shop::with_stock(1).await;
    let unknown = Uuid::new_v4();
    let answer = shop.client().purchase(domain::SaleId(unknown), "ann").await;
    assert_problem(&answer, 404, "SALE_NOT_FOUND");
    assert_eq!(answer.body["message"], format!("there is no sale {unknown}"));
    shop.close([]).await;
}
