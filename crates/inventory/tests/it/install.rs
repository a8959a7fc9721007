//! Install, load, open, close, remove: the life of a gate.

use domain::{ReservationId, UserId};
use inventory::{Decision, Error, Loss};

use crate::sale::{ALWAYS, EPOCH, Sale, attempt, is_new_win, reservation_id, rules, shared_inventory, user};

#[tokio::test]
async fn an_installed_gate_is_closed_and_expires_until_it_is_opened() {
    let sale = Sale::installed_at(&shared_inventory(), 5, ALWAYS).await;
    let ann = (user("ann"), reservation_id());
    sale.inventory.load_buyers(sale.id, EPOCH, std::slice::from_ref(&ann)).await.unwrap();
    assert_eq!(sale.decide(&attempt("bob", 1)).await, Decision::Closed);
    assert_eq!(sale.decide(&attempt("ann", 1)).await, Decision::Holds(ann.1));
    for part in ["gate", "buyers"] {
        let ttl: i64 = sale.raw(&["TTL", &sale.key(part)]).await;
        assert!((3_500..=3_600).contains(&ttl), "{part} {ttl}");
    }

    sale.inventory.open(sale.id, EPOCH, &sale.installation.scripts, 1).await.unwrap();
    assert!(is_new_win(&sale.decide(&attempt("bob", 1)).await));
    for part in ["gate", "buyers", "outbox"] {
        assert_eq!(sale.raw::<i64>(&["TTL", &sale.key(part)]).await, -1, "{part}");
    }
    sale.check_books(5, 0, 1).await;
}

#[tokio::test]
async fn a_gate_reads_back_as_it_was_installed() {
    let sale = Sale::open(5).await;
    let nowhere = domain::Epoch(8);
    let gates = sale.inventory.gates(&[(sale.id, nowhere), (sale.id, EPOCH)]).await.unwrap();
    let [None, Some(gate)] = gates[..] else { panic!("{gates:?}") };
    assert_eq!((gate.epoch, gate.open, gate.stock, gate.rules), (EPOCH, true, 5, rules(ALWAYS)));
    assert!(sale.inventory.gates(&[]).await.unwrap().is_empty());
    sale.check_books(5, 0, 0).await;
}

#[tokio::test]
async fn a_gate_does_not_open_unless_all_its_buyers_are_there() {
    let sale = Sale::installed_at(&shared_inventory(), 5, ALWAYS).await;
    let buyers: Vec<(UserId, ReservationId)> =
        (0..1_000).map(|n| (user(&format!("user {n}")), reservation_id())).collect();
    for chunk in buyers.chunks(300) {
        sale.inventory.load_buyers(sale.id, EPOCH, chunk).await.unwrap();
    }
    sale.inventory.load_buyers(sale.id, EPOCH, &[]).await.unwrap();
    let result = sale.inventory.open(sale.id, EPOCH, &sale.installation.scripts, 1_001).await;
    assert!(matches!(result, Err(Error::Lost(Loss::Buyers { expected: 1_001, found: 1_000 }))), "{result:?}");
    assert!(!sale.snapshot().await.gate.open);
    sale.inventory.open(sale.id, EPOCH, &sale.installation.scripts, 1_000).await.unwrap();
    assert!(sale.snapshot().await.gate.open);
    sale.check_books(5, 0, 1_000).await;
}

#[tokio::test]
async fn opening_an_open_gate_again_changes_nothing_though_it_has_new_buyers() {
    let sale = Sale::open(5).await;
    assert!(is_new_win(&sale.decide(&attempt("ann", 1)).await));
    sale.inventory.open(sale.id, EPOCH, &sale.installation.scripts, 0).await.unwrap();
    sale.check_books(5, 0, 0).await;
}

#[tokio::test]
async fn a_closed_gate_opens_again_with_the_buyers_it_has() {
    let sale = Sale::open(5).await;
    assert!(is_new_win(&sale.decide(&attempt("ann", 1)).await));
    sale.close().await;
    sale.inventory.open(sale.id, EPOCH, &sale.installation.scripts, 1).await.unwrap();
    assert!(is_new_win(&sale.decide(&attempt("bob", 1)).await));
    sale.check_books(5, 0, 0).await;
}

#[tokio::test]
async fn a_gate_that_is_gone_neither_opens_nor_closes() {
    let sale = Sale::open(5).await;
    sale.inventory.remove(sale.id, EPOCH).await.unwrap();
    let scripts = &sale.installation.scripts;
    for result in
        [sale.inventory.open(sale.id, EPOCH, scripts, 0).await, sale.inventory.close(sale.id, EPOCH, scripts).await]
    {
        assert!(matches!(result, Err(Error::Lost(Loss::Gate))), "{result:?}");
    }
    assert_eq!(sale.raw::<i64>(&["EXISTS", &sale.key("gate")]).await, 0);
}

#[tokio::test]
async fn installing_an_epoch_again_starts_it_afresh() {
    let sale = Sale::open(5).await;
    assert!(is_new_win(&sale.decide(&attempt("ann", 1)).await));
    sale.adjust(&[(1, 1)]).await;
    let gate = inventory::NewGate { stock: 9, rules: rules(ALWAYS) };
    let installation = sale.inventory.install(sale.id, EPOCH, "another-nonce", &gate).await.unwrap();
    assert_ne!(installation.scripts, sale.installation.scripts);
    assert_eq!(installation.server, sale.installation.server);
    let snapshot = sale.inventory.snapshot(sale.id, EPOCH, &[1]).await.unwrap().unwrap();
    assert_eq!((snapshot.gate.open, snapshot.gate.stock, snapshot.buyers), (false, 9, 0));
    assert_eq!((snapshot.outbox.len(), snapshot.adjusted.len()), (0, 0));
    sale.check_books(9, 0, 0).await;
}

#[tokio::test]
async fn the_holder_of_a_reservation_is_known_while_the_gate_stands() {
    let sale = Sale::open(5).await;
    let ann = attempt("ann", 1);
    sale.decide(&ann).await;
    assert_eq!(sale.inventory.holder(sale.id, EPOCH, &ann.user_id).await.unwrap(), Some(ann.id));
    assert_eq!(sale.inventory.holder(sale.id, EPOCH, &user("bob")).await.unwrap(), None);
    sale.raw::<()>(&["HSET", &sale.key("buyers"), "bob", "damaged"]).await;
    assert!(matches!(sale.inventory.holder(sale.id, EPOCH, &user("bob")).await, Err(Error::Protocol(_))));
    sale.raw::<()>(&["HDEL", &sale.key("buyers"), "bob"]).await;
    let (inventory, id) = (sale.inventory.clone(), sale.id);
    sale.check_books(5, 0, 0).await;
    assert!(matches!(inventory.holder(id, EPOCH, &ann.user_id).await, Err(Error::Lost(Loss::Gate))));
}
