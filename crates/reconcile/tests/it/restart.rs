//! Everything restarts over a backlog that nobody has persisted yet. A reconcile that set the stock to "total minus
//! orders" would sell every unit twice here.

use std::time::Duration;

use domain::SaleId;
use testkit::{Api, Stack, Told, rush, until};

const UNITS: u32 = 100;

/// All units are reserved, none is persisted, then `fault` happens. Afterwards 150 more buyers try, and at last somebody
/// persists.
async fn restart_over_a_backlog(mut stack: Stack, fault: impl FnOnce(&mut Stack)) {
    let sale = stack.create_sale(UNITS).await;
    stack.reconcile().await;
    let api = stack.api().await;
    let early = rush(&api.client, sale, "early", 0..100).await;
    assert_eq!(early.promised.len(), 100, "{early:?}");
    api.process.kill();
    fault(&mut stack);

    stack.reconcile().await;
    let api = stack.api().await;
    let late = rush(&api.client, sale, "late", 0..150).await;
    assert_eq!(late.promised, [], "every unit was promised before");

    let (_persister, _keeper) = (stack.persister(), stack.keeper());
    assert_sold_out(&stack, &api, sale, &early).await;
}

/// The books are settled, every unit is sold, and to those who were told so.
async fn assert_sold_out(stack: &Stack, api: &Api, sale: SaleId, told: &Told) {
    let verified = stack.settled(&api.client, sale).await.body;
    assert_eq!(verified["books"]["sold"], verified["books"]["total"], "{verified:#}");
    assert_eq!(stack.lost(sale, &told.promised).await, [""; 0], "every SUCCESS has its order");
}

#[tokio::test]
async fn an_api_restarted_over_a_backlog_sells_no_unit_twice() {
    restart_over_a_backlog(Stack::new().await, |_| ()).await;
}

#[tokio::test]
async fn redis_wiped_over_a_backlog_sells_no_unit_twice() {
    restart_over_a_backlog(Stack::with_own_redis().await, |stack| stack.restart_redis(true)).await;
}

#[tokio::test]
async fn redis_restarted_over_a_backlog_sells_no_unit_twice() {
    restart_over_a_backlog(Stack::with_own_redis().await, |stack| stack.restart_redis(false)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_killed_under_load_and_started_over_its_data_loses_and_oversells_nothing() {
    let mut stack = Stack::with_own_redis().await;
    let sale = stack.create_sale(500).await;
    stack.reconcile().await;
    let api = stack.api().await;
    let _keeper = stack.keeper();

    // Nobody persists before the rebuild: what is in the queue when Redis dies is the rebuild's to save.
    let client = &api.client;
    let (first, ()) = tokio::join!(rush(client, sale, "first", 0..450), async {
        let selling = async || (client.status(sale).await.body["remainingStock"].as_i64()? < 450).then_some(());
        until("units are reserved", Duration::from_secs(30), selling).await;
        stack.restart_redis(false);
    });
    assert_ne!(first.promised, [], "a backlog");

    let reopened = async || (stack.sale(sale).await.drained_through.0 > 0).then_some(());
    until("the gate is rebuilt", Duration::from_secs(30), reopened).await;
    let _persister = stack.persister();
    let open = async || (api.client.purchase(sale, "the first again").await.status == 200).then_some(());
    until("the sale sells again", Duration::from_secs(30), open).await;
    let second = rush(&api.client, sale, "second", 0..600).await;
    assert_sold_out(&stack, &api, sale, &first.and(second)).await;
}
