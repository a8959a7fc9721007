//! Every reply of `lua/reserve.lua`, and what batches, quantities and crowds make of it.

use domain::{Epoch, Window};
use futures_util::future::join_all;
use inventory::{Attempt, Config, Decision, Error, Inventory, Loss, MAX_BATCH};

use crate::sale::{
    ALWAYS, EPOCH, Sale, attempt, config, is_new_win, redis_now_ms, shared_inventory, shared_url, terms,
};

#[tokio::test]
async fn a_win_takes_its_units_and_leaves_an_outbox_entry_with_its_terms() {
    let sale = Sale::open(5).await;
    let ann = attempt("ann", 3);
    let reserved = sale.reserve(std::slice::from_ref(&ann)).await;
    assert_eq!((reserved.stock_left, reserved.terms), (2, terms()));

    let entry = sale.snapshot().await.outbox.remove(0);
    assert_eq!(reserved.decisions, [Decision::Won { outbox_id: Some(entry.id.clone()) }]);
    assert_eq!(entry.terms, terms());
    assert_eq!((entry.reservation.id, &entry.reservation.user_id), (ann.id, &ann.user_id));
    assert_eq!(entry.reservation.quantity, ann.quantity);
    assert_eq!(entry.reservation.reserved_at, inventory::reserved_at(&entry.id).unwrap());
    assert_eq!(entry.reservation.outbox_id, Some(entry.id));
    sale.check_books(5, 0, 0).await;
}

#[tokio::test]
async fn a_batch_is_decided_in_order_and_a_smaller_quantity_still_fits_after_a_larger_one_did_not() {
    let sale = Sale::open(5).await;
    let batch = [attempt("ann", 3), attempt("bob", 3), attempt("cid", 2), attempt("dan", 1)];
    let reserved = sale.reserve(&batch).await;
    assert!(is_new_win(&reserved.decisions[0]));
    assert_eq!(reserved.decisions[1], Decision::NotEnough { left: 2 });
    assert!(is_new_win(&reserved.decisions[2]));
    assert_eq!(reserved.decisions[3], Decision::NotEnough { left: 0 });
    assert_eq!(reserved.stock_left, 0);
    sale.check_books(5, 0, 0).await;
}

#[tokio::test]
async fn a_user_who_is_in_one_batch_twice_wins_once() {
    let sale = Sale::open(5).await;
    let (first, second) = (attempt("ann", 1), attempt("ann", 1));
    let reserved = sale.reserve(&[first.clone(), second.clone(), first.clone()]).await;
    assert!(is_new_win(&reserved.decisions[0]));
    assert_eq!(reserved.decisions[1..], [Decision::Holds(first.id), Decision::Won { outbox_id: None }]);
    assert_eq!(sale.decide(&second).await, Decision::Holds(first.id));
    sale.check_books(5, 0, 0).await;
}

#[tokio::test]
async fn the_same_ids_again_are_the_same_wins_again_and_take_nothing() {
    let sale = Sale::open(3).await;
    let batch = [attempt("ann", 2), attempt("bob", 1), attempt("cid", 1)];
    assert_eq!(sale.reserve(&batch).await.stock_left, 0);
    let again = sale.reserve(&batch).await;
    let won_before = Decision::Won { outbox_id: None };
    assert_eq!(again.decisions, [won_before.clone(), won_before, Decision::NotEnough { left: 0 }]);
    assert_eq!(again.stock_left, 0);
    sale.check_books(3, 0, 0).await;
}

#[tokio::test]
async fn a_stock_below_zero_refuses_and_says_so() {
    let sale = Sale::open(1).await;
    assert_eq!(sale.adjust(&[(1, -4)]).await, -3);
    let reserved = sale.reserve(&[attempt("ann", 1)]).await;
    assert_eq!((reserved.stock_left, &reserved.decisions[..]), (-3, &[Decision::NotEnough { left: -3 }][..]));
    sale.check_books(1 - 4, 0, 0).await;
}

#[tokio::test]
async fn a_stock_of_exactly_minus_two_is_not_taken_for_a_lost_gate() {
    let sale = Sale::open(-2).await;
    assert_eq!(sale.decide(&attempt("ann", 1)).await, Decision::NotEnough { left: -2 });
    assert_eq!(sale.adjust(&[]).await, -2);
    sale.check_books(-2, 0, 0).await;
}

#[tokio::test]
async fn a_closed_gate_refuses_everybody_but_those_who_hold_a_reservation() {
    let sale = Sale::open(5).await;
    let ann = attempt("ann", 1);
    assert!(is_new_win(&sale.decide(&ann).await));
    sale.close().await;
    sale.close().await;
    assert_eq!(sale.decide(&attempt("bob", 1)).await, Decision::Closed);
    assert_eq!(sale.decide(&attempt("ann", 1)).await, Decision::Holds(ann.id));
    assert_eq!(sale.decide(&ann).await, Decision::Won { outbox_id: None });
    sale.check_books(5, 0, 0).await;
}

#[tokio::test]
async fn a_window_opens_at_its_first_millisecond_by_redis_time() {
    let starts_ms = redis_now_ms().await + 300;
    let sale = Sale::open_at(&shared_inventory(), 1, Window { starts_ms, ..ALWAYS }).await;
    let ann = attempt("ann", 1);
    let mut refusals = 0;
    let mut asked_ms = sale.now_ms().await;
    while sale.decide(&ann).await == Decision::NotStarted {
        assert!(asked_ms < starts_ms, "refused in the window");
        refusals += 1;
        asked_ms = sale.now_ms().await;
    }
    assert!(refusals > 0, "the first attempt came before the window");
    let entry = sale.snapshot().await.outbox.remove(0);
    assert!(entry.reservation.reserved_at >= starts_ms, "{starts_ms} {entry:?}");
    sale.check_books(1, 0, 0).await;
}

