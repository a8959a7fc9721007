//! What operators read of a sale: its orders and its audit trail in pages, who works for it, and what a reconcile
//! would do and does.

use reqwest::Method;
use serde_json::{Value, json};
use testkit::{ADMIN_TOKEN, Answer, Stack, until};

use crate::fixture::{SOON, Shop, assert_problem};

impl Shop {
    async fn read(&self, what: &str) -> Answer {
        self.client().get_as_operator(&format!("/api/v1/admin/sales/{}/{what}", self.sale)).await
    }

    async fn reconcile(&self, query: &str) -> Answer {
        let path = format!("/api/v1/admin/sales/{}/reconcile{query}", self.sale);
        self.client().send(self.client().request(Method::POST, &path).bearer_auth(ADMIN_TOKEN)).await
    }

    /// All pages of a list, each of `limit` rows but the last.
    async fn pages(&self, what: &str, field: &str, limit: usize) -> Vec<Value> {
        let (mut all, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.read(&format!("{what}?limit={limit}{cursor}")).await;
            let rows = page.body[field].as_array().unwrap_or_else(|| panic!("{page:?}")).clone();
            let more = page.body["nextCursor"].as_str();
            assert!(rows.len() == limit || (more.is_none() && rows.len() < limit), "{page:?}");
            all.extend(rows);
            assert!(all.len() <= 100, "a list comes to its end: {all:#?}");
            match more {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return all,
            }
        }
    }
}

