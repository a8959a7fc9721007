//! A sale that stands is left alone, however often anybody reconciles.

use testkit::{Stack, rush};

#[tokio::test]
async fn reconciling_an_intact_sale_twice_changes_nothing() {
    let stack = Stack::new().await;
    let sale = stack.create_sale(10).await;
    stack.reconcile().await;
    let api = stack.api().await;
    // Nobody persists: these are in the outbox and in the queue, where a careless reconcile would touch them.
    let told = rush(&api.client, sale, "buyer", 0..4).await;
    let before = (stack.sale(sale).await, api.client.verify(sale).await.body);

    stack.reconcile().await;
    stack.reconcile().await;

    assert_eq!((stack.sale(sale).await, api.client.verify(sale).await.body), before);
    assert_eq!(before.1["books"]["inFlight"], 4);
    let _persister = stack.persister();
    stack.settled(&api.client, sale).await;
    assert_eq!(stack.lost(sale, &told.promised).await, [""; 0]);
}

#[tokio::test]
async fn a_new_sale_opens_at_epoch_one_and_tells_so_in_the_audit_trail() {
    let stack = Stack::new().await;
    let sale = stack.create_sale(10).await;
    stack.reconcile().await;
    assert_eq!(stack.sale(sale).await.epoch.0, 1);
    let mut connection = stack.database.connect().await;
    let reason: String = sqlx::query_scalar("SELECT detail ->> 'reason' FROM audit WHERE event = 'RECONCILED'")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(reason, "never_opened");
}
