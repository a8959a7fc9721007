//! A database with one open sale, and the shortest ways to buy from it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::{
    Applied, Epoch, Installation, Quantity, Reservation, ReservationBatch, ReservationId, SaleId, Scripts,
    ServerIdentity, Terms,
};
use ledger::{Config, Ledger, LedgerBooks, NewSale};
use sqlx::PgConnection;
use testkit::database::Database;
use uuid::Uuid;

/// When every reservation of these tests was decided: Unix time, milliseconds.
pub(crate) const RESERVED_AT: i64 = 1_763_000_000_123;

pub(crate) struct Fixture {
    pub(crate) ledger: Ledger,
    pub(crate) database: Database,
    pub(crate) sale: SaleId,
}

impl Fixture {
    /// An open sale at epoch 1.
    pub(crate) async fn with_stock(total_stock: u32) -> Self {
        let database = Database::create().await;
        let ledger = Ledger::new(&config(&database.url)).unwrap();
        let sale = SaleId(Uuid::new_v4());
        ledger.create_sale(&new_sale(sale, total_stock)).await.unwrap();
        let fixture = Self { ledger, database, sale };
        fixture.rebuild().await;
        fixture
    }

    /// Raises the epoch and opens the sale again, as a reconciler does.
    pub(crate) async fn rebuild(&self) -> Epoch {
        let (epoch, token) = self.drain().await;
        self.ledger.settle_stock(self.sale, epoch, token).await.unwrap().unwrap();
        self.open(epoch, token).await;
        epoch
    }

    /// Raises the epoch and leaves the sale draining.
    pub(crate) async fn drain(&self) -> (Epoch, Uuid) {
        let seen = self.ledger.sale(self.sale).await.unwrap().unwrap().epoch;
        let token = Uuid::new_v4();
        (self.ledger.begin_drain(self.sale, seen, token).await.unwrap().unwrap(), token)
    }

    pub(crate) async fn open(&self, epoch: Epoch, token: Uuid) {
        let report = serde_json::json!({ "reason": "test" });
        assert!(self.ledger.open(self.sale, epoch, (token, 0), &installation(), &report).await.unwrap());
    }

    pub(crate) fn batch(&self, epoch: i64, reservations: &[Reservation]) -> ReservationBatch {
        ReservationBatch {
            sale_id: self.sale,
            epoch: Epoch(epoch),
            terms: terms(),
            reservations: reservations.to_vec(),
        }
    }

    /// Applies as a worker does and returns the outcomes, in order.
    pub(crate) async fn apply(&self, epoch: i64, reservations: &[Reservation]) -> Vec<Applied> {
        let applied = self.ledger.apply(&self.batch(epoch, reservations), None).await.unwrap();
        let ids: Vec<_> = reservations.iter().map(|reservation| reservation.id).collect();
        assert_eq!(applied.iter().map(|(id, _)| *id).collect::<Vec<_>>(), ids, "one outcome each, in order");
        applied.into_iter().map(|(_, outcome)| outcome).collect()
    }

    pub(crate) async fn books(&self) -> LedgerBooks {
        let locked = self.ledger.lock_books(self.sale).await.unwrap().unwrap();
        let books = locked.books.clone();
        locked.release().await.unwrap();
        books
    }

    /// `(delta, reason)` of every adjustment that is not applied.
    pub(crate) async fn adjustments(&self) -> Vec<(i32, String)> {
        self.books().await.pending.into_iter().map(|adjustment| (adjustment.delta, adjustment.reason)).collect()
    }

    pub(crate) async fn connect(&self) -> PgConnection {
        self.database.connect().await
    }

    /// Waits until a statement of the ledger waits for a lock.
    pub(crate) async fn until_someone_waits(&self, connection: &mut PgConnection) {
        let waits = async {
            let mut tick = tokio::time::interval(Duration::from_millis(5));
            loop {
                tick.tick().await;
                let waiting: bool = sqlx::query_scalar(
                    "SELECT EXISTS (SELECT FROM pg_stat_activity
                     WHERE datname = current_database() AND wait_event_type = 'Lock')",
                )
                .fetch_one(&mut *connection)
                .await
                .unwrap();
                if waiting {
                    return;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(5), waits).await.expect("a statement waits for the sale's row");
    }

    /// Every test ends here: the books must add up.
    pub(crate) async fn close(self) {
        let books = self.books().await;
        assert_eq!(books.sale.sold, books.active_units, "the counter is the sum of the orders");
        assert!(books.active_units <= books.sale.total_stock, "never oversold");
        assert_eq!(books.orders, books.distinct_users, "one order per user");
        self.ledger.close().await;
        self.database.drop_now().await;
    }
}

pub(crate) fn config(url: &str) -> Config {
    Config {
        url: url.into(),
        owner_url: "".into(),
        max_connections: 10,
        acquire_timeout_ms: 5_000,
        statement_timeout_ms: 10_000,
    }
}

pub(crate) fn new_sale(id: SaleId, total_stock: u32) -> NewSale {
    NewSale {
        id,
        name: "Sale".to_owned(),
        description: None,
        image_url: None,
        total_stock,
        terms: terms(),
        per_user_limit: Quantity::try_from(5).unwrap(),
        starts_at: instant(RESERVED_AT - 1_000),
        ends_at: instant(RESERVED_AT + 1_000),
        created_by: "test".to_owned(),
    }
}

pub(crate) fn instant(unix_ms: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(unix_ms).unwrap()
}

/// 19.99 EUR, no payment step.
pub(crate) fn terms() -> Terms {
    "1999 EUR 0".parse().unwrap()
}

pub(crate) fn installation() -> Installation {
    let sha = |digit: &str| digit.repeat(40);
    Installation {
        scripts: Scripts {
            reserve: sha("a"),
            adjust: sha("b"),
            open: sha("c"),
            close: sha("d"),
            configure: sha("e"),
            claim: sha("f"),
        },
        server: ServerIdentity { run_id: sha("e"), master_replid: sha("f") },
    }
}

/// One unit for `user`, under a new id.
pub(crate) fn one(user: &str) -> Reservation {
    units(user, 1)
}

pub(crate) fn units(user: &str, quantity: u32) -> Reservation {
    Reservation {
        id: ReservationId(Uuid::new_v4()),
        user_id: user.parse().unwrap(),
        quantity: Quantity::try_from(quantity).unwrap(),
        reserved_at: RESERVED_AT,
        outbox_id: None,
    }
}

/// A reservation that no table accepts: it was made in a year that PostgreSQL does not know.
pub(crate) fn unacceptable(user: &str) -> Reservation {
    Reservation { reserved_at: i64::MAX, ..one(user) }
}
