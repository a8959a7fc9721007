//! Messages that can never become an order, among good ones: the good ones all become orders, the bad ones dead
//! letters, and the queue empties.

use broker::{EXCHANGE, MAX_BODY_BYTES, routing_key};
use domain::{Epoch, ReservationBatch, SaleId};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use testkit::until;
use uuid::Uuid;

use crate::fixture::{PATIENCE, Shop};

/// Bodies that no worker can read, whatever it does.
fn unreadable(good: &ReservationBatch) -> Vec<Vec<u8>> {
    let other_sale = ReservationBatch { sale_id: SaleId(Uuid::new_v4()), ..good.clone() };
    let other_epoch = ReservationBatch { epoch: Epoch(good.epoch.0 + 1), ..good.clone() };
    let empty = ReservationBatch { reservations: vec![], ..good.clone() };
    let text = String::from_utf8(broker::encode(good)).unwrap();
    vec![
        b"{".to_vec(),
        vec![0xff; 16],
        b"{}".to_vec(),
        br#"{"v": 1, "saleId": 7, "epoch": "one", "reservations": {}}"#.to_vec(),
        text.replace(r#""v":1"#, r#""v":2"#).into_bytes(),
        text.replace(r#""quantity":1"#, r#""quantity":0"#).into_bytes(),
        text.replace(r#""quantity":1"#, r#""quantity":"1""#).into_bytes(),
        broker::encode(&other_sale),
        broker::encode(&other_epoch),
        broker::encode(&empty),
        vec![b' '; MAX_BODY_BYTES + 1],
    ]
}

async fn channel(url: &str) -> (Connection, Channel) {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    (connection, channel)
}

async fn dead_letters(shop: &Shop) -> i64 {
    let mut connection = shop.stack.database.connect().await;
    sqlx::query_scalar("SELECT count(*) FROM dead_letters").fetch_one(&mut connection).await.unwrap()
}

#[tokio::test]
async fn poison_among_good_messages_goes_to_the_dead_letters_and_holds_nothing_up() {
    let shop = Shop::open(50).await;
    let good = shop.reserve_unpublished("refused by nobody").await;
    let (_connection, channel) = channel(&std::env::var("FLASHSALE_TEST_AMQP_URL").unwrap()).await;
    let bad = unreadable(&good);
    let mut promised = Vec::new();
    for (number, body) in bad.iter().chain([&broker::encode(&good)]).enumerate() {
        let user = format!("buyer-{number}");
        let answer = shop.api.client.purchase(shop.sale, &user).await;
        promised.push((user, answer.order_id().unwrap().to_owned()));
        let key = routing_key(shop.sale, good.epoch).into();
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        let publish = channel.basic_publish(EXCHANGE.into(), key, options, body, BasicProperties::default());
        publish.await.unwrap().await.unwrap();
    }
    let (_persister, _keeper) = (shop.stack.persister(), shop.stack.keeper());
    let reservation = &good.reservations[0];
    promised.push((reservation.user_id.to_string(), reservation.id.to_string()));
    let books = shop.settled(&promised).await;
    assert_eq!(books["sold"], promised.len());
    assert_eq!(dead_letters(&shop).await, i64::try_from(bad.len()).unwrap(), "one for each bad message");
}

#[tokio::test]
async fn a_reservation_that_postgresql_refuses_is_buried_alone_and_its_unit_withheld() {
    let shop = Shop::open(10).await;
    let mut batch = shop.reserve_unpublished("before").await;
    let mut impossible = shop.reserve_unpublished("the impossible one").await.reservations.remove(0);
    // A point in time that no timestamp holds.
    impossible.reserved_at = i64::MAX;
    batch.reservations.push(impossible);
    batch.reservations.extend(shop.reserve_unpublished("after").await.reservations);
    let publisher = broker::Publisher::start(&shop.stack.settings().rabbitmq);
    until("the publisher is ready", PATIENCE, async || publisher.is_ready().then_some(())).await;
    publisher.publish(&batch).await.unwrap();

    let (_persister, _keeper) = (shop.stack.persister(), shop.stack.keeper());
    let order = |index: usize| {
        let reservation = &batch.reservations[index];
        (reservation.user_id.to_string(), reservation.id.to_string())
    };
    let books = shop.settled(&[order(0), order(2)]).await;
    assert_eq!((&books["sold"], &books["deadLetters"], &books["available"]), (&2.into(), &1.into(), &7.into()));
    assert_eq!(dead_letters(&shop).await, 1);
}
