//! A reconciler's steps, each of them guarded.

use domain::{Epoch, Reservation, ReservationId, SaleState, UserId};
use ledger::{DeadLetter, Settled};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::fixture::{Fixture, installation, one, units};

fn letter(fixture: &Fixture, reservation: Reservation) -> DeadLetter {
    DeadLetter {
        sale_id: Some(fixture.sale),
        epoch: Some(Epoch(1)),
        reservation: Some(reservation),
        reason: "test".to_owned(),
        body: Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_five_reconcilers_at_once_one_gets_the_sale() {
    let fixture = Fixture::with_stock(1).await;
    let mut reconcilers = JoinSet::new();
    for _ in 0..5 {
        let (ledger, sale) = (fixture.ledger.clone(), fixture.sale);
        reconcilers.spawn(async move { ledger.begin_drain(sale, Epoch(1), Uuid::new_v4()).await.unwrap() });
    }
    let mut won = reconcilers.join_all().await;
    won.retain(Option::is_some);
    assert_eq!(won, [Some(Epoch(2))]);
    let sale = fixture.ledger.sale(fixture.sale).await.unwrap().unwrap();
    assert_eq!((sale.epoch, sale.state), (Epoch(2), SaleState::Draining));
    fixture.close().await;
}

#[tokio::test]
async fn a_step_with_another_epoch_or_token_changes_nothing() {
    let fixture = Fixture::with_stock(10).await;
    fixture.apply(1, &[one("ann")]).await;
    let (epoch, token) = fixture.drain().await;
    let before = fixture.books().await;
    for (epoch, token) in [(Epoch(1), token), (epoch.next(), token), (epoch, Uuid::new_v4())] {
        let (ledger, sale) = (&fixture.ledger, fixture.sale);
        assert_eq!(ledger.settle_stock(sale, epoch, token).await.unwrap(), None);
        assert_eq!(ledger.reset(sale, epoch, token, "operator").await.unwrap(), None);
        assert!(!ledger.open(sale, epoch, (token, 0), &installation(), &serde_json::json!({})).await.unwrap());
    }
    assert!(!fixture.ledger.end(fixture.sale, epoch, 0).await.unwrap(), "a draining sale does not end");
    assert_eq!(fixture.books().await, before);
    fixture.close().await;
}

#[tokio::test]
async fn settling_counts_everything_in_and_leaves_no_adjustment() {
    let fixture = Fixture::with_stock(10).await;
    fixture.apply(1, &[units("ann", 2), one("bob"), one("ann")]).await;
    fixture.ledger.bury(&letter(&fixture, units("cid", 3))).await.unwrap();
    assert_eq!(fixture.adjustments().await.len(), 1);

    let (epoch, token) = fixture.drain().await;
    let settled = fixture.ledger.settle_stock(fixture.sale, epoch, token).await.unwrap();
    assert_eq!(settled, Some(Settled { stock: 10 - 2 - 1 - 3, buyers: 3 }));
    assert_eq!(fixture.adjustments().await, []);
    fixture.close().await;
}

#[tokio::test]
async fn adjustments_are_offered_only_while_their_gate_stands() {
    let fixture = Fixture::with_stock(10).await;
    fixture.apply(1, &[one("ann"), one("ann")]).await;
    let pending = fixture.ledger.pending_adjustments(fixture.sale).await.unwrap();
    assert_eq!(pending.iter().map(|row| (row.epoch, row.delta)).collect::<Vec<_>>(), [(Epoch(1), 1)]);

    let (epoch, token) = fixture.drain().await;
    assert_eq!(fixture.ledger.pending_adjustments(fixture.sale).await.unwrap(), []);
    fixture.ledger.settle_stock(fixture.sale, epoch, token).await.unwrap();
    fixture.open(epoch, token).await;
    fixture.apply(epoch.0, &[units("ann", 2)]).await;
    let pending = fixture.ledger.pending_adjustments(fixture.sale).await.unwrap();
    assert_eq!(pending.iter().map(|row| (row.epoch, row.delta)).collect::<Vec<_>>(), [(epoch, 2)]);

    fixture.ledger.mark_applied(&[pending[0].id]).await.unwrap();
    assert_eq!(fixture.ledger.pending_adjustments(fixture.sale).await.unwrap(), []);
    fixture.close().await;
}

#[tokio::test]
async fn the_pages_of_buyers_list_everyone_once() {
    let fixture = Fixture::with_stock(4).await;
    let ordered: Vec<_> = (0..6).map(|n| one(&format!("user-{n}"))).collect();
    fixture.apply(1, &ordered).await;
    // One who has an order as well, and one with two letters.
    for user in ["user-0", "zoe", "zoe"] {
        fixture.ledger.bury(&letter(&fixture, one(user))).await.unwrap();
    }
    let mut buyers: Vec<(UserId, ReservationId)> = Vec::new();
    loop {
        let after = buyers.last().map(|(_, id)| *id);
        let page = fixture.ledger.buyers_page(fixture.sale, after, 2).await.unwrap();
        assert!(page.len() <= 2);
        if page.is_empty() {
            break;
        }
        buyers.extend(page);
    }
    assert!(buyers.is_sorted_by_key(|(_, id)| *id));
    for reservation in &ordered {
        assert!(buyers.contains(&(reservation.user_id.clone(), reservation.id)), "refused ones are buyers too");
    }
    assert_eq!(buyers.len(), 7);
    assert!(buyers.iter().any(|(user, _)| user.as_str() == "zoe"));

    let (epoch, token) = fixture.drain().await;
    let settled = fixture.ledger.settle_stock(fixture.sale, epoch, token).await.unwrap().unwrap();
    assert_eq!(settled.buyers, 7);
    fixture.close().await;
}

#[tokio::test]
async fn opening_records_the_installation_and_the_report() {
    let fixture = Fixture::with_stock(1).await;
    fixture.drain().await;
    let (epoch, token) = fixture.drain().await;
    fixture.open(epoch, token).await;
    let sale = fixture.ledger.sale(fixture.sale).await.unwrap().unwrap();
    assert_eq!((sale.state, sale.epoch, sale.drained_through), (SaleState::Open, Epoch(3), Epoch(2)));
    assert_eq!((sale.installation, sale.drain_token), (Some(installation()), None));
    let report: serde_json::Value =
        sqlx::query_scalar("SELECT detail FROM audit WHERE event = 'RECONCILED' ORDER BY id DESC LIMIT 1")
            .fetch_one(&mut fixture.connect().await)
            .await
            .unwrap();
    assert_eq!(report, serde_json::json!({ "reason": "test" }));
    fixture.close().await;
}

#[tokio::test]
async fn a_reset_forgets_what_was_sold_and_says_who_wanted_it() {
    let fixture = Fixture::with_stock(10).await;
    fixture.apply(1, &[units("ann", 2), one("ann"), one("bob")]).await;
    fixture.ledger.bury(&letter(&fixture, one("cid"))).await.unwrap();
    let (epoch, token) = fixture.drain().await;
    let settled = fixture.ledger.reset(fixture.sale, epoch, token, "operator").await.unwrap();
    assert_eq!(settled, Some(Settled { stock: 10, buyers: 0 }));
    let books = fixture.books().await;
    assert_eq!((books.orders, books.sale.sold, books.pending), (0, 0, Vec::new()));
    let letters: i64 =
        sqlx::query_scalar("SELECT count(*) FROM dead_letters").fetch_one(&mut fixture.connect().await).await.unwrap();
    assert_eq!(letters, 0);
    let audit: Vec<(String, Option<String>)> =
        sqlx::query_as("SELECT event, actor FROM audit").fetch_all(&mut fixture.connect().await).await.unwrap();
    assert_eq!(audit, [("RESET".to_owned(), Some("operator".to_owned()))]);
    fixture.close().await;
}

#[tokio::test]
async fn a_sale_ends_once_and_is_cleaned_up_once() {
    let fixture = Fixture::with_stock(1).await;
    assert!(!fixture.ledger.end(fixture.sale, Epoch(0), 0).await.unwrap());
    assert!(!fixture.ledger.end(fixture.sale, Epoch(1), 1).await.unwrap(), "by rules that are not the sale's");
    assert!(fixture.ledger.end(fixture.sale, Epoch(1), 0).await.unwrap());
    assert!(!fixture.ledger.end(fixture.sale, Epoch(1), 0).await.unwrap());

    assert_eq!(fixture.ledger.ended_before(3_600).await.unwrap(), []);
    let ended = fixture.ledger.ended_before(-1).await.unwrap();
    assert_eq!(ended.iter().map(|sale| sale.id).collect::<Vec<_>>(), [fixture.sale]);
    fixture.ledger.mark_cleaned(fixture.sale, Epoch(0)).await.unwrap();
    assert_eq!(fixture.ledger.ended_before(-1).await.unwrap().len(), 1, "another epoch's mark does not count");
    fixture.ledger.mark_cleaned(fixture.sale, Epoch(1)).await.unwrap();
    assert_eq!(fixture.ledger.ended_before(-1).await.unwrap(), []);

    fixture.rebuild().await;
    let sale = fixture.ledger.sale(fixture.sale).await.unwrap().unwrap();
    assert_eq!((sale.state, sale.ended_at, sale.cleaned_at), (SaleState::Open, None, None));
    fixture.close().await;
}
