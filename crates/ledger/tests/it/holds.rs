//! Holds and payments whose time runs out.

use domain::{OrderState, PaymentState};
use ledger::{PaymentVerdict, StartVerdict};

use crate::fixture::Fixture;
use crate::paying::{LIMIT_SECONDS, reference};

#[tokio::test]
async fn a_hold_that_has_run_out_gives_its_units_back_once() {
    let fixture = Fixture::with_stock(10).await;
    let (over, other) = (fixture.held().await, fixture.held().await);
    assert!(fixture.ledger.sales_with_expired_holds().await.unwrap().is_empty());
    fixture.run_out(over).await;

    assert_eq!(fixture.ledger.sales_with_expired_holds().await.unwrap(), [fixture.sale]);
    assert_eq!(fixture.ledger.expire_orders(fixture.sale, 10).await.unwrap(), 1);
    assert_eq!(fixture.ledger.expire_orders(fixture.sale, 10).await.unwrap(), 0);
    assert!(fixture.ledger.sales_with_expired_holds().await.unwrap().is_empty());
    assert_eq!(fixture.pair(over).await, (Some(OrderState::Expired), None));
    assert_eq!(fixture.pair(other).await, (Some(OrderState::Held), None));
    assert_eq!(fixture.adjustments().await, [(2, "expired".to_owned())]);
    assert_eq!(fixture.sold_and_back().await, (2, 2));
    fixture.close().await;
}

#[tokio::test]
async fn of_many_that_are_over_as_many_expire_as_asked_for_and_the_oldest_first() {
    let fixture = Fixture::with_stock(10).await;
    let (oldest, older, old) = (fixture.held().await, fixture.pending().await, fixture.held().await);
    for order in [oldest, older, old] {
        fixture.run_out(order).await;
    }
    assert_eq!(fixture.ledger.expire_orders(fixture.sale, 2).await.unwrap(), 2);
    assert_eq!(fixture.pair(oldest).await, (Some(OrderState::Expired), None));
    assert_eq!(fixture.pair(older).await, (Some(OrderState::Expired), Some(PaymentState::Late)));
    assert_eq!(fixture.pair(old).await, (Some(OrderState::Held), None));
    assert_eq!(fixture.sold_and_back().await, (2, 4));
    fixture.close().await;
}

#[tokio::test]
async fn a_hold_that_ran_out_unnoticed_is_not_paid_for() {
    let fixture = Fixture::with_stock(10).await;
    let order = fixture.held().await;
    fixture.run_out(order).await;
    let moved = fixture.ledger.start_payment(order, "test", LIMIT_SECONDS).await.unwrap();
    assert_eq!((moved.verdict, moved.status), (StartVerdict::Expired, Some(OrderState::Expired)));
    assert_eq!((moved.to_tell, moved.payment), (Some(fixture.sale), None));
    let again = fixture.ledger.start_payment(order, "test", LIMIT_SECONDS).await.unwrap();
    assert_eq!((again.verdict, again.to_tell), (StartVerdict::Closed, None));
    assert_eq!(fixture.sold_and_back().await, (0, 2));
    fixture.close().await;
}

#[tokio::test]
async fn a_payment_that_is_under_way_holds_the_units_until_its_own_time_is_over() {
    let fixture = Fixture::with_stock(10).await;
    let order = fixture.held_at("1999 EUR 1").await;
    let moved = fixture.ledger.start_payment(order, "test", LIMIT_SECONDS).await.unwrap();
    let payment = moved.payment.unwrap();
    assert_eq!((moved.verdict, payment.amount_minor), (StartVerdict::Started, 3998));
    let mut connection = fixture.connect().await;
    let sql = "UPDATE orders SET hold_until = clock_timestamp() - interval '1 hour'";
    sqlx::query(sql).execute(&mut connection).await.unwrap();
    assert_eq!(fixture.ledger.expire_orders(fixture.sale, 10).await.unwrap(), 0);

    fixture.run_out(order).await;
    assert_eq!(fixture.ledger.sales_with_expired_holds().await.unwrap(), [fixture.sale]);
    let moved = fixture.ledger.start_payment(order, "test", LIMIT_SECONDS).await.unwrap();
    assert_eq!(moved.verdict, StartVerdict::Expired, "nobody had noticed");
    // Nobody was told how to pay: there is nothing to release, until it turns out that the provider has it.
    assert_eq!(fixture.pair(order).await, (Some(OrderState::Expired), Some(PaymentState::Released)));
    let late = fixture.ledger.payment_started(order, &reference(order)).await.unwrap();
    assert_eq!((late.verdict, late.payment.unwrap().state), (PaymentVerdict::Ignored, PaymentState::Releasing));
    assert_eq!(fixture.sold_and_back().await, (0, 2));
    fixture.close().await;
}

#[tokio::test]
async fn expiry_while_a_reconciler_is_draining_is_in_the_stock_of_the_new_gate() {
    let fixture = Fixture::with_stock(10).await;
    let (early, late) = (fixture.held().await, fixture.held().await);
    fixture.run_out(early).await;
    let (epoch, token) = fixture.drain().await;
    assert_eq!(fixture.ledger.expire_orders(fixture.sale, 10).await.unwrap(), 1);
    let settled = fixture.ledger.settle_stock(fixture.sale, epoch, token).await.unwrap().unwrap();
    assert_eq!(settled.stock, 8);
    assert!(fixture.adjustments().await.is_empty());
    // After the count: for the new gate.
    fixture.run_out(late).await;
    assert_eq!(fixture.ledger.expire_orders(fixture.sale, 10).await.unwrap(), 1);
    fixture.open(epoch, token).await;
    let pending = fixture.ledger.pending_adjustments(fixture.sale).await.unwrap();
    assert_eq!(pending.iter().map(|one| (one.epoch, one.delta)).collect::<Vec<_>>(), [(epoch, 2)]);
    fixture.close().await;
}

/// What a keeper asks several times a second reads what is due, and not all that ever will be.
#[tokio::test]
async fn what_is_due_is_found_by_an_index_that_is_read_up_to_now() {
    let fixture = Fixture::with_stock(1).await;
    let mut connection = fixture.connect().await;
    // As on tables that are not empty.
    sqlx::query("SET enable_seqscan = off").execute(&mut connection).await.unwrap();
    sqlx::query("SET enable_bitmapscan = off").execute(&mut connection).await.unwrap();
    let due_payments = "SELECT order_id FROM payments WHERE due_at <= now()";
    let body: String = sqlx::query_scalar("SELECT prosrc FROM pg_proc WHERE proname = 'due_payments'")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert!(body.contains(due_payments), "{body}");
    for (statement, conditions) in [
        (
            include_str!("../../src/sales_with_expired_holds.sql"),
            ["hold_until <= now()", "pay_until <= now()"].as_slice(),
        ),
        (include_str!("../../src/lease_webhooks.sql"), &["due_at <= now()"]),
        (due_payments, &["due_at <= now()"]),
    ] {
        // No parameter of theirs is about what is due.
        let statement = statement.replace("$1", "10").replace("$2", "10");
        let plan: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(format!("EXPLAIN {statement}")))
            .fetch_all(&mut connection)
            .await
            .unwrap();
        for condition in conditions {
            let found = plan.iter().any(|line| line.contains("Index Cond") && line.contains(condition));
            assert!(found, "{condition} is no index condition:\n{}", plan.join("\n"));
        }
    }
    fixture.close().await;
}