fn texts<'a>(rows: &'a [Value], field: &str) -> Vec<&'a str> {
    rows.iter().map(|row| row[field].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_sales_orders_are_read_page_by_page_and_by_state_and_buyer() {
    let shop = Shop::with_stock(10).await;
    let persister = shop.stack.persister();
    // Of the one whose id has more than plain letters, the page after must begin there.
    let users = ["ann", "bob", "cid", "dan eve", "ü/€ \u{1f980}"];
    let mut promised = Vec::new();
    for user in users {
        promised.push((user.to_owned(), shop.buy(user).await));
    }
    shop.check_books(&promised).await;
    for limit in [1, 2, 5, 200] {
        let orders = shop.pages("orders", "orders", limit).await;
        assert_eq!(orders.len(), users.len(), "{orders:#?}");
        let mut read: Vec<_> = orders.iter().map(|order| (&order["userId"], &order["orderId"])).collect();
        let mut bought: Vec<_> = promised.iter().map(|(user, id)| (json!(user), json!(id))).collect();
        read.sort_by_key(|(user, _)| user.to_string());
        bought.sort_by_key(|(user, _)| user.to_string());
        assert!(read.into_iter().eq(bought.iter().map(|(user, id)| (user, id))), "{orders:#?}");
    }
    let order = &shop.read("orders?userId=bob").await.body["orders"];
    assert_eq!(order.as_array().unwrap().len(), 1);
    let (order, id) = (&order[0], &promised[1].1);
    for (field, expected) in [
        ("orderId", json!(id)),
        ("quantity", json!(1)),
        ("unitPriceMinor", json!(1_999)),
        ("currency", json!("EUR")),
        ("status", json!("CONFIRMED")),
        ("holdUntil", json!(null)),
    ] {
        assert_eq!(order[field], expected, "{order}");
    }
    assert_eq!(shop.read("orders?status=CONFIRMED").await.body["orders"].as_array().unwrap().len(), users.len());
    for none in ["orders?status=HELD", "orders?userId=nobody", "orders?userId=ann&status=CANCELLED"] {
        assert_eq!(shop.read(none).await.body, json!({ "orders": [], "nextCursor": null }), "{none}");
    }
    shop.close([persister]).await;
}

#[tokio::test]
async fn a_sales_trail_is_read_from_its_end_and_names_who_did_what() {
    let shop = Shop::with_stock(1).await;
    let persister = shop.stack.persister();
    let id = shop.buy("ann").await;
    shop.check_books(&[("ann".to_owned(), id.clone())]).await;
    assert_eq!(shop.reconcile("").await.status, 200);
    let all = shop.pages("audit", "events", 200).await;
    for limit in [1, 2, 3] {
        assert_eq!(shop.pages("audit", "events", limit).await, all, "{limit} at a time");
    }
    assert!(all.is_sorted_by(|newer, older| newer["id"].as_i64() > older["id"].as_i64()), "{all:#?}");
    let events = texts(&all, "event");
    assert_eq!(events[0], "RECONCILE_ASKED");
    assert_eq!((&all[0]["actor"], &all[0]["orderId"]), (&json!("operator"), &json!(null)));
    for event in ["CREATED", "RECONCILED", "RESERVED", "SOLD_OUT"] {
        assert_eq!(events.iter().filter(|one| **one == event).count(), 1, "{events:?}");
    }
    let reserved = all.iter().find(|one| one["event"] == "RESERVED").unwrap();
    assert_eq!((&reserved["orderId"], &reserved["userId"]), (&json!(id), &json!("ann")));
    shop.close([persister]).await;
}

#[tokio::test]
async fn a_list_of_nothing_or_with_a_wrong_query_is_refused_with_what_is_wrong() {
    let shop = Shop::with_stock(1).await;
    for (query, word) in [
        ("orders?status=held", "status must be one of HELD, PAYING, CONFIRMED"),
        ("orders?userId=", "userId must not be empty"),
        ("orders?cursor=%21", "cursor must be the nextCursor"),
        ("orders?cursor=", "cursor must be the nextCursor"),
        ("orders?limit=0", "limit must be a whole number from 1 to 200"),
        ("orders?state=HELD", "query may have status, userId, cursor, limit"),
        ("audit?cursor=now", "cursor must be the nextCursor"),
        ("audit?limit=201", "limit must be a whole number"),
        ("audit?limit=1&limit=1", "limit is given twice"),
    ] {
        let answer = shop.read(query).await;
        assert_problem(&answer, 400, "INVALID_FIELD");
        assert!(answer.body["detail"].as_str().unwrap().starts_with(word), "{query}: {answer:?}");
    }
    for query in ["?dryRun=yes", "?dryRun=", "?dryrun=true"] {
        assert_problem(&shop.reconcile(query).await, 400, "INVALID_FIELD");
    }
    let nowhere = "/api/v1/admin/sales/00000000-0000-7000-8000-000000000000";
    for list in ["orders", "audit"] {
        let answer = shop.client().get_as_operator(&format!("{nowhere}/{list}")).await;
        assert_problem(&answer, 404, "SALE_NOT_FOUND");
    }
    let reconcile = shop.client().request(Method::POST, &format!("{nowhere}/reconcile")).bearer_auth(ADMIN_TOKEN);
    assert_problem(&shop.client().send(reconcile).await, 404, "SALE_NOT_FOUND");
    shop.close([]).await;
}

#[tokio::test]
async fn the_workers_of_a_sale_are_those_that_rabbitmq_knows_and_a_backlog_shows() {
    let shop = Shop::with_stock(5).await;
    let workers = async || {
        let answer = shop.client().get_as_operator("/api/v1/admin/workers").await;
        let sales = answer.body["sales"].as_array().unwrap_or_else(|| panic!("{answer:?}")).clone();
        assert_eq!(sales.len(), 1, "{answer:?}");
        sales[0].clone()
    };
    let id = shop.buy("ann").await;
    let waiting = workers().await;
    assert_eq!((&waiting["consumers"], &waiting["queuedMessages"]), (&json!(0), &json!(1)), "{waiting}");
    assert_eq!((&waiting["saleId"], &waiting["state"]), (&json!(shop.sale), &json!("open")), "{waiting}");
    let persisters = [shop.stack.persister(), shop.stack.persister()];
    until("both persisters are there", SOON, async || {
        let now = workers().await;
        (now["consumers"] == 2 && now["queuedMessages"] == 0).then_some(())
    })
    .await;
    shop.check_books(&[("ann".to_owned(), id)]).await;
    for persister in persisters {
        persister.kill();
    }
    until("both are gone", SOON, async || (workers().await["consumers"] == 0).then_some(())).await;
    shop.close([]).await;
}

#[tokio::test]
async fn a_dry_run_tells_of_a_lost_gate_and_changes_nothing_and_a_real_one_mends_it() {
    let mut shop = Shop::on(Stack::with_own_redis().await, &testkit::new_sale(3)).await;
    let persister = shop.stack.persister();
    let mut promised = vec![("ann".to_owned(), shop.buy("ann").await)];
    let books = shop.check_books(&promised).await.body;
    let intact = shop.reconcile("?dryRun=true").await.body;
    let expected = json!({
        "saleId": shop.sale, "dryRun": true, "needed": "NOTHING", "reason": null, "report": null, "verification": books,
    });
    assert_eq!(intact, expected);

    shop.stack.redis.tell("FLUSHALL");
    let epoch = shop.stack.sale(shop.sale).await.epoch;
    for _ in 0..2 {
        let told = shop.reconcile("?dryRun=true").await.body;
        assert_eq!((&told["needed"], &told["reason"]), (&json!("REBUILD"), &json!("gate_lost")), "{told:#}");
        assert_eq!((&told["verification"]["ok"], &told["report"]), (&json!(false), &json!(null)), "{told:#}");
    }
    assert_eq!(shop.stack.sale(shop.sale).await.epoch, epoch, "nothing was done");
    let trail = shop.pages("audit", "events", 200).await;
    assert!(!texts(&trail, "event").contains(&"RECONCILE_ASKED"), "whoever only looks leaves no trace");

    let done = shop.reconcile("?dryRun=false").await.body;
    assert_eq!((&done["needed"], &done["reason"]), (&json!("REBUILD"), &json!("gate_lost")), "{done:#}");
    assert_eq!(done["verification"]["ok"], true, "{done:#}");
    assert_eq!((&done["report"]["stock"], &done["report"]["buyers"]), (&json!(2), &json!(1)), "{done:#}");
    assert_eq!(done["report"]["fromEpoch"], json!(epoch));
    let trail = shop.pages("audit", "events", 200).await;
    assert_eq!(texts(&trail, "event")[..2], ["RECONCILED", "RECONCILE_ASKED"]);
    promised.push(("bob".to_owned(), shop.buy("bob").await));
    shop.check_books(&promised).await;
    shop.close([persister]).await;
}

#[tokio::test]
async fn whoever_asks_while_a_reconcile_runs_is_told_so() {
    let mut shop = Shop::on(Stack::with_own_redis().await, &testkit::new_sale(1)).await;
    shop.stack.redis.tell("FLUSHALL");
    // The lock of another reconciler, wherever it runs.
    let lock = shop.stack.lock_queue(shop.sale).await;
    let answer = shop.reconcile("").await;
    assert_problem(&answer, 409, "RECONCILE_RUNNING");
    assert_eq!(answer.headers["retry-after"], "1");
    assert_eq!(shop.reconcile("?dryRun=true").await.body["needed"], "REBUILD", "a look needs no lock");
    lock.release().await;
    assert_eq!(shop.reconcile("").await.body["verification"]["ok"], true);
    shop.check_books(&[]).await;
    shop.close([]).await;
}
