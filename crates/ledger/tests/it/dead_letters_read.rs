//! Dead letters as operators read them, and the ones that could not be read.

use std::collections::HashSet;

use domain::{Epoch, SaleId};
use ledger::{BuriedLetter, DeadLetter, LISTED_BODY_BYTES, LetterFilter, Resolution, Verdict};
use uuid::Uuid;

use crate::dead_letters_decided::{ALL, REDRIVEN};
use crate::fixture::{Fixture, one, units};

#[tokio::test]
async fn letters_are_listed_by_age_in_pages_and_by_sale_and_state() {
    let fixture = Fixture::with_stock(100).await;
    let elsewhere = SaleId(Uuid::new_v4());
    for n in 0..6 {
        let sale = if n % 2 == 0 { fixture.sale } else { elsewhere };
        let letter = DeadLetter::unreadable(sale, Epoch(1), "no JSON".to_owned(), vec![n; 3]);
        fixture.ledger.bury(&letter).await.unwrap();
    }
    // The same instant for all: then their ids decide.
    fixture.run("UPDATE dead_letters SET created_at = '2026-01-01'".to_owned()).await;
    let all = fixture.ledger.dead_letters(&ALL).await.unwrap();
    let mut paged: Vec<BuriedLetter> = Vec::new();
    loop {
        let after = paged.last().map(|letter| (letter.created_at, letter.id));
        let page = fixture.ledger.dead_letters(&LetterFilter { after, limit: 4, ..ALL }).await.unwrap();
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(paged, all);
    assert_eq!(all.iter().map(|letter| letter.id).collect::<HashSet<_>>().len(), 6);

    fixture.discard(&all[0]).await;
    let ids = async |filter: LetterFilter| {
        let listed = fixture.ledger.dead_letters(&filter).await.unwrap();
        listed.iter().map(|letter| letter.id).collect::<Vec<_>>()
    };
    assert_eq!(ids(LetterFilter { resolved: Some(true), ..ALL }).await, [all[0].id]);
    assert_eq!(ids(LetterFilter { resolved: Some(false), ..ALL }).await.len(), 5);
    assert_eq!(ids(LetterFilter { sale: Some(elsewhere), ..ALL }).await.len(), 3);
    let resolved = fixture.ledger.dead_letter(all[0].id).await.unwrap().unwrap().resolved;
    assert_eq!(resolved.map(|(_, resolution)| resolution), Some(Resolution::Discarded));
    fixture.close().await;
}

#[tokio::test]
async fn a_list_shows_the_beginning_of_a_large_message_and_the_letter_itself_all_of_it() {
    let fixture = Fixture::with_stock(1).await;
    let body = vec![7; 1_000_001];
    let letter = DeadLetter::unreadable(fixture.sale, Epoch(1), "too large".to_owned(), body.clone());
    fixture.ledger.bury(&letter).await.unwrap();
    let listed = fixture.ledger.dead_letters(&ALL).await.unwrap().remove(0);
    assert_eq!(listed.body, body[..usize::try_from(LISTED_BODY_BYTES).unwrap()]);
    assert_eq!(listed.body_bytes, 1_000_001);
    assert_eq!(fixture.ledger.dead_letter(listed.id).await.unwrap().unwrap().body, body);
    assert_eq!(fixture.ledger.dead_letter(Uuid::new_v4()).await.unwrap(), None);
    fixture.close().await;
}

#[tokio::test]
async fn an_unreadable_letter_is_split_into_letters_of_its_reservations() {
    let fixture = Fixture::with_stock(10).await;
    let (ann, bob) = (units("ann", 3), units("bob", 2));
    let unreadable = DeadLetter::unreadable(fixture.sale, Epoch(1), "no JSON".to_owned(), b"{".to_vec());
    fixture.ledger.bury(&unreadable).await.unwrap();
    let unreadable = fixture.ledger.dead_letters(&ALL).await.unwrap().remove(0);
    let batch = fixture.batch(1, &[ann.clone(), bob.clone()]);
    for reservation in &batch.reservations {
        let letter = DeadLetter::of(&batch, reservation, "it could not be read".to_owned());
        fixture.ledger.bury(&letter).await.unwrap();
    }
    assert_eq!(fixture.counted().await, [0, 0, 5]);
    let letter = fixture.ledger.dead_letter_of(ann.id).await.unwrap().unwrap();
    assert_eq!(letter, fixture.letter_of(ann.id).await);
    assert_eq!(fixture.ledger.dead_letter_of(one("cid").id).await.unwrap(), None);
    assert_eq!(fixture.redrive(&letter).await, REDRIVEN);
    let split = fixture.ledger.mark_split(unreadable.id, "ops", 0, "1 of 2".to_owned()).await.unwrap();
    assert_eq!(split, Verdict::Split { units: 0, detail: "1 of 2".to_owned() });
    assert_eq!(fixture.discard(&unreadable).await, Verdict::Resolved(Resolution::Split));
    assert_eq!(fixture.counted().await, [3, 0, 2]);
    assert_eq!(fixture.trail().await[1].0, "DEAD_LETTER_SPLIT");
    fixture.close().await;
}

#[tokio::test]
async fn an_unreadable_letter_is_redriven_by_persisting_what_it_says_and_resolving_it() {
    let fixture = Fixture::with_stock(10).await;
    let letter = DeadLetter::unreadable(fixture.sale, Epoch(1), "no JSON".to_owned(), b"{".to_vec());
    fixture.ledger.bury(&letter).await.unwrap();
    let letter = fixture.ledger.dead_letters(&ALL).await.unwrap().remove(0);
    assert!(matches!(fixture.redrive(&letter).await, Verdict::Failed(reason) if reason.contains("cannot be read")));
    let failed = fixture.ledger.still_dead(letter.id, "a NUL \0").await.unwrap();
    assert_eq!(failed, Verdict::Failed("a NUL \0".to_owned()));
    assert_eq!(fixture.ledger.mark_redriven(letter.id, "ops").await.unwrap(), REDRIVEN);
    let again = fixture.ledger.mark_redriven(letter.id, "ops").await.unwrap();
    assert_eq!(again, Verdict::Resolved(Resolution::Redriven));
    fixture.ledger.still_dead(letter.id, "too late").await.unwrap();
    assert_eq!(fixture.ledger.dead_letter(letter.id).await.unwrap().unwrap().reason, "a NUL \\0");
    fixture.close().await;
}
