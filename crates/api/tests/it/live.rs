//! What operators watch: sales, processes and traffic, as they are right now.

use ledger::DeadLetter;
use serde_json::{Value, json};
use testkit::{Client, Own, Stack, new_sale, until};

use crate::fixture::{SOON, Shop, assert_problem};

const LIVE: &str = "/api/v1/admin/live";

/// What an operator sees once `is_so`.
async fn seen(client: &Client, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    until(what, SOON, async || {
        let answer = client.get_as_operator(LIVE).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        is_so(&answer.body).then_some(answer.body)
    })
    .await
}

fn sale_of(live: &Value, sale: domain::SaleId) -> &Value {
    let sales = live["sales"].as_array().expect("sales");
    sales.iter().find(|row| row["saleId"] == json!(sale)).unwrap_or_else(|| panic!("no {sale} in {live:#}"))
}

fn processes<'a>(live: &'a Value, role: &str) -> Vec<&'a Value> {
    live["processes"].as_array().expect("processes").iter().filter(|process| process["role"] == role).collect()
}

/// The sum of a field over all seconds of the traffic.
fn sum(live: &Value, field: &str) -> i64 {
    let points = live["traffic"].as_array().expect("traffic").iter();
    points.map(|point| point[field].as_i64().expect("a count")).sum()
}

#[tokio::test]
async fn a_reservation_is_seen_on_its_way_and_then_as_sold() {
    let shop = Shop::with_stock(3).await;
    let mut promised = Vec::new();
    for user in ["ann", "bob", "cid"] {
        promised.push((user.to_owned(), shop.buy(user).await));
    }
    let waiting = seen(shop.client(), "three wait", |live| sale_of(live, shop.sale)["inFlight"] == 3).await;
    let sale = sale_of(&waiting, shop.sale);
    assert_eq!(
        (&sale["remainingStock"], &sale["sold"], &sale["consumers"]),
        (&json!(0), &json!(0), &json!(0)),
        "{sale}"
    );
    assert!(sale["outboxAgeMs"].as_i64().is_some_and(|age| (0..60_000).contains(&age)), "{sale}");
    seen(shop.client(), "their messages wait", |live| sale_of(live, shop.sale)["queuedMessages"] == 3).await;

    let persister = shop.stack.persister();
    let sold = |live: &Value| sale_of(live, shop.sale)["sold"] == 3 && sale_of(live, shop.sale)["inFlight"] == 0;
    let sold = seen(shop.client(), "all are sold", sold).await;
    let sale = sale_of(&sold, shop.sale);
    assert_eq!(
        (&sale["outboxAgeMs"], &sale["queuedMessages"], &sale["consumers"]),
        (&json!(null), &json!(0), &json!(1))
    );
    assert_eq!(sold["unavailable"], json!([]));
    shop.check_books(&promised).await;
    shop.close([persister]).await;
}

#[tokio::test]
async fn every_attempt_is_told_in_its_second_with_how_long_it_waited() {
    let shop = Shop::with_stock(2).await;
    let mut promised = Vec::new();
    for user in ["ann", "bob"] {
        promised.push((user.to_owned(), shop.buy(user).await));
    }
    for user in ["ann", "cid", "dan"] {
        shop.click(user).await;
    }
    let told = seen(shop.client(), "five attempts are told", |live| sum(live, "attempts") == 5).await;
    assert_eq!((sum(&told, "successes"), sum(&told, "refusals"), sum(&told, "unknown")), (2, 3, 0), "{told:#}");
    for point in told["traffic"].as_array().unwrap() {
        let [p50, p95, p99] = ["p50Ms", "p95Ms", "p99Ms"].map(|field| point[field].as_f64().expect("a percentile"));
        assert!(0.0 < p50 && p50 <= p95 && p95 <= p99 && p99 < 10_000.0, "{point}");
    }
    let persister = shop.stack.persister();
    shop.check_books(&promised).await;
    shop.close([persister]).await;
}

