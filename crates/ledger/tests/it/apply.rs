//! Every outcome of one batch on one epoch.

use domain::Applied::{Duplicate, Inserted, NoStock, UserHasOrder};
use domain::{OrderState, SaleId, Terms};
use ledger::Error;
use uuid::Uuid;

use crate::fixture::{Fixture, RESERVED_AT, instant, one, unacceptable, units};

/// `(event, order)` of the trail's moments about orders, in order.
async fn audit(fixture: &Fixture) -> Vec<(String, Uuid)> {
    sqlx::query_as("SELECT event, order_id FROM trail WHERE sale_id = $1 AND order_id IS NOT NULL ORDER BY id")
        .bind(fixture.sale.0)
        .fetch_all(&mut fixture.connect().await)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_reservation_becomes_a_confirmed_order_on_the_terms_of_its_message() {
    let fixture = Fixture::with_stock(10).await;
    let ann = units("ann", 3);
    let mut batch = fixture.batch(1, std::slice::from_ref(&ann));
    batch.terms = Terms { unit_price_minor: 7, currency: "JPY".parse().unwrap(), hold_seconds: 0 };
    assert_eq!(fixture.ledger.apply(&batch, None).await.unwrap(), [(ann.id, Inserted)]);

    let order = fixture.ledger.order_of(fixture.sale, &ann.user_id).await.unwrap().unwrap();
    assert_eq!((order.id, order.quantity, order.status), (ann.id, ann.quantity, OrderState::Confirmed));
    assert_eq!((order.unit_price_minor, order.currency.as_str(), order.hold_until), (7, "JPY", None));
    assert_eq!(order.reserved_at, instant(RESERVED_AT));
    assert_eq!(fixture.books().await.active_units, 3);
    assert_eq!(fixture.ledger.order_of(fixture.sale, &"bob".parse().unwrap()).await.unwrap(), None);
    fixture.close().await;
}

#[tokio::test]
async fn a_reservation_with_a_hold_becomes_a_held_order_that_counts_as_sold() {
    let fixture = Fixture::with_stock(10).await;
    let ann = one("ann");
    let mut batch = fixture.batch(1, std::slice::from_ref(&ann));
    batch.terms.hold_seconds = 600;
    fixture.ledger.apply(&batch, None).await.unwrap();

    let order = fixture.ledger.order_of(fixture.sale, &ann.user_id).await.unwrap().unwrap();
    assert_eq!(order.status, OrderState::Held);
    assert_eq!((order.hold_until.unwrap() - order.created_at).num_seconds(), 600);
    assert_eq!(audit(&fixture).await, [("RESERVED".to_owned(), ann.id.0)]);
    assert_eq!(fixture.books().await.sale.sold, 1);
    fixture.close().await;
}

#[tokio::test]
async fn every_order_has_its_audit_rows() {
    let fixture = Fixture::with_stock(1).await;
    let (ann, bob) = (one("ann"), one("bob"));
    fixture.apply(1, &[ann.clone(), bob.clone(), one("ann")]).await;

    let mut rows = audit(&fixture).await;
    rows.sort();
    let mut expected = [("RESERVED", ann.id.0), ("RESERVED", bob.id.0), ("CONFIRMED", ann.id.0), ("REFUSED", bob.id.0)]
        .map(|(event, id)| (event.to_owned(), id));
    expected.sort();
    assert_eq!(rows, expected);
    let at: chrono::DateTime<chrono::Utc> =
        sqlx::query_scalar("SELECT at FROM trail WHERE event = 'RESERVED' AND order_id = $1")
            .bind(ann.id.0)
            .fetch_one(&mut fixture.connect().await)
            .await
            .unwrap();
    assert_eq!(at, instant(RESERVED_AT));
    fixture.close().await;
}

#[tokio::test]
async fn the_trail_tells_of_large_batches_order_by_order_and_one_after_the_other() {
    let fixture = Fixture::with_stock(20_000).await;
    // More than one row is enough for, then the fewest.
    let reservations: Vec<_> = (0..10_001).map(|number| one(&format!("buyer-{number}"))).collect();
    let (last, many) = reservations.split_last().unwrap();
    fixture.apply(1, many).await;
    fixture.apply(1, std::slice::from_ref(last)).await;

    let moments = |id: Uuid| [("RESERVED".to_owned(), id), ("CONFIRMED".to_owned(), id)];
    let expected: Vec<_> = reservations.iter().flat_map(|one| moments(one.id.0)).collect();
    assert!(audit(&fixture).await == expected);

    let (mut paged, mut before) = (Vec::new(), Some(i64::MAX));
    loop {
        let page = fixture.ledger.audit_trail(fixture.sale, before, 1_500).await.unwrap();
        let Some(last) = page.last() else { break };
        before = Some(last.id);
        paged.extend(page.into_iter().filter_map(|entry| Some((entry.event, entry.order_id?.0))));
    }
    paged.reverse();
    assert!(paged == expected, "page by page, across rows and within");
    fixture.close().await;
}

#[tokio::test]
async fn a_redelivered_batch_changes_nothing() {
    let fixture = Fixture::with_stock(10).await;
    let batch = [one("ann"), units("bob", 2)];
    assert_eq!(fixture.apply(1, &batch).await, [Inserted, Inserted]);
    let (books, rows) = (fixture.books().await, audit(&fixture).await);

    assert_eq!(fixture.apply(1, &batch).await, [Duplicate, Duplicate]);
    assert_eq!((fixture.books().await, audit(&fixture).await), (books, rows));
    fixture.close().await;
}

#[tokio::test]
async fn what_is_new_in_a_mixed_batch_is_inserted() {
    let fixture = Fixture::with_stock(10).await;
    let (ann, bob) = (one("ann"), one("bob"));
    fixture.apply(1, &[ann.clone(), bob]).await;

    let outcomes = fixture.apply(1, &[one("cid"), ann, one("bob"), units("dan", 4)]).await;
    assert_eq!(outcomes, [Inserted, Duplicate, UserHasOrder, Inserted]);
    assert_eq!(fixture.books().await.active_units, 7);
    fixture.close().await;
}

#[tokio::test]
async fn within_a_batch_the_first_of_a_reservation_and_of_a_buyer_counts() {
    let fixture = Fixture::with_stock(10).await;
    let ann = one("ann");
    let outcomes = fixture.apply(1, &[ann.clone(), ann, units("ann", 2), one("bob")]).await;
    assert_eq!(outcomes, [Inserted, Duplicate, UserHasOrder, Inserted]);
    assert_eq!(fixture.adjustments().await, [(2, "second_order".to_owned())]);
    fixture.close().await;
}

#[tokio::test]
async fn a_second_order_gives_its_units_back_once_however_often_it_is_delivered() {
    let fixture = Fixture::with_stock(10).await;
    fixture.apply(1, &[one("ann")]).await;
    let second = units("ann", 3);
    for _ in 0..2 {
        assert_eq!(fixture.apply(1, std::slice::from_ref(&second)).await, [UserHasOrder]);
    }
    assert_eq!(fixture.adjustments().await, [(3, "second_order".to_owned())]);
    assert!(fixture.ledger.known(&[second.id]).await.unwrap().contains(&second.id));
    fixture.close().await;
}

#[tokio::test]
async fn a_batch_that_does_not_fit_serves_the_first_and_refuses_the_rest_for_ever() {
    let fixture = Fixture::with_stock(5).await;
    let batch = [units("ann", 2), units("bob", 2), units("cid", 2), units("dan", 2)];
    assert_eq!(fixture.apply(1, &batch).await, [Inserted, Inserted, NoStock, NoStock]);
    let refused = fixture.ledger.order_of(fixture.sale, &batch[2].user_id).await.unwrap().unwrap();
    assert_eq!((refused.status, refused.hold_until), (OrderState::Refused, None));

    assert_eq!(fixture.apply(1, &batch).await, [Duplicate; 4]);
    assert_eq!(fixture.apply(1, &[units("cid", 1)]).await, [UserHasOrder]);
    let books = fixture.books().await;
    assert_eq!((books.active_units, books.active_orders, books.refused_orders), (4, 2, 2));
    fixture.close().await;
}

#[tokio::test]
async fn whoever_has_an_order_takes_no_room_in_a_batch_that_does_not_fit() {
    let fixture = Fixture::with_stock(4).await;
    let ann = units("ann", 2);
    fixture.apply(1, std::slice::from_ref(&ann)).await;
    let outcomes = fixture.apply(1, &[ann, units("ann", 2), one("bob"), one("bob"), one("cid"), one("dan")]).await;
    assert_eq!(outcomes, [Duplicate, UserHasOrder, Inserted, UserHasOrder, Inserted, NoStock]);
    assert_eq!(fixture.books().await.active_units, 4);
    fixture.close().await;
}

#[tokio::test]
async fn a_redelivery_does_not_resurrect_an_order_that_gave_its_units_back() {
    let fixture = Fixture::with_stock(10).await;
    let ann = one("ann");
    fixture.apply(1, std::slice::from_ref(&ann)).await;
    sqlx::raw_sql("UPDATE sales SET sold = 0; UPDATE orders SET status = 'CANCELLED'")
        .execute(&mut fixture.connect().await)
        .await
        .unwrap();
    assert_eq!(fixture.apply(1, &[ann.clone(), one("bob")]).await, [Duplicate, Inserted]);
    let order = fixture.ledger.order_of(fixture.sale, &ann.user_id).await.unwrap().unwrap();
    assert_eq!(order.status, OrderState::Cancelled);
    fixture.close().await;
}

#[tokio::test]
async fn an_empty_batch_has_no_outcomes() {
    let fixture = Fixture::with_stock(1).await;
    assert_eq!(fixture.apply(1, &[]).await, []);
    fixture.close().await;
}

#[tokio::test]
async fn a_batch_for_a_sale_that_does_not_exist_is_not_found() {
    let fixture = Fixture::with_stock(1).await;
    let mut batch = fixture.batch(1, &[one("ann")]);
    batch.sale_id = SaleId(Uuid::new_v4());
    let error = fixture.ledger.apply(&batch, None).await.unwrap_err();
    assert!(matches!(&error, Error::NotFound(id) if *id == batch.sale_id), "{error}");
    fixture.close().await;
}

#[tokio::test]
async fn one_unacceptable_reservation_keeps_the_whole_batch_out() {
    let fixture = Fixture::with_stock(10).await;
    let batch = fixture.batch(1, &[one("ann"), unacceptable("bob")]);
    let error = fixture.ledger.apply(&batch, None).await.unwrap_err();
    assert!(matches!(&error, Error::Data { code, .. } if code.starts_with("22")), "{error}");
    assert_eq!(fixture.books().await.orders, 0);
    fixture.close().await;
}
