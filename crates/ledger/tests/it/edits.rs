//! What operators change of a sale: all of it or nothing, each change in the trail.

use chrono::TimeDelta;
use domain::{Epoch, Halt, Quantity, SaleId, SaleState};
use ledger::{DeadLetter, Edited, Sale, SaleChanges};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::fixture::{Fixture, RESERVED_AT, instant, one, units};

fn stock(total_stock: u32) -> SaleChanges {
    SaleChanges { total_stock: Some(total_stock), ..SaleChanges::default() }
}

fn renamed(name: &str) -> SaleChanges {
    SaleChanges { name: Some(name.to_owned()), ..SaleChanges::default() }
}

impl Fixture {
    async fn edit(&self, changes: &SaleChanges) -> Edited {
        self.ledger.edit_sale(self.sale, changes, "ann").await.unwrap()
    }

    async fn row(&self) -> Sale {
        self.ledger.sale(self.sale).await.unwrap().unwrap()
    }

    /// Event, actor and detail of what has happened since the sale was opened.
    async fn edits_in_the_trail(&self) -> Vec<(String, Option<String>, Option<Value>)> {
        let sql = "SELECT event, actor, detail FROM audit
                   WHERE sale_id = $1 AND event NOT IN ('CREATED', 'RECONCILED') AND order_id IS NULL ORDER BY id";
        sqlx::query_as(sql).bind(self.sale.0).fetch_all(&mut self.connect().await).await.unwrap()
    }
}

#[tokio::test]
async fn every_field_changes_and_the_trail_says_from_what_to_what() {
    let fixture = Fixture::with_stock(10).await;
    let texts = SaleChanges {
        name: Some("Lamp".to_owned()),
        description: Some(Some("Bright".to_owned())),
        image_url: Some(Some("https://shop.example/lamp.jpg".to_owned())),
        ..SaleChanges::default()
    };
    assert_eq!(fixture.edit(&texts).await, Edited::Done);
    let row = fixture.row().await;
    assert_eq!((row.name.as_str(), row.description.as_deref(), row.revision), ("Lamp", Some("Bright"), 0));

    let rules = SaleChanges {
        unit_price_minor: Some(2_999),
        currency: Some("USD".parse().unwrap()),
        hold_seconds: Some(600),
        per_user_limit: Some(Quantity::ONE),
        starts_at: Some(instant(RESERVED_AT)),
        ends_at: Some(instant(RESERVED_AT + 5_000)),
        ..SaleChanges::default()
    };
    assert_eq!(fixture.edit(&rules).await, Edited::Done);
    let row = fixture.row().await;
    assert_eq!((row.terms.to_string().as_str(), row.per_user_limit, row.revision), ("2999 USD 600", Quantity::ONE, 1));
    assert_eq!((row.window.starts_ms, row.window.ends_ms), (RESERVED_AT, RESERVED_AT + 5_000));
    assert_eq!((row.total_stock, row.sold, row.epoch, row.state), (10, 0, Epoch(1), SaleState::Open));

    let cleared = SaleChanges { description: Some(None), image_url: Some(None), ..SaleChanges::default() };
    assert_eq!(fixture.edit(&cleared).await, Edited::Done);
    assert_eq!((fixture.row().await.description, fixture.row().await.image_url), (None, None));
    let both = SaleChanges { name: Some("Lamp".to_owned()), ..rules };
    assert_eq!(fixture.edit(&both).await, Edited::Unchanged);
    assert_eq!(fixture.edit(&SaleChanges::default()).await, Edited::Unchanged);

    let trail = fixture.edits_in_the_trail().await;
    let events: Vec<_> = trail.iter().map(|(event, actor, _)| (event.as_str(), actor.as_deref().unwrap())).collect();
    assert_eq!(events, [("EDITED", "ann"); 3], "what changes nothing is not written down");
    assert_eq!(trail[0].2.as_ref().unwrap()["name"], json!({ "from": "Sale", "to": "Lamp" }));
    let detail = trail[1].2.as_ref().unwrap();
    assert_eq!(detail["unitPriceMinor"], json!({ "from": 1_999, "to": 2_999 }));
    assert_eq!(detail.as_object().unwrap().len(), 6, "{detail}");
    fixture.close().await;
}

