//! What buyers see of an order whose reservation is a dead letter, and while an operator decides about it.

use reqwest::Method;
use serde_json::json;
use testkit::{Issuer, TOKEN_SECRET, until};

use crate::fixture::{SOON, Shop, assert_problem};
use crate::identity::{JWT, SECRET};

/// Returns once a statement that has this text waits for a lock.
async fn waits(shop: &Shop, text: &str) {
    let sql = "SELECT count(*) FROM pg_stat_activity
               WHERE datname = current_database() AND wait_event_type = 'Lock' AND strpos(query, $1) > 0";
    until("the statement waits", SOON, async || {
        let mut connection = shop.stack.database.connect().await;
        let waiting: i64 = sqlx::query_scalar(sql).bind(text).fetch_one(&mut connection).await.unwrap();
        (waiting > 0).then_some(())
    })
    .await;
}

/// Not for a moment is an order nowhere: neither a letter any more nor an order yet.
#[tokio::test]
async fn an_order_is_there_while_an_operator_decides_about_its_letter() {
    for (decision, status) in [("discard", "CANCELLED"), ("redrive", "CONFIRMED")] {
        let shop = Shop::with_stock(1).await;
        let persister = shop.stack.persister();
        let (order, letter) = shop.buy_in_vain("ann").await;
        shop.accept("ann").await;
        shop.balance().await;

        // The decision waits for the sale, who wants the whole table waits for the decision, and behind them waits the
        // reader, who has found the order nowhere else.
        let (mut sale, mut table) = (shop.stack.database.connect().await, shop.stack.database.connect().await);
        sqlx::raw_sql("BEGIN; SELECT FROM sales FOR UPDATE").execute(&mut sale).await.unwrap();
        let (decided, _, answer, _) = tokio::join!(
            shop.decide(decision, &letter["id"]),
            async {
                waits(&shop, "_dead_letter(").await;
                sqlx::raw_sql("BEGIN; LOCK TABLE dead_letters; COMMIT").execute(&mut table).await.unwrap()
            },
            async {
                waits(&shop, "LOCK TABLE dead_letters").await;
                shop.client().order(&order).await
            },
            async {
                waits(&shop, "FROM dead_letters WHERE reservation_id = $1 AND resolved_at IS NULL").await;
                sqlx::raw_sql("COMMIT").execute(&mut sale).await.unwrap()
            },
        );
        assert_eq!(decided.status, 200, "{decided:?}");
        assert_eq!((answer.status.as_u16(), &answer.body["status"]), (200, &json!(status)), "{answer:?}");
        shop.balance().await;
        shop.close([persister]).await;
    }
}

#[tokio::test]
async fn whose_letter_outlives_the_sale_still_has_an_order_on_its_way() {
    let shop = Shop::with_stock(2).await;
    let (persister, keeper) = (shop.stack.persister(), shop.stack.keeper());
    let (order, letter) = shop.buy_in_vain("ann").await;
    let with_tokens = shop.stack.api_with(&[JWT, SECRET]).await;
    let issuer = Issuer::hs256(TOKEN_SECRET.as_bytes());
    let asked = async |path: String| {
        let anns = with_tokens.client.request(Method::GET, &path).bearer_auth(issuer.token("ann"));
        let answers = [shop.client().get(&path).await, with_tokens.client.send(anns).await];
        answers.map(|answer| answer.body["status"].clone())
    };
    let (the_order, the_purchase) =
        (format!("/api/v1/orders/{order}"), format!("/api/v1/sale/{}/user/ann/purchase", shop.sale));
    for ended in [false, true] {
        if ended {
            shop.ends().await;
        }
        assert_eq!(asked(the_order.clone()).await, ["PENDING", "PENDING"], "ended: {ended}");
        assert_eq!(asked(the_purchase.clone()).await, ["PENDING", "PENDING"], "ended: {ended}");
        let bobs = with_tokens.client.request(Method::GET, &the_order).bearer_auth(issuer.token("bob"));
        assert_problem(&with_tokens.client.send(bobs).await, 404, "ORDER_NOT_FOUND");
    }
    shop.accept("ann").await;
    assert_eq!(shop.decide("redrive", &letter["id"]).await.status, 200);
    assert_eq!(asked(the_order).await, ["CONFIRMED", "CONFIRMED"]);
    assert_eq!(asked(the_purchase).await, ["CONFIRMED", "CONFIRMED"]);
    assert_eq!(shop.balance().await, [1, 1, 0]);
    shop.close([persister, keeper]).await;
}
