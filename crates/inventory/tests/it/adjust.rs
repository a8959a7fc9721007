//! Every reply of `lua/adjust.lua`.

use domain::Epoch;
use inventory::{Error, Loss, MAX_BATCH};

use crate::sale::{EPOCH, Sale, attempt, is_new_win};

#[tokio::test]
async fn an_adjustment_is_booked_once_however_often_it_comes() {
    let sale = Sale::open(5).await;
    assert_eq!(sale.adjust(&[(1, 3), (2, -1), (1, 3)]).await, 7);
    assert_eq!(sale.adjust(&[(2, -1), (1, 3)]).await, 7);
    assert_eq!(sale.adjust(&[(2, -1), (3, 10)]).await, 17);
    assert_eq!(sale.adjust(&[]).await, 17);
    let snapshot = sale.inventory.snapshot(sale.id, EPOCH, &[1, 3, 4]).await.unwrap().unwrap();
    assert_eq!(snapshot.adjusted, [1, 3].into());
    sale.check_books(17, 0, 0).await;
}

#[tokio::test]
async fn units_given_back_can_be_won_again() {
    let sale = Sale::open(1).await;
    assert!(is_new_win(&sale.decide(&attempt("ann", 1)).await));
    assert!(!is_new_win(&sale.decide(&attempt("bob", 1)).await));
    assert_eq!(sale.adjust(&[(1, 1)]).await, 1);
    assert!(is_new_win(&sale.decide(&attempt("bob", 1)).await));
    sale.check_books(1 + 1, 0, 0).await;
}

#[tokio::test]
async fn a_closed_gate_takes_adjustments_too() {
    let sale = Sale::open(5).await;
    sale.close().await;
    assert_eq!(sale.adjust(&[(1, -2)]).await, 3);
    sale.check_books(3, 0, 0).await;
}

#[tokio::test]
async fn more_adjustments_than_one_call_takes_are_all_booked() {
    let sale = Sale::open(0).await;
    let adjustments: Vec<(i64, i64)> = (0..2 * MAX_BATCH as i64 + 1).map(|id| (id, 2)).collect();
    let total = 2 * adjustments.len() as i64;
    assert_eq!(sale.adjust(&adjustments).await, total);
    assert_eq!(sale.adjust(&adjustments).await, total);
    sale.check_books(total, 0, 0).await;
}

#[tokio::test]
async fn without_its_gate_an_adjustment_is_not_booked() {
    let sale = Sale::open(5).await;
    let result = sale.inventory.adjust(sale.id, Epoch(8), &sale.installation.scripts, &[(1, 1)]).await;
    assert!(matches!(result, Err(Error::Lost(Loss::Gate))), "{result:?}");
    sale.raw::<()>(&["HDEL", &sale.key("gate"), "stock"]).await;
    let result = sale.inventory.adjust(sale.id, EPOCH, &sale.installation.scripts, &[(1, 1)]).await;
    assert!(matches!(result, Err(Error::Protocol(_))), "{result:?}");
    sale.raw::<()>(&["HSET", &sale.key("gate"), "stock", "5"]).await;
    assert_eq!(sale.inventory.snapshot(sale.id, EPOCH, &[1]).await.unwrap().unwrap().adjusted, [].into());
    sale.check_books(5, 0, 0).await;
}
