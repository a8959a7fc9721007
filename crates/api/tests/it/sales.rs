//! What buyers read: the sales, one sale, their own purchase.

use chrono::{DateTime, TimeDelta, Utc};
use ledger::NewSale;
use serde_json::{Value, json};
use testkit::{new_sale, until};

use crate::fixture::{SOON, Shop};

/// A sale as it is to be read when nothing was sold.
fn unsold(sale: &NewSale, active: bool) -> Value {
    let instant = |at: DateTime<Utc>| at.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
    json!({
        "saleId": sale.id, "name": sale.name, "remainingStock": sale.total_stock, "totalSold": 0,
        "totalStock": sale.total_stock, "saleActive": active, "status": if active { "ACTIVE" } else { "INACTIVE" },
        "startsAt": instant(sale.starts_at), "endsAt": instant(sale.ends_at), "perUserLimit": 1,
        "unitPriceMinor": 1_999, "currency": "EUR", "holdSeconds": 0, "description": null, "imageUrl": null,
        "paused": false, "over": sale.ends_at < new_sale(1).starts_at,
    })
}

/// An answer in the same form: without the time that it tells, which must be now, and with a fraction of a second only
/// where there is one, as both spellings of RFC 3339 are equal.
fn told(mut sale: Value) -> Value {
    let time = sale.as_object_mut().unwrap().remove("serverTime").expect("what time it is");
    let time: DateTime<Utc> = time.as_str().unwrap().parse().unwrap();
    let off_ms = boot::clock::now_ms().abs_diff(u64::try_from(time.timestamp_millis()).unwrap());
    assert!(off_ms < 5_000, "{time} is off by {off_ms} ms");
    normalised(sale)
}

fn normalised(mut sale: Value) -> Value {
    for field in ["startsAt", "endsAt"] {
        let text = sale[field].as_str().unwrap();
        assert!(text.ends_with('Z'), "{text} is not UTC");
        sale[field] = json!(text.parse::<DateTime<Utc>>().unwrap());
    }
    sale
}

#[tokio::test]
async fn sales_are_listed_by_their_start_and_are_active_within_their_window() {
    let named = |name: &str, starts_in: i64, ends_in: i64, stock| {
        let sale = new_sale(stock);
        let now = sale.starts_at + TimeDelta::seconds(60);
        let at = |seconds| now + TimeDelta::seconds(seconds);
        NewSale { name: name.to_owned(), starts_at: at(starts_in), ends_at: at(ends_in), ..sale }
    };
    let active = named("Now: 100 ü \"units\"", -60, 3_600, 100);
    let coming = named("Soon", 600, 4_200, 50);
    let past = named("Gone", -7_200, -3_600, 200);
    let shop = Shop::with(&coming).await;
    shop.stack.create(&past).await;
    shop.stack.create(&active).await;
    shop.stack.reconcile().await;

    let expected: Vec<Value> =
        [unsold(&past, false), unsold(&active, true), unsold(&coming, false)].into_iter().map(normalised).collect();
    let list = until("all three are listed and open", SOON, async || {
        let answer = shop.client().get("/api/v1/sales").await;
        assert_eq!(answer.status, 200);
        let list: Vec<Value> = answer.body.as_array().unwrap().iter().cloned().map(told).collect();
        (list.len() == 3 && list[1]["saleActive"] == true).then_some(list)
    });
    assert_eq!(list.await, expected);
    for (sale, expected) in [past, active, coming].iter().zip(expected) {
        let answer = shop.client().status(sale.id).await;
        assert_eq!((answer.status.as_u16(), told(answer.body)), (200, expected));
    }
    shop.close([]).await;
}

#[tokio::test]
async fn a_database_without_sales_gives_an_empty_list() {
    let stack = testkit::Stack::new().await;
    let api = stack.api().await;
    let answer = api.client.get("/api/v1/sales").await;
    assert_eq!((answer.status.as_u16(), answer.body), (200, json!([])));
    drop(api);
    stack.close().await;
}

