//! Statistics over HTTP: what was really sold and refused, asked of PostgreSQL now and then, however often it is read.

use std::cell::Cell;
use std::collections::HashSet;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::{new_sale, until};
use tokio::time::Instant;

use crate::fixture::{SOON, Shop, assert_problem, clicks, promised};

const STATS: &str = "/api/v1/admin/stats";

/// The statistics without what differs from call to call.
fn rows(body: &Value) -> Value {
    let sections = ["revenue", "revenueByDay", "topSales", "sellOuts", "refusals"];
    for section in sections.iter().chain(&["holds"]) {
        assert!(body[section]["queryMs"].is_u64(), "{section}: {body}");
    }
    sections.iter().map(|section| (*section, body[section]["rows"].clone())).collect()
}

#[tokio::test]
async fn what_a_sale_sold_and_refused_is_in_the_statistics() {
    let shop = Shop::with_stock(3).await;
    let persister = shop.stack.persister();
    let clients = [shop.client().clone()];
    let answers = clicks(&clients, shop.sale, (0..8).map(|n| format!("user-{n}")), 4).await;
    shop.check_books(&promised(&answers)).await;
    // Refusals are written behind the buyers' backs, and an answer is given again for a while: so this asks something
    // else each time.
    let asked = Cell::new(0);
    let complete = async || {
        asked.set(asked.get() + 1);
        let path = format!("{STATS}?saleId={}&from=2026-01-01T00:00:00.{:03}Z", shop.sale, asked.get());
        let body = shop.client().get_as_operator(&path).await.body;
        (body["refusals"]["rows"] == json!([{ "reason": "SOLD_OUT", "count": 5 }])).then_some(body)
    };
    let body = until("all is counted", SOON, complete).await;

    let paid = json!({ "currency": "EUR", "revenueMinor": 3 * 1_999, "units": 3, "orders": 3 });
    let with = |more: Value| {
        let mut all = paid.clone();
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    let sold_out = &body["sellOuts"]["rows"][0];
    let expected = json!({
        "revenue": [paid],
        "revenueByDay": [with(json!({ "day": sold_out["soldOutAt"].as_str().unwrap()[..10] }))],
        "topSales": [with(json!({ "saleId": shop.sale, "name": "A sale of a test" }))],
        "sellOuts": [sold_out],
        "refusals": [{ "reason": "SOLD_OUT", "count": 5 }],
    });
    assert_eq!(rows(&body), expected);
    // It had started a minute before.
    assert!((60_000..180_000).contains(&sold_out["soldOutAfterMs"].as_i64().unwrap()), "{sold_out}");
    assert_eq!((&sold_out["saleId"], &body["saleId"]), (&json!(shop.sale), &json!(shop.sale)));
    let holds = json!({ "held": 0, "open": 0, "paid": 0, "expired": 0, "cancelled": 0, "conversionRate": null });
    for (name, value) in holds.as_object().unwrap() {
        assert_eq!(body["holds"][name], *value, "{name}");
    }
    shop.close([persister]).await;
}

#[tokio::test]
async fn the_share_of_holds_that_were_paid_is_of_those_that_are_decided() {
    let mut sale = new_sale(4);
    (sale.terms.hold_seconds, sale.terms.unit_price_minor) = (600, 0);
    let shop = Shop::with(&sale).await;
    let persister = shop.stack.persister();
    for user in ["ann", "bob", "cem", "dan"] {
        shop.buy(user).await;
        shop.persisted(user).await;
    }
    // There is nothing to pay, so a payment is nothing but this.
    let confirm = sqlx::query("UPDATE orders SET status = 'CONFIRMED' WHERE user_id IN ('ann', 'bob')");
    confirm.execute(&mut shop.stack.database.connect().await).await.unwrap();
    shop.stack.expire(shop.sale, &["cem"]).await;
    let body = shop.client().get_as_operator(STATS).await.body;
    let expected = json!({
        "queryMs": body["holds"]["queryMs"], "held": 4, "open": 1, "paid": 2, "expired": 1, "cancelled": 0,
        "conversionRate": 2.0 / 3.0,
    });
    assert_eq!(body["holds"], expected);
    let keeper = shop.stack.keeper();
    shop.stack.settled(shop.client(), shop.sale).await;
    shop.close([persister, keeper]).await;
}

#[tokio::test]
async fn a_dashboard_that_asks_without_a_pause_costs_postgresql_one_question_every_few_seconds() {
    let shop = Shop::with_stock(1).await;
    let began = Instant::now();
    let dashboard = async |path: String| {
        let (mut asked, mut generated) = (0, HashSet::new());
        while began.elapsed() < Duration::from_secs(4) {
            let answer = shop.client().get_as_operator(&path).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            asked += 1;
            generated.insert(answer.body["generatedAt"].as_str().unwrap().to_owned());
        }
        assert!(asked > 20, "{asked}");
        generated
    };
    let (of_all, of_sale) = (STATS.to_owned(), format!("{STATS}?saleId={}", shop.sale));
    let (one, other, of_sale) = tokio::join!(dashboard(of_all.clone()), dashboard(of_all), dashboard(of_sale));
    assert_eq!((one.len(), of_sale.len()), (1, 1), "the same question has the same answer for a while");
    assert_eq!(one, other, "whoever asks it");
    // And then a new one.
    let first = shop.client().get_as_operator(STATS).await.body["generatedAt"].clone();
    until("it is asked anew", SOON, async || {
        (shop.client().get_as_operator(STATS).await.body["generatedAt"] != first).then_some(())
    })
    .await;
    shop.close([]).await;
}

#[tokio::test]
async fn a_statistic_that_takes_too_long_is_given_up_and_keeps_no_buyer_waiting() {
    let shop = Shop::with_stock(1).await;
    let api = shop.stack.api_with(&[("FLASHSALE__POSTGRES__STATEMENT_TIMEOUT_MS", "300")]).await;
    let mut connection = shop.stack.database.connect().await;
    sqlx::raw_sql("BEGIN; LOCK TABLE refusals").execute(&mut connection).await.unwrap();
    let answer = api.client.get_as_operator(STATS).await;
    assert_problem(&answer, 503, "STATISTICS_TOO_SLOW");
    assert!(answer.headers.contains_key("retry-after"));
    let order = shop.buy("ann").await;
    sqlx::raw_sql("ROLLBACK").execute(&mut connection).await.unwrap();
    assert_eq!(api.client.get_as_operator(STATS).await.status, 200);
    let persister = shop.stack.persister();
    shop.check_books(&[("ann".to_owned(), order)]).await;
    drop(api);
    shop.close([persister]).await;
}

#[tokio::test]
async fn what_cannot_be_asked_is_said() {
    let shop = Shop::with_stock(1).await;
    let unknown = "01890000-0000-7000-8000-000000000000";
    let of = async |query: &str| shop.client().get_as_operator(&format!("{STATS}{query}")).await;
    for (query, detail) in [
        ("?saleId=7", "saleId must be a UUID"),
        ("?from=yesterday", "from must be an instant"),
        ("?to=2026-11-21", "to must be an instant"),
        ("?from=2026-11-21T00:00:00Z&to=2026-11-21T00:00:00Z", "from must be before to"),
        ("?form=2026-11-21T00:00:00Z", "query may have"),
        ("?to=2026-11-21T00:00:00Z&to=2026-11-21T00:00:00Z", "to is given twice"),
    ] {
        let answer = of(query).await;
        assert_problem(&answer, 400, "INVALID_FIELD");
        assert!(answer.body["detail"].as_str().unwrap().starts_with(detail), "{query}: {answer:?}");
    }
    assert_problem(&of(&format!("?saleId={unknown}")).await, 404, "SALE_NOT_FOUND");
    let answer = of("?from=2026-11-21T01:00:00%2B01:00").await;
    assert_eq!((answer.status.as_u16(), &answer.body["from"]), (200, &json!("2026-11-21T00:00:00Z")));
    shop.close([]).await;
}
