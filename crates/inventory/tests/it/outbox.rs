//! Reading and settling the outbox.

use domain::ReservationId;
use inventory::{Attempt, Backlog, Error, Loss, Sought};

use crate::sale::{EPOCH, Sale, attempt};

#[tokio::test]
async fn the_outbox_reads_oldest_first_in_pages() {
    let sale = Sale::open(100).await;
    let crowd: Vec<Attempt> = (0..25).map(|n| attempt(&format!("user {n}"), 1 + n % 3)).collect();
    for batch in crowd.chunks(7) {
        sale.reserve(batch).await;
    }
    let mut read = Vec::new();
    let mut after: Option<String> = None;
    for expected_len in [10, 10, 5, 0] {
        let page = sale.inventory.outbox(sale.id, EPOCH, after.as_deref(), 0, 10).await.unwrap();
        assert_eq!(page.len(), expected_len);
        after = page.last().map(|last| last.id.clone());
        read.extend(page);
    }
    let ids: Vec<_> = read.iter().map(|entry| (entry.reservation.id, entry.reservation.quantity)).collect();
    assert_eq!(ids, crowd.iter().map(|attempt| (attempt.id, attempt.quantity)).collect::<Vec<_>>());
    sale.check_books(100, 0, 0).await;
}

#[tokio::test]
async fn an_entry_is_shown_once_it_is_old_enough_by_redis_time() {
    let sale = Sale::open(5).await;
    sale.reserve(&[attempt("ann", 2)]).await;
    assert!(sale.inventory.outbox(sale.id, EPOCH, None, 60_000, 10).await.unwrap().is_empty());
    let shown = async {
        while sale.inventory.outbox(sale.id, EPOCH, None, 50, 10).await.unwrap().is_empty() {}
        sale.now_ms().await
    };
    let now_ms = tokio::time::timeout(std::time::Duration::from_secs(5), shown).await.unwrap();
    let entry = sale.snapshot().await.outbox.remove(0);
    assert!(now_ms - entry.reservation.reserved_at >= 50, "{now_ms} {entry:?}");
    sale.check_books(5, 0, 0).await;
}

#[tokio::test]
async fn an_entry_ahead_of_redis_time_is_shown_where_the_age_does_not_matter() {
    let sale = Sale::open(5).await;
    // Redis's clock was set back after this entry was written.
    let ahead = format!("{}-0", sale.now_ms().await + 3_600_000);
    let (key, id) = (sale.key("outbox"), attempt("ann", 1).id.to_string());
    sale.raw::<String>(&["XADD", &key, &ahead, "r", &id, "u", "ann", "q", "1", "t", "1 EUR 0"]).await;
    assert!(sale.inventory.outbox(sale.id, EPOCH, None, 1, 10).await.unwrap().is_empty());
    assert_eq!(sale.inventory.outbox(sale.id, EPOCH, None, 0, 10).await.unwrap().len(), 1);
    assert_eq!(sale.inventory.settle(sale.id, EPOCH, &[&ahead]).await.unwrap(), 1);
    sale.check_books(5, 0, 0).await;
}

#[tokio::test]
async fn settling_deletes_entries_once_and_keeps_the_buyers() {
    let sale = Sale::open(5).await;
    let ann = attempt("ann", 2);
    sale.reserve(&[ann.clone(), attempt("bob", 1)]).await;
    let outbox = sale.snapshot().await.outbox;
    let ids: Vec<&str> = outbox.iter().map(|entry| entry.id.as_str()).collect();
    assert_eq!(sale.inventory.settle(sale.id, EPOCH, &ids[..1]).await.unwrap(), 1);
    assert_eq!(sale.inventory.settle(sale.id, EPOCH, &ids).await.unwrap(), 1);
    assert_eq!(sale.inventory.settle(sale.id, EPOCH, &ids).await.unwrap(), 0);
    assert_eq!(sale.inventory.settle(sale.id, EPOCH, &[""; 0]).await.unwrap(), 0);
    assert!(matches!(sale.inventory.settle(sale.id, EPOCH, &["no id"]).await, Err(Error::Protocol(_))));
    assert_eq!(sale.inventory.holder(sale.id, EPOCH, &ann.user_id).await.unwrap(), Some(ann.id));
    sale.check_books(5, 3, 2).await;
}

#[tokio::test]
async fn a_damaged_entry_is_an_error() {
    let sale = Sale::open(5).await;
    sale.raw::<String>(&["XADD", &sale.key("outbox"), "1-1", "r", "no id", "u", "ann", "q", "1", "t", "1 EUR 0"]).await;
    assert!(matches!(sale.inventory.outbox(sale.id, EPOCH, None, 0, 10).await, Err(Error::Protocol(_))));
    assert!(matches!(sale.inventory.snapshot(sale.id, EPOCH, &[]).await, Err(Error::Protocol(_))));
    assert_eq!(sale.inventory.settle(sale.id, EPOCH, &["1-1"]).await.unwrap(), 1);
    sale.check_books(5, 0, 0).await;
}