#[tokio::test]
async fn a_process_is_seen_at_work_is_missed_when_it_dies_and_forgotten_when_it_stops() {
    let shop = Shop::with_stock(5).await;
    let (persister, other, keeper) = (shop.stack.persister(), shop.stack.persister(), shop.stack.keeper());
    let promised = vec![("ann".to_owned(), shop.buy("ann").await)];
    let at_work = |live: &Value| {
        let handled = |role| processes(live, role).iter().map(|p| p["handled"].as_i64().unwrap()).sum::<i64>();
        let all = ["api", "persister", "keeper"].map(|role| processes(live, role).len());
        all == [1, 2, 1] && handled("api") == 1 && handled("persister") == 1 && handled("keeper") > 0
    };
    let live = seen(shop.client(), "all four are at work", at_work).await;
    for process in live["processes"].as_array().unwrap() {
        assert_eq!(process["alive"], true, "{process}");
        assert!(process["pid"].as_i64().is_some_and(|pid| pid > 1), "{process}");
        assert_eq!(process["version"], env!("CARGO_PKG_VERSION"));
    }
    assert!(persister.stop().await.success());
    seen(shop.client(), "one persister is left", |live| processes(live, "persister").len() == 1).await;

    other.kill();
    // Ten seconds of silence, without waiting for them.
    let silence = "UPDATE processes SET seen_at = seen_at - interval '10 s' WHERE role = 'persister'";
    sqlx::query(silence).execute(&mut shop.stack.database.connect().await).await.unwrap();
    let missed = seen(shop.client(), "the other is missed", |live| processes(live, "persister")[0]["alive"] == false);
    assert_eq!(processes(&missed.await, "persister")[0]["perSecond"], 0.0);
    let workers = shop.client().get_as_operator("/api/v1/admin/workers").await.body;
    assert_eq!(processes(&workers, "persister")[0]["alive"], false, "the list of workers says the same");
    shop.check_books(&promised).await;
    shop.close([keeper]).await;
}

#[tokio::test]
async fn what_waits_for_somebody_is_counted() {
    let mut sale = new_sale(5);
    sale.terms.hold_seconds = 600;
    let shop = Shop::with(&sale).await;
    let persister = shop.stack.persister();
    let promised = vec![("ann".to_owned(), shop.buy("ann").await)];
    shop.persisted("ann").await;
    let letter = DeadLetter::unreadable(shop.sale, domain::Epoch(1), "a test".to_owned(), b"?".to_vec());
    shop.stack.ledger.bury(&letter).await.unwrap();
    let counted = |live: &Value| sale_of(live, shop.sale)["held"] == 1 && sale_of(live, shop.sale)["deadLetters"] == 1;
    seen(shop.client(), "both are counted", counted).await;
    shop.check_books(&promised).await;
    shop.close([persister]).await;
}

#[tokio::test]
async fn without_postgresql_the_sales_are_seen_as_they_were_and_what_is_missing_is_named() {
    let mut shop = Shop::on(Stack::with_own(Own::POSTGRES).await, &new_sale(5)).await;
    seen(shop.client(), "all is well", |live| live["unavailable"] == json!([])).await;
    shop.stack.postgres.kill();
    let blind = seen(shop.client(), "PostgreSQL is missed", |live| live["unavailable"] == json!(["postgres"])).await;
    let sale = sale_of(&blind, shop.sale);
    assert_eq!(
        (&sale["remainingStock"], &sale["held"], &sale["inFlight"]),
        (&json!(5), &json!(null), &json!(0)),
        "{sale}"
    );
    shop.stack.postgres.start();
    seen(shop.client(), "all is well again", |live| live["unavailable"] == json!([])).await;
    shop.check_books(&[]).await;
    shop.close([]).await;
}

#[tokio::test]
async fn only_operators_look_on() {
    let shop = Shop::with_stock(1).await;
    assert_problem(&shop.client().get(LIVE).await, 401, "UNAUTHORIZED");
    shop.check_books(&[]).await;
    shop.close([]).await;
}
