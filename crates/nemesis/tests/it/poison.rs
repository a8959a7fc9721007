//! Row 8: messages that can never become an order, among good ones.

use broker::{MAX_BODY_BYTES, MAX_RESERVATIONS};
use domain::{Epoch, Quantity, Reservation, ReservationBatch, ReservationId, SaleId, UserId};
use inventory::{Attempt, Decision, Inventory};
use lapin::BasicProperties;
use testkit::{Outcome, Own, Pace, Scene, until};
use uuid::Uuid;

use crate::PATIENCE;
use crate::broker::{STOCK, everybody_was_answered};
use crate::messages::Meddler;

/// Good messages between two bad ones, at least.
const GOOD_BETWEEN: usize = 20;

/// Reserves a unit as the API does, and publishes nothing: the batch that its message would have carried.
async fn reserve(scene: &Scene, user: &str) -> ReservationBatch {
    let row = scene.stack.sale(scene.sale).await;
    let scripts = row.installation.expect("the sale is open").scripts;
    let inventory = Inventory::new(&scene.stack.settings().redis).unwrap();
    let (id, user_id): (_, UserId) = (ReservationId(Uuid::new_v4()), user.parse().unwrap());
    let attempt = Attempt { user_id: user_id.clone(), id, quantity: Quantity::ONE, address: None };
    let reserved = inventory.reserve(scene.sale, row.epoch, &scripts, &[attempt]).await.unwrap();
    let Decision::Won { outbox_id } = reserved.decisions[0].clone() else { panic!("{reserved:?}") };
    let reserved_at = inventory::reserved_at(outbox_id.as_deref().unwrap()).unwrap();
    let reservation = Reservation { id, user_id, quantity: Quantity::ONE, reserved_at, outbox_id };
    ReservationBatch { sale_id: scene.sale, epoch: row.epoch, terms: reserved.terms, reservations: vec![reservation] }
}

/// Bodies that no worker can read, whatever it does: all but the first few are of this reservation, and damaged.
fn unreadable(good: &ReservationBatch, other_sale: SaleId) -> Vec<Vec<u8>> {
    let text = String::from_utf8(broker::encode(good)).unwrap();
    let user = good.reservations[0].user_id.as_str();
    let with = |from: &str, to: &str| {
        assert!(text.contains(from), "{text} has no {from}");
        text.replacen(from, to, 1).into_bytes()
    };
    let of_sale = |sale_id| broker::encode(&ReservationBatch { sale_id, ..good.clone() });
    let of = |reservations| broker::encode(&ReservationBatch { reservations, ..good.clone() });
    vec![
        vec![],
        b"{".to_vec(),
        vec![0xff; 16],
        b"{}".to_vec(),
        br#"{"v": 1, "saleId": 7, "epoch": "one", "reservations": {}}"#.to_vec(),
        vec![b' '; MAX_BODY_BYTES + 1],
        vec![b'['; MAX_BODY_BYTES],
        text.as_bytes()[..text.len() - 1].to_vec(),
        with(r#""v":1"#, r#""v":2"#),
        with(r#""quantity":1"#, r#""quantity":0"#),
        with(r#""quantity":1"#, r#""quantity":-1"#),
        with(r#""quantity":1"#, r#""quantity":1e300"#),
        with(r#""quantity":1"#, r#""quantity":"1""#),
        with(&format!(r#""userId":"{user}""#), r#""userId":"""#),
        with(r#""reservedAt":"#, r#""reservedAt":9"#).repeat(2),
        with(r#""outboxId":""#, r#""outboxId":"-"#),
        of_sale(SaleId(Uuid::new_v4())),
        of_sale(other_sale),
        broker::encode(&ReservationBatch { epoch: Epoch(good.epoch.0 + 1), ..good.clone() }),
        of(vec![]),
        of(vec![good.reservations[0].clone(); MAX_RESERVATIONS + 1]),
    ]
}

/// How many dead letters there are, and of how many reservations.
async fn dead_letters(scene: &Scene) -> (i64, i64) {
    sqlx::query_as("SELECT count(*), count(reservation_id) FROM dead_letters WHERE reason <> ''")
        .fetch_one(&mut scene.stack.database.connect().await)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_08_bad_messages_among_good_ones_become_dead_letters_and_hold_nothing_up() {
    let scene = Scene::open(Own::NONE, STOCK).await;
    let other_sale = scene.stack.create_sale(1).await;
    let load = scene.load(Pace::default());
    let history = load.history().clone();
    let meddler = Meddler::at(&scene).await;

    // A reservation whose every message is damaged. Its outbox entry is not, so it becomes an order all the same.
    let began = history.now();
    let damaged = reserve(&scene, "the buyer of damaged messages").await;
    history.record(damaged.reservations[0].user_id.as_str(), began, Outcome::Unknown);
    let bad = unreadable(&damaged, other_sale);
    for body in &bad {
        load.until_promised(history.promised() + GOOD_BETWEEN).await;
        meddler.publish(body, BasicProperties::default()).await;
    }
    // One that can be read and that PostgreSQL refuses: a point in time that no timestamp holds.
    let mut impossible = reserve(&scene, "the buyer from the end of time").await;
    impossible.reservations[0].reserved_at = i64::MAX;
    meddler.publish(&broker::encode(&impossible), BasicProperties::default()).await;

    let expected = (i64::try_from(bad.len()).unwrap() + 1, 1);
    let buried = async || (dead_letters(&scene).await == expected).then_some(());
    until("every bad message is a dead letter", PATIENCE, buried).await;
    load.until_it_sells_again().await;
    load.until_sold_out().await;
    scene.stack.settled(scene.client(), scene.sale).await;
    assert_eq!(dead_letters(&scene).await, expected, "one for each, and none of the good ones");
    let order = scene.stack.ledger.order_of(scene.sale, &damaged.reservations[0].user_id).await.unwrap();
    assert_eq!(order.map(|order| order.id), Some(damaged.reservations[0].id), "the sweep has published it anew");
    let judgement = scene.close(load).await;
    assert_eq!(judgement.books["books"]["deadLetters"], 1, "the unit of the refused reservation is withheld");
    assert_eq!(judgement.sold, i64::from(STOCK) - 1, "not one less");
    everybody_was_answered(&history);
}