#[tokio::test]
async fn a_window_that_ends_before_it_starts_changes_nothing() {
    let fixture = Fixture::with_stock(10).await;
    let ends_at = fixture.row().await.starts_at;
    let backwards = SaleChanges { ends_at: Some(ends_at), total_stock: Some(20), ..renamed("Lamp") };
    let before = fixture.row().await;
    assert_eq!(fixture.edit(&backwards).await, Edited::NoWindow);
    let lower = SaleChanges { total_stock: Some(5), ..backwards };
    assert_eq!(fixture.edit(&lower).await, Edited::NoWindow, "not even a claim");
    assert_eq!((fixture.row().await, fixture.adjustments().await), (before, Vec::new()));
    let nothing = fixture.ledger.edit_sale(SaleId(Uuid::new_v4()), &lower, "ann").await.unwrap();
    assert_eq!(nothing, Edited::NotFound);
    fixture.close().await;
}

#[tokio::test]
async fn more_stock_is_there_at_once_and_on_its_way_to_the_gate() {
    let fixture = Fixture::with_stock(10).await;
    assert_eq!(fixture.edit(&stock(25)).await, Edited::Done);
    let row = fixture.row().await;
    assert_eq!((row.total_stock, row.revision), (25, 0));
    assert_eq!(fixture.adjustments().await, [(15, "stock_raised".to_owned())]);
    let unheard = fixture.ledger.unheard_stock(&[fixture.sale]).await.unwrap()[&fixture.sale];
    assert_eq!((unheard.raising, unheard.lowering), (15, 0));
    let expected = [("STOCK_RAISED".to_owned(), Some("ann".to_owned()), Some(json!({ "units": 15 })))];
    assert_eq!(fixture.edits_in_the_trail().await, expected);
    fixture.close().await;
}

#[tokio::test]
async fn less_stock_waits_for_the_gate_and_so_does_the_rest_of_the_request() {
    let fixture = Fixture::with_stock(10).await;
    let lower = SaleChanges { total_stock: Some(7), ..renamed("Lamp") };
    let Edited::Claimed(claim) = fixture.edit(&lower).await else { panic!("a claim") };
    assert_eq!((fixture.row().await.total_stock, fixture.row().await.name.as_str()), (10, "Sale"));
    assert_eq!(fixture.edit(&lower).await, Edited::Claimed(claim), "the same wish is the same claim");
    for other in [stock(8), stock(10), stock(11)] {
        assert_eq!(fixture.edit(&other).await, Edited::Claiming);
    }
    assert_eq!(fixture.edit(&renamed("Lamp 2")).await, Edited::Done, "the rest need not wait");

    assert_eq!(fixture.ledger.settle_claim(claim, Epoch(1), true).await.unwrap(), Some(true));
    assert_eq!((fixture.row().await.total_stock, fixture.row().await.name.as_str()), (7, "Lamp 2"));
    assert_eq!(fixture.edit(&lower).await, Edited::Done);
    assert_eq!((fixture.row().await.total_stock, fixture.row().await.name.as_str()), (7, "Lamp"));
    assert_eq!(fixture.edit(&lower).await, Edited::Unchanged);

    let Edited::Claimed(claim) = fixture.edit(&stock(1)).await else { panic!("a claim") };
    assert_eq!(fixture.ledger.settle_claim(claim, Epoch(1), false).await.unwrap(), Some(false));
    assert_eq!((fixture.row().await.total_stock, fixture.adjustments().await), (7, Vec::new()));
    let events: Vec<_> = fixture.edits_in_the_trail().await.into_iter().map(|(event, ..)| event).collect();
    assert_eq!(events, ["EDITED", "STOCK_LOWERED", "EDITED"]);
    fixture.close().await;
}

