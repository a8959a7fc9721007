//! Orders: read while on their way and after, listed, cancelled, and only by whom they belong to.

use domain::SaleId;
use reqwest::Method;
use serde_json::{Value, json};
use testkit::{ADMIN_TOKEN, Issuer, TOKEN_SECRET, until};

use crate::fixture::{SOON, Shop, assert_problem};
use crate::identity::{JWT, SECRET};
use crate::till::{PRICE, Till, events, held_sale};

/// An id that no order has.
const NO_ORDER: &str = "01890000-0000-7000-8000-000000000000";

#[tokio::test]
async fn an_order_on_its_way_reads_pending_and_then_held_with_its_time_to_pay() {
    let shop = Shop::with(&held_sale(5, PRICE, 600)).await;
    let order = shop.buy("ann").await;
    let pending = shop.client().order(&order).await;
    assert_eq!(pending.body, json!({ "orderId": order, "saleId": shop.sale, "status": "PENDING" }));
    assert_eq!((pending.status.as_u16(), &pending.headers["retry-after"]), (200, &"1".parse().unwrap()));
    for early in [shop.client().pay(&order).await, shop.client().cancel(&order).await] {
        assert_problem(&early, 409, "ORDER_PENDING");
        assert_eq!(early.headers["retry-after"], "1");
    }
    let persister = shop.stack.persister();
    let held = async || {
        let answer = shop.client().order(&order).await;
        (answer.outcome() != "PENDING").then_some(answer)
    };
    let held = until("the order is written", SOON, held).await;
    assert_eq!(held.outcome(), "HELD", "{held:?}");
    assert_eq!(events(&held), ["RESERVED", "HELD"]);
    let written = &held.body;
    assert_eq!(
        (&written["userId"], &written["amountMinor"], &written["currency"]),
        (&json!("ann"), &json!(PRICE), &json!("EUR"))
    );
    assert_eq!(written["payment"], Value::Null);
    assert!(written["expiresAt"].as_str().unwrap() > written["createdAt"].as_str().unwrap(), "{written}");
    assert!(!held.headers.contains_key("retry-after"));
    shop.check_books(&[("ann".to_owned(), order)]).await;
    shop.close([persister]).await;
}

#[tokio::test]
async fn ids_that_no_order_has_are_not_found_and_other_texts_are_no_ids() {
    let shop = Shop::with_stock(1).await;
    let operators = |path: &str| {
        let request = shop.client().request(Method::POST, &format!("/api/v1/admin{path}")).bearer_auth(ADMIN_TOKEN);
        request.json(&json!({ "restock": true, "reason": "a test" }))
    };
    for (id, status, code) in [
        (NO_ORDER, 404, "ORDER_NOT_FOUND"),
        ("00000000-0000-8000-8000-000000000000", 404, "ORDER_NOT_FOUND"),
        ("7", 400, "INVALID_FIELD"),
        ("0189000000007000800000000000000000", 400, "INVALID_FIELD"),
    ] {
        assert_problem(&shop.client().order(id).await, status, code);
        assert_problem(&shop.client().pay(id).await, status, code);
        assert_problem(&shop.client().cancel(id).await, status, code);
        assert_problem(&shop.client().send(operators(&format!("/orders/{id}/cancel"))).await, status, code);
    }
    shop.check_books(&[]).await;
    shop.close([]).await;
}

