//! What can never become an order: bisected, buried once, and its units accounted for.

use domain::Applied::{Buried, Inserted, UserHasOrder};
use domain::{Epoch, Reservation, ReservationBatch, SaleId};
use ledger::DeadLetter;
use uuid::Uuid;

use crate::fixture::{Fixture, one, unacceptable, units};

fn letter(fixture: &Fixture, epoch: i64, reservation: &Reservation) -> DeadLetter {
    DeadLetter {
        sale_id: Some(fixture.sale),
        epoch: Some(Epoch(epoch)),
        reservation: Some(reservation.clone()),
        reason: "a NUL \0 in the reason".to_owned(),
        body: b"\0\xff".to_vec(),
    }
}

async fn graves(fixture: &Fixture) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM dead_letters").fetch_one(&mut fixture.connect().await).await.unwrap()
}

#[tokio::test]
async fn bad_reservations_among_good_ones_are_buried_and_the_good_ones_become_orders() {
    let fixture = Fixture::with_stock(20).await;
    let bad = [1, 2, 6];
    let batch: Vec<_> = (0..9)
        .map(|n| if bad.contains(&n) { unacceptable(&format!("user-{n}")) } else { one(&format!("user-{n}")) })
        .collect();
    let expected = batch.iter().zip(0..).map(|(r, n)| (r.id, if bad.contains(&n) { Buried } else { Inserted }));
    let outcomes = fixture.ledger.persist(&fixture.batch(1, &batch), None).await.unwrap();
    assert_eq!(outcomes, expected.collect::<Vec<_>>());
    let books = fixture.books().await;
    assert_eq!((books.orders, books.dead_letter_units, books.dead_letter_buyers), (6, 3, 3));

    fixture.ledger.persist(&fixture.batch(1, &batch), None).await.unwrap();
    assert_eq!(graves(&fixture).await, 3, "a redelivery digs no second grave");
    fixture.close().await;
}

#[tokio::test]
async fn a_buried_reservation_can_be_read_back_from_its_letter() {
    let fixture = Fixture::with_stock(1).await;
    let batch = fixture.batch(1, &[unacceptable("ann")]);
    fixture.ledger.persist(&batch, None).await.unwrap();
    let (body, reason): (Vec<u8>, String) =
        sqlx::query_as("SELECT body, reason FROM dead_letters").fetch_one(&mut fixture.connect().await).await.unwrap();
    assert_eq!(serde_json::from_slice::<ReservationBatch>(&body).unwrap(), batch);
    assert!(reason.contains("out of range"), "{reason}");
    fixture.close().await;
}

#[tokio::test]
async fn reservations_of_a_sale_that_does_not_exist_are_buried() {
    let fixture = Fixture::with_stock(1).await;
    let mut batch = fixture.batch(1, &[one("ann"), one("bob"), one("cid")]);
    batch.sale_id = SaleId(Uuid::new_v4());
    let outcomes = fixture.ledger.persist(&batch, None).await.unwrap();
    assert!(outcomes.iter().all(|(_, outcome)| *outcome == Buried));
    assert_eq!(graves(&fixture).await, 3);
    assert_eq!(fixture.books().await.dead_letter_units, 0, "they hold back nothing of another sale");
    fixture.close().await;
}

#[tokio::test]
async fn a_body_that_nobody_can_read_is_kept_once() {
    let fixture = Fixture::with_stock(1).await;
    let unreadable = DeadLetter {
        sale_id: None,
        epoch: None,
        reservation: None,
        reason: "not JSON".to_owned(),
        body: b"\0\xff".to_vec(),
    };
    fixture.ledger.bury(&unreadable).await.unwrap();
    let of_the_sale = DeadLetter { sale_id: Some(fixture.sale), epoch: Some(Epoch(1)), ..unreadable };
    fixture.ledger.bury(&of_the_sale).await.unwrap();
    fixture.ledger.bury(&of_the_sale).await.expect("a redelivery finds its grave");
    let bodies: Vec<Vec<u8>> =
        sqlx::query_scalar("SELECT body FROM dead_letters").fetch_all(&mut fixture.connect().await).await.unwrap();
    assert_eq!(bodies, [b"\0\xff", b"\0\xff"]);
    assert_eq!(fixture.books().await.dead_letter_units, 0);
    fixture.close().await;
}