#[tokio::test]
async fn stock_falls_with_the_click_and_sold_rises_with_the_order() {
    let shop = Shop::with_stock(3).await;
    shop.buy("ann").await;
    let status = shop.client().status(shop.sale).await.body;
    assert_eq!((&status["remainingStock"], &status["totalSold"]), (&json!(2), &json!(0)), "nothing is persisted yet");

    let persister = shop.stack.persister();
    let sold = until("the order is counted", SOON, async || {
        let status = shop.client().status(shop.sale).await.body;
        (status["totalSold"] == 1).then_some(status)
    });
    assert_eq!(sold.await["remainingStock"], 2);
    shop.close([persister]).await;
}

#[tokio::test]
async fn another_api_process_shows_the_stock_within_a_moment() {
    let shop = Shop::with_stock(3).await;
    let other = shop.stack.api().await;
    shop.buy("ann").await;
    until("the other process has seen it", SOON, async || {
        (other.client.status(shop.sale).await.body["remainingStock"] == 2).then_some(())
    })
    .await;
    drop(other);
    shop.close([]).await;
}

#[tokio::test]
async fn a_purchase_reads_pending_until_its_order_is_written_and_confirmed_from_then_on() {
    let shop = Shop::with_stock(2).await;
    let nothing = json!({ "purchased": false, "orderId": null, "status": "NOT_PURCHASED" });
    let read = shop.client().purchase_of(shop.sale, "ann").await;
    assert_eq!((read.status.as_u16(), read.body), (200, nothing.clone()));

    let order = shop.buy("ann").await;
    let read = shop.client().purchase_of(shop.sale, "ann").await;
    let pending = json!({ "purchased": true, "orderId": order, "status": "PENDING" });
    assert_eq!((read.status.as_u16(), read.body), (200, pending));

    let persister = shop.stack.persister();
    let read = shop.persisted("ann").await;
    let confirmed = json!({ "purchased": true, "orderId": order, "status": "CONFIRMED" });
    assert_eq!((read.status.as_u16(), read.body), (200, confirmed));
    assert_eq!(shop.client().purchase_of(shop.sale, "bob").await.body, nothing);
    shop.check_books(&[("ann".to_owned(), order)]).await;
    shop.close([persister]).await;
}

#[tokio::test]
async fn a_purchase_that_is_still_to_be_paid_reads_held() {
    let mut sale = new_sale(1);
    sale.terms.hold_seconds = 600;
    let shop = Shop::with(&sale).await;
    let persister = shop.stack.persister();
    let order = shop.buy("ann").await;
    let held = json!({ "purchased": true, "orderId": order, "status": "HELD" });
    assert_eq!(shop.persisted("ann").await.body, held);
    shop.check_books(&[("ann".to_owned(), order)]).await;
    shop.close([persister]).await;
}

#[tokio::test]
async fn a_user_id_in_a_path_is_percent_decoded_exactly_once() {
    let shop = Shop::with_stock(10).await;
    let encoded = [
        ("a b", "a%20b"),
        ("a/b", "a%2Fb"),
        ("50%", "50%25"),
        ("%41", "%2541"),
        ("a+b", "a+b"),
        ("ü?#", "%C3%BC%3F%23"),
    ];
    for (user, _) in encoded {
        shop.buy(user).await;
    }
    for (user, path) in encoded {
        assert_eq!(shop.client().purchase_of(shop.sale, path).await.outcome(), "PENDING", "{user}");
    }
    let persister = shop.stack.persister();
    shop.stack.settled(shop.client(), shop.sale).await;
    for (user, path) in encoded {
        assert_eq!(shop.client().purchase_of(shop.sale, path).await.outcome(), "CONFIRMED", "{user}");
    }
    for nobody in ["A", "%FF", "a%2520b"] {
        assert_eq!(shop.client().purchase_of(shop.sale, nobody).await.outcome(), "NOT_PURCHASED", "{nobody}");
    }
    shop.close([persister]).await;
}