#[tokio::test]
async fn a_buyer_finds_their_orders_of_all_sales_page_by_page() {
    let shop = Shop::with_stock(5).await;
    let mut sales: Vec<SaleId> = vec![shop.sale];
    for _ in 0..2 {
        sales.push(shop.stack.create_sale(5).await);
    }
    shop.stack.reconcile().await;
    let persister = shop.stack.persister();
    let mut bought = Vec::new();
    for sale in &sales {
        // The API hears of a new gate with its next look at the sales.
        let buy = async || shop.client().purchase(*sale, "ann").await.order_id().map(str::to_owned);
        bought.push(until("the sale sells", SOON, buy).await);
        shop.client().purchase(*sale, "bob").await;
    }
    let list = async |query: &str| shop.client().get(&format!("/api/v1/orders?{query}")).await;
    let all = async || {
        let page = list("userId=ann").await;
        (page.body["orders"].as_array().unwrap().len() == 3).then_some(page)
    };
    let all = until("all are written", SOON, all).await;
    assert_eq!(all.body["nextCursor"], Value::Null);
    let mut listed = Vec::new();
    let mut query = "userId=ann&limit=2".to_owned();
    for more in [true, false] {
        let page = list(&query).await;
        listed.extend(
            page.body["orders"].as_array().unwrap().iter().map(|row| row["orderId"].as_str().unwrap().to_owned()),
        );
        assert_eq!(page.body["nextCursor"].is_string(), more, "{page:?}");
        query = format!("userId=ann&limit=2&cursor={}", page.body["nextCursor"].as_str().unwrap_or_default());
    }
    listed.sort();
    bought.sort();
    assert_eq!(listed, bought);
    let row = &all.body["orders"][0];
    assert_eq!((&row["status"], &row["saleName"]), (&json!("CONFIRMED"), &json!("A sale of a test")));
    assert_eq!(list("userId=nobody").await.body, json!({ "orders": [], "nextCursor": null }));
    for query in ["", "userId=", "userId=ann&limit=0", "userId=ann&cursor=x", "userId=ann&userid=bob"] {
        assert_problem(&list(query).await, 400, "INVALID_FIELD");
    }
    for sale in sales {
        shop.stack.settled(shop.client(), sale).await;
    }
    shop.close([persister]).await;
}

#[tokio::test]
async fn what_a_buyer_cancels_is_on_sale_at_once() {
    let till = Till::without_keeper(&held_sale(1, PRICE, 600)).await;
    let order = till.hold("ann").await;
    assert_eq!(till.shop.click("bob").await.outcome(), "SOLD_OUT");
    let cancelled = till.client().cancel(&order).await;
    assert_eq!((cancelled.status.as_u16(), cancelled.outcome()), (200, "CANCELLED"), "{cancelled:?}");
    let bobs = till.shop.buy("bob").await;
    assert_eq!(till.client().cancel(&order).await.outcome(), "CANCELLED", "once more changes nothing");
    let refused = till.client().pay(&order).await;
    assert_problem(&refused, 409, "ORDER_STATE_FORBIDS");
    assert!(refused.body["detail"].as_str().unwrap().contains("CANCELLED"), "{refused:?}");
    assert_eq!(till.shop.click("ann").await.outcome(), "ALREADY_PURCHASED", "one order for a buyer, for ever");
    assert_eq!(events(&till.client().order(&order).await), ["RESERVED", "HELD", "CANCELLED"]);
    till.reaches(&bobs, "HELD").await;
    assert_eq!(till.books().await["sold"], 1);
    till.close().await;
}

#[tokio::test]
async fn a_payment_that_was_begun_is_cancelled_with_its_order_and_cannot_be_made_any_more() {
    let till = Till::open(1).await;
    let order = till.hold("ann").await;
    let payment = till.begin(&order).await;
    assert_eq!(till.client().cancel(&order).await.outcome(), "CANCELLED");
    till.buys_within_a_second("bob").await;
    till.stripe_has(&payment, "cancelled", |intent| intent.status == "canceled").await;
    till.stripe.pay(&payment);
    till.deliver().await;
    assert_eq!(till.client().order(&order).await.outcome(), "CANCELLED");
    assert_eq!(till.books().await["sold"], 1);
    till.close().await;
}