#[tokio::test]
async fn a_window_closes_before_its_last_millisecond_by_redis_time() {
    let ends_ms = redis_now_ms().await + 300;
    let sale = Sale::open_at(&shared_inventory(), 1_000_000, Window { ends_ms, ..ALWAYS }).await;
    let mut wins = 0;
    let mut asked_ms = sale.now_ms().await;
    while is_new_win(&sale.decide(&attempt(&format!("user {wins}"), 1)).await) {
        assert!(asked_ms < ends_ms, "won after the window");
        wins += 1;
        asked_ms = sale.now_ms().await;
    }
    assert!(wins > 0, "the first attempt came after the window");
    assert!(sale.now_ms().await >= ends_ms, "the gate stopped before the window did");
    assert_eq!(sale.decide(&attempt("late", 1)).await, Decision::Ended);
    sale.check_books(1_000_000, 0, 0).await;
}

#[tokio::test]
async fn a_full_outbox_refuses_until_the_ledger_has_caught_up() {
    let inventory = Inventory::new(&Config { outbox_limit: 2, ..config(&shared_url()) }).unwrap();
    let sale = Sale::open_at(&inventory, 9, ALWAYS).await;
    let reserved = sale.reserve(&[attempt("ann", 1), attempt("bob", 2), attempt("cid", 1)]).await;
    let [Decision::Won { outbox_id: Some(first) }, Decision::Won { .. }, Decision::OutboxFull] =
        &reserved.decisions[..]
    else {
        panic!("{reserved:?}");
    };
    assert_eq!(sale.decide(&attempt("dan", 1)).await, Decision::OutboxFull);
    assert_eq!(inventory.settle(sale.id, EPOCH, &[first]).await.unwrap(), 1);
    assert!(is_new_win(&sale.decide(&attempt("dan", 1)).await));
    sale.check_books(9, 1, 1).await;
}

#[tokio::test]
async fn another_epochs_gate_is_a_lost_gate() {
    let sale = Sale::open(5).await;
    let scripts = &sale.installation.scripts;
    let result = sale.inventory.reserve(sale.id, Epoch(8), scripts, &[attempt("ann", 1)]).await;
    assert!(matches!(result, Err(Error::Lost(Loss::Gate))), "{result:?}");
    sale.raw::<()>(&["HSET", &sale.key("gate"), "epoch", "8"]).await;
    let result = sale.try_reserve(&[attempt("ann", 1)]).await;
    assert!(matches!(result, Err(Error::Lost(Loss::Gate))), "{result:?}");
    sale.raw::<()>(&["HSET", &sale.key("gate"), "epoch", "7"]).await;
    sale.check_books(5, 0, 0).await;
}

#[tokio::test]
async fn a_damaged_gate_is_an_error_and_nothing_is_written() {
    let sale = Sale::open(5).await;
    let replid = &sale.installation.server.master_replid;
    let fields =
        [("stock", "5"), ("starts_ms", "0"), ("ends_ms", "9000000000000"), ("terms", "1 EUR 0"), ("replid", replid)];
    for (field, value) in fields {
        sale.raw::<()>(&["HDEL", &sale.key("gate"), field]).await;
        let result = sale.try_reserve(&[attempt("ann", 1)]).await;
        assert!(matches!(result, Err(Error::Protocol(_))), "without {field}: {result:?}");
        assert!(matches!(sale.inventory.gates(&[(sale.id, EPOCH)]).await, Err(Error::Protocol(_))), "{field}");
        sale.raw::<()>(&["HSET", &sale.key("gate"), field, value]).await;
    }
    sale.raw::<()>(&["SET", &sale.key("buyers"), "not a hash"]).await;
    let result = sale.try_reserve(&[attempt("ann", 1)]).await;
    assert!(matches!(result, Err(Error::Protocol(_))), "{result:?}");
    sale.raw::<()>(&["DEL", &sale.key("buyers")]).await;
    sale.check_books(5, 0, 0).await;
}

#[tokio::test]
async fn a_batch_has_at_least_one_and_at_most_256_attempts() {
    let sale = Sale::open(1_000).await;
    let crowd: Vec<Attempt> = (0..=MAX_BATCH).map(|n| attempt(&format!("user {n} {}", "é".repeat(110)), 3)).collect();
    for wrong in [&crowd[..0], &crowd] {
        let result = sale.try_reserve(wrong).await;
        assert!(matches!(result, Err(Error::BatchSize(len)) if len == wrong.len()), "{result:?}");
    }
    let reserved = sale.reserve(&crowd[..MAX_BATCH]).await;
    assert!(reserved.decisions.iter().all(is_new_win));
    sale.check_books(1_000, 0, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_500_users_on_64_callers_exactly_10_win_10_units() {
    let sale = Sale::open(10).await;
    let crowd: Vec<Attempt> = (0..500).map(|n| attempt(&format!("user {n}"), 1)).collect();
    let callers = crowd.chunks(500_usize.div_ceil(64)).map(|share| {
        let sale = &sale;
        async move {
            let mut wins = 0;
            for attempt in share {
                wins += usize::from(is_new_win(&sale.decide(attempt).await));
            }
            wins
        }
    });
    assert_eq!(join_all(callers).await.iter().sum::<usize>(), 10);
    assert_eq!(sale.snapshot().await.buyers, 10);
    sale.check_books(10, 0, 0).await;
}
