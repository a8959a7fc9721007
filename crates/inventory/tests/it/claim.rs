//! Every reply of `lua/claim.lua`.

use domain::Epoch;
use inventory::{Error, Loss};
use tokio::task::JoinSet;

use crate::sale::{EPOCH, Sale, attempt, is_new_win};

#[tokio::test]
async fn a_claim_takes_the_units_if_all_of_them_are_there_and_only_once() {
    let sale = Sale::open(5).await;
    assert!(sale.claim(1, 3).await && sale.claim(1, 3).await);
    assert!(!sale.claim(2, 3).await, "2 are left");
    assert!(sale.claim(3, 2).await);
    let snapshot = sale.inventory.snapshot(sale.id, EPOCH, &[1, 2, 3, 4]).await.unwrap().unwrap();
    assert_eq!((snapshot.gate.stock, snapshot.adjusted), (0, [1, 3].into()), "a refused one is not booked");
    sale.check_books(0, 0, 0).await;
}

#[tokio::test]
async fn a_claim_that_was_refused_stays_refused_whatever_comes_back() {
    let sale = Sale::open(1).await;
    assert!(!sale.claim(1, 2).await);
    assert_eq!(sale.adjust(&[(2, 5)]).await, 6);
    assert!(!sale.claim(1, 2).await && sale.claim(3, 2).await);
    sale.check_books(4, 0, 0).await;
}

#[tokio::test]
async fn a_claim_takes_nothing_that_is_reserved_and_leaves_nothing_that_could_be() {
    let sale = Sale::open(3).await;
    assert!(is_new_win(&sale.decide(&attempt("ann", 2)).await));
    assert!(!sale.claim(1, 2).await && sale.claim(2, 1).await);
    assert!(!is_new_win(&sale.decide(&attempt("bob", 1)).await));
    sale.check_books(2, 0, 0).await;
}

#[tokio::test]
async fn a_closed_gate_answers_claims_too_and_one_with_less_than_nothing_refuses() {
    let sale = Sale::open(5).await;
    sale.close().await;
    assert!(sale.claim(1, 2).await);
    assert_eq!(sale.adjust(&[(2, -4)]).await, -1);
    assert!(!sale.claim(3, 1).await);
    sale.check_books(-1, 0, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_ask_for_the_same_claim_at_once_all_read_the_same_and_it_is_taken_once() {
    let sale = Sale::open(10).await;
    let mut asking = JoinSet::new();
    for _ in 0..16 {
        let (inventory, id, scripts) = (sale.inventory.clone(), sale.id, sale.installation.scripts.clone());
        asking.spawn(async move { inventory.claim(id, EPOCH, &scripts, 1, 7).await.unwrap() });
    }
    assert_eq!(asking.join_all().await, [true; 16]);
    sale.check_books(3, 0, 0).await;
}

#[tokio::test]
async fn without_its_gate_a_claim_is_not_decided() {
    let sale = Sale::open(5).await;
    let result = sale.inventory.claim(sale.id, Epoch(8), &sale.installation.scripts, 1, 1).await;
    assert!(matches!(result, Err(Error::Lost(Loss::Gate))), "{result:?}");
    sale.raw::<()>(&["HDEL", &sale.key("gate"), "stock"]).await;
    let result = sale.inventory.claim(sale.id, EPOCH, &sale.installation.scripts, 1, 1).await;
    assert!(matches!(result, Err(Error::Protocol(_))), "{result:?}");
    sale.raw::<()>(&["HSET", &sale.key("gate"), "stock", "5"]).await;
    assert!(!sale.claim(1, 6).await, "nothing was decided before");
    sale.check_books(5, 0, 0).await;
}