#[tokio::test]
async fn an_operator_cancels_a_paid_order_and_the_money_goes_back_with_the_units_or_without() {
    let till = Till::open(3).await;
    let ((kept, kept_payment), (restocked, restocked_payment)) = (till.sell("ann").await, till.sell("bob").await);
    assert_problem(&till.client().cancel(&kept).await, 409, "ORDER_STATE_FORBIDS");
    for (order, payment, restock) in [(&kept, &kept_payment, false), (&restocked, &restocked_payment, true)] {
        let answer = till.client().cancel_as_operator(order, restock).await;
        assert_eq!((answer.status.as_u16(), answer.outcome()), (200, "CANCELLED"), "{answer:?}");
        till.stripe_has(payment, "given back", |intent| intent.refunded).await;
        let refunded = async || events(&till.client().order(order).await).contains(&"REFUNDED").then_some(());
        until("the refund is told", SOON, refunded).await;
    }
    let books = till.books().await;
    assert_eq!((&books["total"], &books["sold"], &books["available"]), (&json!(2), &json!(0), &json!(2)), "{books}");
    let order = till.client().order(&kept).await;
    assert_eq!(order.body["payment"]["state"], "released");
    assert!(!order.body.to_string().contains("a test"), "the operator's reason is the operator's");
    till.close().await;
}

#[tokio::test]
async fn an_operator_says_what_becomes_of_the_units_and_why() {
    let till = Till::without_keeper(&held_sale(1, PRICE, 600)).await;
    let order = till.hold("ann").await;
    for (body, code, word) in [
        (json!({}), "INVALID_FIELD", "restock is missing"),
        (json!({ "restock": true }), "INVALID_FIELD", "reason is missing"),
        (json!({ "restock": true, "reason": "  " }), "INVALID_FIELD", "reason must have 1 to 500"),
        (json!({ "restock": true, "reason": "x".repeat(501) }), "INVALID_FIELD", "reason must have 1 to 500"),
        (json!({ "restock": "yes", "reason": "x" }), "INVALID_BODY", "invalid type"),
        (json!({ "restock": true, "reason": "x", "units": 1 }), "INVALID_BODY", "unknown field"),
    ] {
        let path = format!("/api/v1/admin/orders/{order}/cancel");
        let request = till.client().request(Method::POST, &path).bearer_auth(ADMIN_TOKEN).json(&body);
        let answer = till.client().send(request).await;
        assert_problem(&answer, 400, code);
        assert!(answer.body["detail"].as_str().unwrap().contains(word), "{answer:?}");
    }
    assert_eq!(till.client().order(&order).await.outcome(), "HELD");
    assert_eq!(till.books().await["sold"], 1);
    till.close().await;
}

#[tokio::test]
async fn with_tokens_an_order_of_somebody_else_does_not_exist() {
    let shop = Shop::with(&held_sale(5, PRICE, 600)).await;
    let api = shop.stack.api_with(&[JWT, SECRET]).await;
    let issuer = Issuer::hs256(TOKEN_SECRET.as_bytes());
    let ask = async |method: Method, path: &str, user: &str| {
        let request = api.client.request(method, path).bearer_auth(issuer.token(user));
        api.client.send(request).await
    };
    let order = shop.buy("ann").await;
    let path = format!("/api/v1/orders/{order}");
    assert_eq!(ask(Method::GET, &path, "ann").await.outcome(), "PENDING");
    assert_problem(&ask(Method::GET, &path, "bob").await, 404, "ORDER_NOT_FOUND");
    assert_problem(&api.client.get(&path).await, 401, "TOKEN_NEEDED");
    let persister = shop.stack.persister();
    let held = async || (ask(Method::GET, &path, "ann").await.outcome() == "HELD").then_some(());
    until("the order is written", SOON, held).await;
    for (method, part) in [(Method::GET, ""), (Method::POST, "/pay"), (Method::POST, "/cancel")] {
        assert_problem(&ask(method, &format!("{path}{part}"), "bob").await, 404, "ORDER_NOT_FOUND");
    }
    assert_eq!(ask(Method::GET, "/api/v1/orders", "bob").await.body["orders"], json!([]));
    assert_eq!(ask(Method::GET, "/api/v1/orders", "ann").await.body["orders"][0]["orderId"], order);
    assert_problem(&ask(Method::GET, "/api/v1/orders?userId=ann", "bob").await, 403, "FORBIDDEN");
    assert_eq!(ask(Method::POST, &format!("{path}/cancel"), "ann").await.outcome(), "CANCELLED");
    shop.stack.settled(shop.client(), shop.sale).await;
    drop(api);
    shop.close([persister]).await;
}