#[tokio::test]
async fn what_is_known_to_be_gone_is_refused_without_the_gate() {
    let fixture = Fixture::with_stock(10).await;
    fixture.apply(1, &[units("bob", 3)]).await;
    let letter = DeadLetter {
        sale_id: Some(fixture.sale),
        epoch: Some(Epoch(1)),
        reservation: Some(units("cid", 2)),
        reason: "test".to_owned(),
        body: Vec::new(),
    };
    fixture.ledger.bury(&letter).await.unwrap();
    assert_eq!(fixture.edit(&stock(4)).await, Edited::TooLow { least: 5 });
    assert_eq!((fixture.row().await.total_stock, fixture.adjustments().await), (10, Vec::new()));
    assert!(matches!(fixture.edit(&stock(5)).await, Edited::Claimed(_)));
    fixture.close().await;
}

#[tokio::test]
async fn a_sale_that_never_opened_needs_no_gate_to_lower_its_stock() {
    let mut fixture = Fixture::with_stock(1).await;
    let (opened, id) = (fixture.sale, SaleId(Uuid::new_v4()));
    fixture.ledger.create_sale(&crate::fixture::new_sale(id, 10)).await.unwrap();
    fixture.sale = id;
    for (units, total) in [(4, 4), (6, 6)] {
        assert_eq!(fixture.edit(&stock(units)).await, Edited::Done);
        assert_eq!(fixture.row().await.total_stock, total);
    }
    let (epoch, token) = fixture.drain().await;
    let settled = fixture.ledger.settle_stock(id, epoch, token).await.unwrap().unwrap();
    assert_eq!(settled.stock, 6, "whatever happened to it before it opened");
    fixture.open(epoch, token).await;
    fixture.sale = opened;
    fixture.close().await;
}

#[tokio::test]
async fn of_a_sale_that_has_ended_only_the_texts_change_and_the_stock_only_becomes_less() {
    for early in [false, true] {
        let fixture = Fixture::with_stock(10).await;
        fixture.apply(1, &[units("bob", 3)]).await;
        if early {
            let halted = fixture.ledger.halt_sale(fixture.sale, Some(Halt::Ended), "ann").await.unwrap();
            assert_eq!(halted, Edited::Done);
        }
        let revision = fixture.row().await.revision;
        assert!(fixture.ledger.end(fixture.sale, Epoch(1), revision).await.unwrap());
        let before = fixture.row().await;
        let later = SaleChanges { ends_at: Some(before.ends_at + TimeDelta::hours(1)), ..SaleChanges::default() };
        for changes in [stock(11), later, SaleChanges { unit_price_minor: Some(1), ..renamed("Lamp") }] {
            assert_eq!(fixture.edit(&changes).await, Edited::Over);
        }
        for (halted, verdict) in
            [(Some(Halt::Paused), Edited::Over), (None, Edited::Over), (Some(Halt::Ended), Edited::Unchanged)]
        {
            assert_eq!(fixture.ledger.halt_sale(fixture.sale, halted, "ann").await.unwrap(), verdict);
        }
        assert_eq!(fixture.row().await, before);

        assert_eq!(fixture.edit(&stock(2)).await, Edited::TooLow { least: 3 });
        let fewer = SaleChanges { total_stock: Some(3), ..renamed("Lamp") };
        assert_eq!(fixture.edit(&fewer).await, Edited::Done, "nobody else can have the units any more");
        assert_eq!((fixture.row().await.total_stock, fixture.row().await.name.as_str()), (3, "Lamp"));
        assert_eq!(
            fixture.adjustments().await,
            [(-7, "stock_lowered".to_owned())],
            "the old gate's stock is explained"
        );
        fixture.close().await;
    }
}

