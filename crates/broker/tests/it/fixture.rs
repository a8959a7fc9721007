//! What every test starts from.

use std::time::Duration;

use broker::{Config, Drain, Publisher, Status};
use domain::{Epoch, Quantity, Reservation, ReservationBatch, ReservationId, SaleId, Terms};
use uuid::Uuid;

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The epoch most tests use.
pub(crate) const EPOCH: Epoch = Epoch(7);

/// The URL of the server under test.
pub(crate) fn url() -> String {
    std::env::var("FLASHSALE_TEST_AMQP_URL").expect("FLASHSALE_TEST_AMQP_URL names a RabbitMQ server for tests")
}

/// A configuration for the server under test.
pub(crate) fn config() -> Config {
    config_for(&url())
}

/// A configuration for a server at `url`.
pub(crate) fn config_for(url: &str) -> Config {
    Config {
        url: url.to_owned().into(),
        heartbeat_seconds: 10,
        connect_timeout_ms: 5_000,
        confirm_timeout_ms: 10_000,
        max_unconfirmed: 8,
        delivery_limit: 1_000_000,
        queue_settle_ms: 0,
        prefetch: 10,
    }
}

/// A sale no other test knows.
pub(crate) fn new_sale() -> SaleId {
    SaleId(Uuid::new_v4())
}

/// A sale whose queue of [`EPOCH`] is declared, and the drain that did it.
pub(crate) async fn sale_with_queue() -> (SaleId, Drain) {
    let sale = new_sale();
    let drain = Drain::lock(&config(), sale).await.unwrap().expect("nobody else knows this sale");
    drain.declare(EPOCH).await.unwrap();
    (sale, drain)
}

/// Ends a test: the queue goes, whatever it holds.
pub(crate) async fn tidy(drain: Drain) {
    drain.delete(EPOCH).await.unwrap();
    drain.release().await;
}

/// A batch of one reservation by `user`, of [`EPOCH`].
pub(crate) fn batch(sale: SaleId, user: &str) -> ReservationBatch {
    let reservation = Reservation {
        id: ReservationId(Uuid::new_v4()),
        user_id: user.parse().unwrap(),
        quantity: Quantity::ONE,
        reserved_at: 1_763_683_200_000,
        outbox_id: Some("1763683200000-0".to_owned()),
    };
    let terms = Terms { unit_price_minor: 1_999, currency: "EUR".parse().unwrap(), hold_seconds: 600 };
    ReservationBatch { sale_id: sale, epoch: EPOCH, terms, reservations: vec![reservation] }
}

/// A publisher that is connected.
pub(crate) async fn connected(config: &Config) -> Publisher {
    let publisher = Publisher::start(config);
    eventually("the publisher is connected", async || publisher.status() == Status::Connected).await;
    publisher
}

/// Puts a batch of one reservation per user into the queue of [`EPOCH`], in this order.
pub(crate) async fn publish_all(sale: SaleId, users: &[&str]) {
    let publisher = connected(&config()).await;
    for user in users {
        publisher.publish(&batch(sale, user)).await.unwrap();
    }
    publisher.close().await;
}

/// Waits, bounded, until `condition` holds.
pub(crate) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let poll = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        while !condition().await {
            ticks.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, poll).await.unwrap_or_else(|_| panic!("did not come true in time: {what}"));
}

/// Waits, bounded, for a future.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("did not happen in time: {what}"))
}
