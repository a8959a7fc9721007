//! Several reconcilers at once: one of them works, whoever is stopped in the middle of it changes nothing any more.

use std::time::Duration;

use domain::SaleId;
use servers::Signal;
use testkit::{Api, Process, Stack, buy_one_by_one, until};

const BUYERS: usize = 40;

/// Forty promised reservations, each in a message of its own, in the queue; and Redis has forgotten everything.
async fn wiped_over_a_backlog() -> (Stack, Api, SaleId, Vec<(String, String)>) {
    let mut stack = Stack::with_own_redis().await;
    let sale = stack.create_sale(60).await;
    stack.reconcile().await;
    let api = stack.api().await;
    let promised = buy_one_by_one(&api.client, sale, BUYERS).await;
    stack.restart_redis(true);
    (stack, api, sale, promised)
}

async fn assert_nothing_is_lost(stack: &Stack, api: &Api, sale: SaleId, promised: &[(String, String)]) {
    let verified = stack.settled(&api.client, sale).await.body;
    assert_eq!(verified["books"]["sold"], BUYERS, "{verified:#}");
    assert_eq!(verified["books"]["available"], 60 - BUYERS);
    assert_eq!(stack.lost(sale, promised).await, [""; 0]);
}

fn reconcilers(stack: &Stack, count: usize) -> Vec<Process> {
    // A frozen process is given up after two heartbeats.
    let heartbeat = [("FLASHSALE__RABBITMQ__HEARTBEAT_SECONDS", "2")];
    (0..count).map(|_| stack.start_with("flashsale-reconcile", &[], &heartbeat)).collect()
}

#[tokio::test]
async fn of_five_reconcilers_at_once_one_builds_the_gate() {
    let (stack, api, sale, promised) = wiped_over_a_backlog().await;
    for process in reconcilers(&stack, 5) {
        assert!(process.wait().await.success());
    }
    assert_eq!(stack.sale(sale).await.epoch.0, 2, "the epoch was raised once");
    assert_nothing_is_lost(&stack, &api, sale, &promised).await;
}

#[tokio::test]
async fn a_reconciler_stopped_in_the_middle_is_overtaken_and_does_no_harm_when_it_wakes() {
    let (stack, api, sale, promised) = wiped_over_a_backlog().await;
    let first = reconcilers(&stack, 1).remove(0);
    first.wait_for_log("rebuilding the gate").await;
    first.signal(Signal::STOP);
    let stopped = stack.sale(sale).await;
    assert_eq!((stopped.epoch.0, stopped.drain_token.is_some()), (2, true), "stopped in the middle");

    for process in reconcilers(&stack, 4) {
        assert!(process.wait().await.success());
    }
    let overtaken = stack.sale(sale).await;
    assert_eq!(overtaken.epoch.0, 3);
    // The API reads the sales a few times a second; until it has seen the new epoch it asks buyers to try again.
    let buy = async || api.client.purchase(sale, "between").await.order_id().map(str::to_owned);
    let order = until("the second gate sells", Duration::from_secs(30), buy).await;

    first.signal(Signal::CONT);
    assert!(first.wait().await.success(), "it finds the sale intact");
    assert_eq!(stack.sale(sale).await.installation, overtaken.installation, "the second gate stands");
    let _persister = stack.persister();
    let written = async || stack.lost(sale, &[("between".to_owned(), order.clone())]).await.is_empty().then_some(());
    until("the order in between is written", Duration::from_secs(30), written).await;
    let verified = stack.settled(&api.client, sale).await.body;
    assert_eq!(verified["books"]["sold"], BUYERS + 1, "{verified:#}");
    assert_eq!(stack.lost(sale, &promised).await, [""; 0]);
}