#[tokio::test]
async fn a_sale_is_paused_and_resumed_as_often_as_one_likes_and_ended_once() {
    let fixture = Fixture::with_stock(1).await;
    let halt = async |halted| fixture.ledger.halt_sale(fixture.sale, halted, "ann").await.unwrap();
    for (halted, verdict, revision) in [
        (None, Edited::Unchanged, 0),
        (Some(Halt::Paused), Edited::Done, 1),
        (Some(Halt::Paused), Edited::Unchanged, 1),
        (None, Edited::Done, 2),
        (Some(Halt::Paused), Edited::Done, 3),
        (Some(Halt::Ended), Edited::Done, 4),
        (Some(Halt::Ended), Edited::Unchanged, 4),
        (None, Edited::Over, 4),
        (Some(Halt::Paused), Edited::Over, 4),
    ] {
        assert_eq!(halt(halted).await, verdict, "{halted:?}");
        assert_eq!(fixture.row().await.revision, revision);
    }
    assert_eq!(fixture.row().await.halted, Some(Halt::Ended));
    let events: Vec<_> = fixture.edits_in_the_trail().await.into_iter().map(|(event, ..)| event).collect();
    assert_eq!(events, ["PAUSED", "RESUMED", "PAUSED", "ENDED_EARLY"]);
    assert_eq!(fixture.ledger.halt_sale(SaleId(Uuid::new_v4()), None, "ann").await.unwrap(), Edited::NotFound);
    fixture.close().await;
}

#[tokio::test]
async fn a_sale_does_not_end_by_rules_that_were_changed_or_while_a_claim_is_open() {
    let fixture = Fixture::with_stock(10).await;
    let (ledger, sale) = (fixture.ledger.clone(), fixture.sale);
    // An operator, in the middle of prolonging the sale, and a keeper that has seen it over.
    let mut operator = fixture.connect().await;
    sqlx::raw_sql("BEGIN").execute(&mut operator).await.unwrap();
    sqlx::query("UPDATE sales SET revision = 1 WHERE id = $1").bind(sale.0).execute(&mut operator).await.unwrap();
    let ending = tokio::spawn(async move { ledger.end(sale, Epoch(1), 0).await.unwrap() });
    fixture.until_someone_waits(&mut fixture.connect().await).await;
    sqlx::raw_sql("COMMIT").execute(&mut operator).await.unwrap();
    assert!(!ending.await.unwrap());

    // The same with a claim, which the keeper's snapshot is too old to see.
    let ledger = fixture.ledger.clone();
    sqlx::raw_sql("BEGIN").execute(&mut operator).await.unwrap();
    sqlx::query("SELECT edit_sale($1, '{\"total_stock\": 5}', 'ann')")
        .bind(sale.0)
        .execute(&mut operator)
        .await
        .unwrap();
    let ending = tokio::spawn(async move { ledger.end(sale, Epoch(1), 1).await.unwrap() });
    fixture.until_someone_waits(&mut fixture.connect().await).await;
    sqlx::raw_sql("COMMIT").execute(&mut operator).await.unwrap();
    assert!(!ending.await.unwrap());
    let Edited::Claimed(claim) = fixture.edit(&stock(5)).await else { panic!("a claim") };
    fixture.ledger.settle_claim(claim, Epoch(1), true).await.unwrap();
    assert!(fixture.ledger.end(sale, Epoch(1), 1).await.unwrap());
    fixture.close().await;
}

#[tokio::test]
async fn an_edit_waits_for_its_own_sale_and_for_no_other() {
    let fixture = Fixture::with_stock(10).await;
    let other = SaleId(Uuid::new_v4());
    fixture.ledger.create_sale(&crate::fixture::new_sale(other, 10)).await.unwrap();
    let mut holder = fixture.connect().await;
    sqlx::raw_sql("BEGIN").execute(&mut holder).await.unwrap();
    sqlx::query("SELECT FROM sales WHERE id = $1 FOR UPDATE").bind(other.0).execute(&mut holder).await.unwrap();

    assert_eq!(fixture.edit(&stock(11)).await, Edited::Done);
    assert_eq!(fixture.ledger.halt_sale(fixture.sale, Some(Halt::Paused), "ann").await.unwrap(), Edited::Done);
    fixture.apply(1, &[one("bob")]).await;
    let (ledger, lamp) = (fixture.ledger.clone(), renamed("Lamp"));
    let waiting = tokio::spawn(async move { ledger.edit_sale(other, &lamp, "ann").await.unwrap() });
    fixture.until_someone_waits(&mut fixture.connect().await).await;
    sqlx::raw_sql("COMMIT").execute(&mut holder).await.unwrap();
    assert_eq!(waiting.await.unwrap(), Edited::Done);
    fixture.close().await;
}
