//! Every click is accounted for: it has an order, or it is counted as refused for its reason. Exactly.

use std::collections::BTreeMap;

use domain::{Quantity, Refusal};
use ledger::NewSale;
use testkit::{Answer, Api, Stack, new_sale, until};

use crate::fixture::{SOON, Shop, clicks, promised};

/// How often each refusal was answered.
fn refused<'a>(answers: impl IntoIterator<Item = &'a Answer>) -> BTreeMap<Refusal, i64> {
    let mut counts = BTreeMap::new();
    for answer in answers.into_iter().filter(|answer| answer.outcome() != "SUCCESS") {
        let told = answer.body["code"].as_str().unwrap_or(answer.outcome());
        let reason = Refusal::ALL.into_iter().find(|reason| reason.as_str() == told).expect("a refusal");
        *counts.entry(reason).or_default() += 1;
    }
    counts
}

/// What PostgreSQL has counted.
async fn counted(stack: &Stack, sale: domain::SaleId) -> BTreeMap<Refusal, i64> {
    stack.ledger.refusal_totals(sale).await.unwrap().into_iter().collect()
}

#[tokio::test]
async fn after_a_stop_right_behind_the_last_click_the_counts_and_the_orders_add_up_to_the_clicks() {
    let shop = Shop::with_stock(10).await;
    // An hour: what is counted can only have been written by the stop.
    let Api { process, client } = shop.stack.api_with(&[("FLASHSALE__API__FLUSH_MS", "3600000")]).await;
    let users = (0..3).flat_map(|_| (0..200).map(|n| format!("user-{n}")));
    let answers = clicks(&[client], shop.sale, users, 50).await;
    assert!(process.stop().await.success());

    let counts = counted(&shop.stack, shop.sale).await;
    assert_eq!(counts, refused(answers.iter().map(|(_, answer)| answer)));
    let promised = promised(&answers);
    assert_eq!(promised.len(), 10);
    assert_eq!(counts.values().sum::<i64>(), 590, "600 clicks, 10 orders: {counts:?}");
    assert_eq!(counts[&Refusal::AlreadyPurchased] + 10, 30, "each winner clicked three times");

    let persister = shop.stack.persister();
    shop.check_books(&promised).await;
    shop.close([persister]).await;
}

#[tokio::test]
async fn each_reason_is_counted_under_its_own_name_by_every_process_and_senseless_requests_are_not() {
    let limit = Quantity::try_from(2).unwrap();
    let shop = Shop::with(&NewSale { per_user_limit: limit, ..new_sale(2) }).await;
    let other = shop.stack.api().await;
    let past = new_sale(1);
    let hours = chrono::TimeDelta::hours(2);
    let past = NewSale { starts_at: past.starts_at - hours, ends_at: past.ends_at - hours, ..past };
    shop.stack.create(&past).await;
    let closed = other.client.purchase(past.id, "ann").await;
    assert_eq!(closed.outcome(), "TRY_AGAIN");
    shop.stack.reconcile().await;

    let answers = [
        shop.click_for("ann", 3).await,
        shop.click("ann").await,
        other.client.purchase(shop.sale, "ann").await,
        shop.click_for("bob", 2).await,
        shop.click("bob").await,
        other.client.purchase(shop.sale, "cid").await,
    ];
    for senseless in [shop.click("").await, shop.post("{}").await] {
        assert_eq!(senseless.status, 400);
    }
    let over = until("the past sale is known to be open", SOON, async || {
        let answer = shop.client().purchase(past.id, "ann").await;
        (answer.outcome() != "TRY_AGAIN").then_some(answer)
    });
    assert_eq!(over.await.body["code"], "NOT_ACTIVE");

    let expected =
        BTreeMap::from([(Refusal::QuantityNotAllowed, 1), (Refusal::AlreadyPurchased, 1), (Refusal::SoldOut, 2)]);
    assert_eq!(refused(&answers), expected);
    until("every process has written its counts", SOON, async || {
        (counted(&shop.stack, shop.sale).await == expected).then_some(())
    })
    .await;
    until("the other sale's counts are written", SOON, async || {
        let counts = counted(&shop.stack, past.id).await;
        (counts.get(&Refusal::NotActive) == Some(&1) && counts.contains_key(&Refusal::TryAgain)).then_some(())
    })
    .await;
    drop(other);
    shop.close([]).await;
}

#[tokio::test]
async fn counts_survive_a_database_that_is_away_for_a_while_and_count_once() {
    let shop = Shop::with_stock(1).await;
    shop.buy("ann").await;
    shop.stack.database.lock_out().await;
    let users = (0..50).map(|n| format!("user-{n}"));
    let answers = clicks(&[shop.client().clone()], shop.sale, users, 10).await;
    assert!(answers.iter().all(|(_, answer)| answer.outcome() == "SOLD_OUT"));
    shop.api.process.wait_for_log("refusals cannot be written").await;

    shop.stack.database.let_in().await;
    let expected = BTreeMap::from([(Refusal::SoldOut, 50)]);
    until("the counts are written", SOON, async || {
        let counts = shop.stack.ledger.refusal_totals(shop.sale).await.ok()?;
        (counts.into_iter().collect::<BTreeMap<_, _>>() == expected).then_some(())
    })
    .await;
    shop.close([]).await;
}
