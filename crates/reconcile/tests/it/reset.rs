//! An operator's reset: everything sold is forgotten, for good, and nothing that was promised is forgotten by accident.

use std::time::Duration;

use testkit::{Stack, rush, until};

#[tokio::test]
async fn a_forced_reset_under_load_lets_no_old_order_survive_and_never_oversells() {
    let stack = Stack::new().await;
    let sale = stack.create_sale(200).await;
    stack.reconcile().await;
    let api = stack.api().await;
    let (_persister, _keeper) = (stack.persister(), stack.keeper());
    let before = rush(&api.client, sale, "before", 0..50).await;
    assert_eq!(before.promised.len(), 50);

    let (told, ()) = tokio::join!(rush(&api.client, sale, "during", 0..600), async {
        let selling = async || (stack.sale(sale).await.sold > 50).then_some(());
        until("orders of the rush are written", Duration::from_secs(30), selling).await;
        assert_eq!(api.client.reset(sale, true).await.status, 200);
    });
    let after = rush(&api.client, sale, "after", 0..300).await;

    let verified = stack.settled(&api.client, sale).await.body;
    assert_eq!(verified["books"]["sold"], 200, "{told:?} {verified:#}");
    assert_eq!(stack.lost(sale, &after.promised).await, [""; 0], "promises of the new gate hold");
    let mut connection = stack.database.connect().await;
    let old: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM orders o JOIN sales s ON s.id = o.sale_id
         WHERE o.epoch < s.valid_from_epoch OR o.user_id LIKE 'before-%'",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    assert_eq!(old, 0, "no order from before the reset survives");
}

#[tokio::test]
async fn a_reset_that_is_not_forced_refuses_while_reservations_are_on_their_way() {
    let stack = Stack::new().await;
    let sale = stack.create_sale(10).await;
    stack.reconcile().await;
    let api = stack.api().await;
    let told = rush(&api.client, sale, "buyer", 0..5).await;

    assert_eq!(api.client.reset(sale, false).await.status, 409);

    let _persister = stack.persister();
    stack.settled(&api.client, sale).await;
    assert_eq!(stack.lost(sale, &told.promised).await, [""; 0]);
    assert_eq!(api.client.reset(sale, false).await.status, 200);
    assert_eq!(api.client.verify(sale).await.body["books"]["available"], 10);
}

#[tokio::test]
async fn a_reset_that_is_not_forced_sees_promises_that_only_the_queue_still_has() {
    let mut stack = Stack::with_own_redis().await;
    let sale = stack.create_sale(10).await;
    stack.reconcile().await;
    let api = stack.api().await;
    let told = rush(&api.client, sale, "buyer", 0..5).await;
    stack.restart_redis(true);

    let refused = async || {
        let status = api.client.reset(sale, false).await.status;
        assert_ne!(status, 200, "five promises were thrown away");
        (status == 409).then_some(())
    };
    until("the reset is refused", Duration::from_secs(10), refused).await;

    stack.reconcile().await;
    stack.settled(&api.client, sale).await;
    assert_eq!(stack.lost(sale, &told.promised).await, [""; 0]);
}