#[tokio::test]
async fn a_win_is_found_by_its_id_alone_among_the_outboxes_of_several_sales() {
    let (sale, other) = (Sale::open(5).await, Sale::open(5).await);
    let (ann, bob) = (attempt("ann", 2), attempt("bob", 1));
    sale.reserve(std::slice::from_ref(&ann)).await;
    other.reserve(std::slice::from_ref(&bob)).await;
    let both = [(sale.id, EPOCH), (other.id, EPOCH)];
    assert_eq!(sale.inventory.seek(&both, ann.id).await.unwrap(), Sought::Found(sale.id));
    assert_eq!(sale.inventory.seek(&both, bob.id).await.unwrap(), Sought::Found(other.id));
    assert_eq!(sale.inventory.seek(&both, attempt("cid", 1).id).await.unwrap(), Sought::Nowhere);
    assert_eq!(sale.inventory.seek(&[], ann.id).await.unwrap(), Sought::Nowhere);
    other.raw::<u32>(&["DEL", &other.key("gate"), &other.key("outbox"), &other.key("buyers")]).await;
    let lost = sale.inventory.seek(&both, bob.id).await;
    assert!(matches!(lost, Err(Error::Lost(Loss::Gate))), "an empty outbox of a lost epoch tells nothing: {lost:?}");
    sale.check_books(5, 0, 0).await;
}

#[tokio::test]
async fn in_a_long_outbox_a_win_is_found_by_its_time_and_is_never_taken_for_none() {
    let sale = Sale::open(5_000).await;
    let now_ms = u64::try_from(sale.now_ms().await).unwrap();
    let one_of = |id: ReservationId, user: String| Attempt { id, ..attempt(&user, 1) };
    let crowd: Vec<Attempt> = (0..1_500_u64)
        .map(|n| {
            one_of(
                ReservationId::new_v7(now_ms, &[n.to_be_bytes().as_slice(), &[0; 2]].concat().try_into().unwrap()),
                format!("user {n}"),
            )
        })
        .collect();
    for batch in crowd.chunks(inventory::MAX_BATCH) {
        sale.reserve(batch).await;
    }
    let seek = async |id| sale.inventory.seek(&[(sale.id, EPOCH)], id).await.unwrap();
    assert!(matches!(seek(crowd[0].id).await, Sought::Found(..)));
    assert_eq!(seek(crowd[1_499].id).await, Sought::Unknown, "all came at once, and not all are looked at");
    let (key, id) = (sale.key("outbox"), ReservationId::new_v7(now_ms + 60_000, &[9; 10]).to_string());
    let later = format!("{}-0", now_ms + 60_004);
    sale.raw::<String>(&["XADD", &key, &later, "r", &id, "u", "zoe", "q", "1", "t", "1 EUR 0"]).await;
    assert!(matches!(seek(id.parse().unwrap()).await, Sought::Found(..)));
    sale.inventory.settle(sale.id, EPOCH, &[&later]).await.unwrap();
    let keyed = "018f4b1e-0000-8000-8000-000000000001".parse().unwrap();
    assert_eq!(seek(keyed).await, Sought::Unknown, "it tells no time");
    sale.check_books(5_000, 0, 0).await;
}

#[tokio::test]
async fn a_backlog_is_how_much_is_on_its_way_and_for_how_long() {
    let (busy, idle) = (Sale::open(5).await, Sale::open(5).await);
    busy.reserve(&[attempt("ann", 2), attempt("bob", 1)]).await;
    let since = busy.snapshot().await.outbox[0].reservation.reserved_at;
    let asked = [(idle.id, EPOCH), (busy.id, EPOCH)];
    let aged = async {
        loop {
            let backlogs = busy.inventory.backlogs(&asked).await.unwrap();
            assert_eq!(backlogs[0], Backlog { entries: 0, oldest_ms: None });
            assert_eq!(backlogs[1].entries, 2, "wins, whatever their units");
            let (age, most) = (backlogs[1].oldest_ms.unwrap(), busy.now_ms().await - since);
            assert!((0..=most).contains(&age), "{age} of {most}");
            if age >= 20 {
                break;
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(5), aged).await.unwrap();
    assert!(busy.inventory.backlogs(&[]).await.unwrap().is_empty());
    busy.check_books(5, 0, 0).await;
    idle.check_books(5, 0, 0).await;
}