#[tokio::test]
async fn a_letter_of_a_dead_epoch_takes_its_units_off_the_present_gate_once() {
    let fixture = Fixture::with_stock(10).await;
    let ann = units("ann", 3);
    fixture.ledger.bury(&letter(&fixture, 1, &ann)).await.unwrap();
    assert_eq!(fixture.adjustments().await, [], "its units are still off the gate that reserved them");

    fixture.rebuild().await;
    let bob = units("bob", 2);
    for _ in 0..2 {
        fixture.ledger.bury(&letter(&fixture, 1, &bob)).await.unwrap();
    }
    assert_eq!(fixture.adjustments().await, [(-2, "late_epoch".to_owned())]);
    assert_eq!(fixture.books().await.dead_letter_units, 5);
    fixture.close().await;
}

#[tokio::test]
async fn a_letter_that_waits_for_a_rebuild_is_booked_for_the_new_gate() {
    let fixture = Fixture::with_stock(10).await;
    let mut rebuild = fixture.connect().await;
    sqlx::raw_sql("BEGIN; UPDATE sales SET epoch = epoch + 1").execute(&mut rebuild).await.unwrap();
    let ann = letter(&fixture, 1, &units("ann", 3));
    let bury = async {
        fixture.ledger.bury(&ann).await.unwrap();
    };
    let commit = async {
        fixture.until_someone_waits(&mut rebuild).await;
        sqlx::raw_sql("COMMIT").execute(&mut rebuild).await.unwrap();
    };
    tokio::join!(bury, commit);
    let pending = fixture.ledger.pending_adjustments(fixture.sale).await.unwrap();
    assert_eq!(pending.iter().map(|row| (row.epoch, row.delta)).collect::<Vec<_>>(), [(Epoch(2), -3)]);
    fixture.close().await;
}

#[tokio::test]
async fn a_letter_whose_reservation_became_an_order_after_all_holds_nothing_back() {
    let fixture = Fixture::with_stock(10).await;
    let (early, late) = (units("ann", 3), units("bob", 2));
    fixture.ledger.bury(&letter(&fixture, 1, &early)).await.unwrap();
    fixture.rebuild().await;
    fixture.ledger.bury(&letter(&fixture, 1, &late)).await.unwrap();

    assert_eq!(fixture.apply(1, &[early, late]).await, [Inserted, Inserted]);
    let books = fixture.books().await;
    assert_eq!((books.active_units, books.dead_letter_units, books.dead_letter_buyers), (5, 0, 0));
    assert_eq!(fixture.adjustments().await, [(-2, "late_epoch".to_owned())], "both were off the gate already");
    fixture.close().await;
}

#[tokio::test]
async fn a_letter_about_an_order_takes_no_units_off_a_second_time() {
    let fixture = Fixture::with_stock(10).await;
    let ann = units("ann", 3);
    fixture.apply(1, std::slice::from_ref(&ann)).await;
    fixture.rebuild().await;
    fixture.ledger.bury(&letter(&fixture, 1, &ann)).await.unwrap();
    assert_eq!(fixture.adjustments().await, []);
    assert_eq!(fixture.books().await.dead_letter_units, 0);
    fixture.close().await;
}

#[tokio::test]
async fn a_letter_of_a_dead_epoch_whose_units_went_back_already_takes_none_off_the_gate() {
    let fixture = Fixture::with_stock(10).await;
    let ann = units("ann", 3);
    assert_eq!(fixture.apply(1, &[one("ann"), ann.clone()]).await, [Inserted, UserHasOrder]);
    assert_eq!(fixture.adjustments().await, [(3, "second_order".to_owned())]);
    fixture.rebuild().await;
    fixture.ledger.bury(&letter(&fixture, 1, &ann)).await.unwrap();
    assert_eq!((fixture.adjustments().await, fixture.books().await.dead_letter_units), (vec![], 0));
    fixture.close().await;
}

#[tokio::test]
async fn a_letter_from_before_a_reset_holds_nothing_back() {
    let fixture = Fixture::with_stock(10).await;
    let (epoch, token) = fixture.drain().await;
    fixture.ledger.reset(fixture.sale, epoch, token, "operator").await.unwrap().unwrap();
    fixture.ledger.bury(&letter(&fixture, 1, &units("ann", 3))).await.unwrap();
    assert_eq!(graves(&fixture).await, 1);
    assert_eq!(fixture.books().await.dead_letter_units, 0);
    assert_eq!(fixture.adjustments().await, []);
    fixture.close().await;
}

#[tokio::test]
async fn known_is_what_has_an_order_or_a_letter() {
    let fixture = Fixture::with_stock(10).await;
    let (ordered, buried, unknown) = (one("ann"), one("bob"), one("cid"));
    fixture.apply(1, std::slice::from_ref(&ordered)).await;
    fixture.ledger.bury(&letter(&fixture, 1, &buried)).await.unwrap();
    let known = fixture.ledger.known(&[ordered.id, buried.id, unknown.id]).await.unwrap();
    assert_eq!(known, [ordered.id, buried.id].into());
    fixture.close().await;
}
