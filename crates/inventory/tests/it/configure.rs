//! Every reply of `lua/configure.lua`, and what a gate decides by the rules it was told.

use domain::{Epoch, Halt, Quantity, Rules, Window};
use inventory::{Decision, Error, Loss};

use crate::sale::{ALWAYS, EPOCH, Sale, attempt, is_new_win, rules};

/// Rules of this revision.
fn at(revision: i64) -> Rules {
    Rules { revision, ..rules(ALWAYS) }
}

#[tokio::test]
async fn a_gate_goes_by_the_newest_rules_in_whatever_order_they_come() {
    let sale = Sale::open(5).await;
    let paused = Rules { halted: Some(Halt::Paused), ..at(2) };
    let priced = Rules { terms: "500 USD 60".parse().unwrap(), limit: Quantity::ONE, ..at(3) };
    assert_eq!(sale.configure(&paused).await, 2);
    assert_eq!(sale.snapshot().await.gate.rules, paused);
    assert_eq!(sale.configure(&priced).await, 3);
    assert_eq!(sale.configure(&paused).await, 3, "an older word comes too late");
    let again = Rules { halted: Some(Halt::Ended), ..priced };
    assert_eq!(sale.configure(&again).await, 3, "of two with one number the first counts");
    assert_eq!(sale.snapshot().await.gate.rules, priced);
    let reserved = sale.reserve(&[attempt("ann", 1)]).await;
    assert_eq!(reserved.terms, priced.terms, "a win carries the terms of its moment");
    sale.check_books(5, 0, 0).await;
}

#[tokio::test]
async fn a_paused_gate_refuses_newcomers_and_knows_its_holders_and_a_resumed_one_sells() {
    let sale = Sale::open(5).await;
    let first = attempt("ann", 1);
    assert!(is_new_win(&sale.decide(&first).await));
    sale.configure(&Rules { halted: Some(Halt::Paused), ..at(1) }).await;
    assert_eq!(sale.decide(&attempt("bob", 1)).await, Decision::Paused);
    assert_eq!(sale.decide(&attempt("ann", 1)).await, Decision::Holds(first.id));
    assert_eq!(sale.decide(&first).await, Decision::Won { outbox_id: None }, "a repeated call is still a win");
    sale.configure(&at(2)).await;
    assert!(is_new_win(&sale.decide(&attempt("bob", 1)).await));
    sale.configure(&Rules { halted: Some(Halt::Ended), ..at(3) }).await;
    assert_eq!(sale.decide(&attempt("cid", 1)).await, Decision::Ended);
    sale.check_books(5, 0, 0).await;
}

#[tokio::test]
async fn a_window_and_a_limit_count_from_the_moment_they_are_told() {
    let sale = Sale::open(5).await;
    let now_ms = sale.now_ms().await;
    let later = Window { starts_ms: now_ms + 3_600_000, ends_ms: now_ms + 7_200_000 };
    let past = Window { starts_ms: now_ms - 7_200_000, ends_ms: now_ms - 3_600_000 };
    sale.configure(&Rules { window: later, ..at(1) }).await;
    assert_eq!(sale.decide(&attempt("ann", 1)).await, Decision::NotStarted);
    sale.configure(&Rules { window: past, ..at(2) }).await;
    assert_eq!(sale.decide(&attempt("ann", 1)).await, Decision::Ended);
    let limit = Quantity::try_from(2).unwrap();
    sale.configure(&Rules { limit, ..at(3) }).await;
    assert_eq!(sale.decide(&attempt("ann", 3)).await, Decision::OverLimit { limit });
    assert!(is_new_win(&sale.decide(&attempt("ann", 2)).await));
    sale.check_books(5, 0, 0).await;
}

#[tokio::test]
async fn configuring_neither_opens_a_gate_nor_makes_one() {
    let sale = Sale::open(5).await;
    sale.close().await;
    assert_eq!(sale.configure(&at(1)).await, 1);
    assert_eq!(sale.decide(&attempt("ann", 1)).await, Decision::Closed);

    let scripts = &sale.installation.scripts;
    let result = sale.inventory.configure(sale.id, Epoch(8), scripts, &at(1)).await;
    assert!(matches!(result, Err(Error::Lost(Loss::Gate))), "{result:?}");
    sale.raw::<()>(&["HDEL", &sale.key("gate"), "revision"]).await;
    let result = sale.inventory.configure(sale.id, EPOCH, scripts, &at(2)).await;
    assert!(matches!(result, Err(Error::Protocol(_))), "{result:?}");
    sale.raw::<()>(&["HSET", &sale.key("gate"), "revision", "1"]).await;
    sale.check_books(5, 0, 0).await;
}
