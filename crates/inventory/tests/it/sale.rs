//! A sale of the test's own: installed, opened, and checked at the end.

use domain::{Epoch, Installation, Quantity, ReservationId, Rules, SaleId, Terms, UserId, Window};
use inventory::{Attempt, Config, Decision, Inventory, NewGate, Probe, Reserved, Snapshot};
use uuid::Uuid;

/// A window that holds every present moment.
pub(crate) const ALWAYS: Window = Window { starts_ms: 0, ends_ms: i64::MAX / 1_000_000 };
/// The terms of every sale here.
pub(crate) const TERMS: &str = "1999 EUR 600";
/// The epoch of every sale here.
pub(crate) const EPOCH: Epoch = Epoch(7);

pub(crate) struct Sale {
    pub(crate) inventory: Inventory,
    pub(crate) id: SaleId,
    pub(crate) installation: Installation,
}

impl Sale {
    /// An open sale of so many units on the shared Redis.
    pub(crate) async fn open(stock: i64) -> Self {
        Self::open_at(&shared_inventory(), stock, ALWAYS).await
    }

    pub(crate) async fn open_at(inventory: &Inventory, stock: i64, window: Window) -> Self {
        let sale = Self::installed_at(inventory, stock, window).await;
        sale.inventory.open(sale.id, EPOCH, &sale.installation.scripts, 0).await.unwrap();
        sale
    }

    /// A sale whose gate is written but closed.
    pub(crate) async fn installed_at(inventory: &Inventory, stock: i64, window: Window) -> Self {
        let id = SaleId(Uuid::new_v4());
        let gate = NewGate { stock, rules: rules(window) };
        let installation = inventory.install(id, EPOCH, &Uuid::new_v4().to_string(), &gate).await.unwrap();
        Self { inventory: inventory.clone(), id, installation }
    }

    pub(crate) async fn reserve(&self, attempts: &[Attempt]) -> Reserved {
        self.try_reserve(attempts).await.unwrap()
    }

    pub(crate) async fn try_reserve(&self, attempts: &[Attempt]) -> Result<Reserved, inventory::Error> {
        self.inventory.reserve(self.id, EPOCH, &self.installation.scripts, attempts).await
    }

    /// Decides one attempt.
    pub(crate) async fn decide(&self, attempt: &Attempt) -> Decision {
        self.reserve(std::slice::from_ref(attempt)).await.decisions.remove(0)
    }

    pub(crate) async fn adjust(&self, adjustments: &[(i64, i64)]) -> i64 {
        self.inventory.adjust(self.id, EPOCH, &self.installation.scripts, adjustments).await.unwrap()
    }

    pub(crate) async fn claim(&self, id: i64, units: i64) -> bool {
        self.inventory.claim(self.id, EPOCH, &self.installation.scripts, id, units).await.unwrap()
    }

    pub(crate) async fn configure(&self, rules: &Rules) -> i64 {
        self.inventory.configure(self.id, EPOCH, &self.installation.scripts, rules).await.unwrap()
    }

    pub(crate) async fn close(&self) {
        self.inventory.close(self.id, EPOCH, &self.installation.scripts).await.unwrap();
    }

    pub(crate) async fn snapshot(&self) -> Snapshot {
        self.inventory.snapshot(self.id, EPOCH, &[]).await.unwrap().expect("the gate stands")
    }

    /// Redis's clock.
    pub(crate) async fn now_ms(&self) -> i64 {
        self.inventory.probe(self.id, EPOCH, &self.installation).await.unwrap().now_ms
    }

    /// The name of one of the sale's keys.
    pub(crate) fn key(&self, part: &str) -> String {
        format!("sale:{{{}}}:{EPOCH}:{part}", self.id)
    }

    /// A command of the test's own to the shared Redis, as its operator.
    pub(crate) async fn raw<T: redis::FromRedisValue>(&self, command: &[&str]) -> T {
        let url = std::env::var("FLASHSALE_TEST_REDIS_OPERATOR_URL").unwrap();
        raw(&url, command).await
    }

    /// The end of every test: available + in flight + settled = total, one outbox entry per buyer who is not settled,
    /// and the sale is gone. `settled` and `settled_buyers` are what the test took out of the outbox.
    pub(crate) async fn check_books(self, total: i64, settled: i64, settled_buyers: u64) {
        let books = self.snapshot().await;
        let in_flight: i64 = books.outbox.iter().map(|entry| i64::from(entry.reservation.quantity.get())).sum();
        assert_eq!(books.gate.stock + in_flight + settled, total, "{books:?}");
        assert_eq!(books.outbox.len() as u64 + settled_buyers, books.buyers, "{books:?}");
        self.inventory.remove(self.id, EPOCH).await.unwrap();
        assert_eq!(self.inventory.snapshot(self.id, EPOCH, &[]).await.unwrap(), None);
    }
}

pub(crate) fn shared_url() -> String {
    std::env::var("FLASHSALE_TEST_REDIS_URL").expect("FLASHSALE_TEST_REDIS_URL names a Redis to test with")
}

pub(crate) fn shared_inventory() -> Inventory {
    Inventory::new(&config(&shared_url())).unwrap()
}

pub(crate) fn config(url: &str) -> Config {
    Config { url: url.into(), connect_timeout_ms: 2_000, response_timeout_ms: 5_000, outbox_limit: 10_000 }
}

/// One command over a connection of its own.
pub(crate) async fn raw<T: redis::FromRedisValue>(url: &str, command: &[&str]) -> T {
    let client = redis::Client::open(url).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    redis::cmd(command[0]).arg(&command[1..]).query_async(&mut connection).await.unwrap()
}

/// The clock of the shared Redis.
pub(crate) async fn redis_now_ms() -> i64 {
    i64::try_from(redis_now_us().await / 1_000).unwrap()
}

/// The same in microseconds.
pub(crate) async fn redis_now_us() -> u64 {
    let (seconds, micros): (u64, u64) = raw(&shared_url(), &["TIME"]).await;
    seconds * 1_000_000 + micros
}

/// Rules that let anyone buy any quantity within `window`.
pub(crate) fn rules(window: Window) -> Rules {
    let limit = Quantity::try_from(Quantity::MAX).unwrap();
    Rules { window, terms: terms(), limit, halted: None, revision: 0 }
}

pub(crate) fn terms() -> Terms {
    TERMS.parse().unwrap()
}

pub(crate) fn user(name: &str) -> UserId {
    name.parse().unwrap()
}

pub(crate) fn reservation_id() -> ReservationId {
    ReservationId::new_v7(1_700_000_000_000, &rand::random())
}

/// An attempt with an id of its own.
pub(crate) fn attempt(name: &str, units: u32) -> Attempt {
    Attempt { user_id: user(name), id: reservation_id(), quantity: Quantity::try_from(units).unwrap(), address: None }
}

/// Whether the attempt won and its outbox entry is known.
pub(crate) fn is_new_win(decision: &Decision) -> bool {
    matches!(decision, Decision::Won { outbox_id: Some(_) })
}

/// Whether the epoch stands as it was installed and opened. Script and gate alone do not tell: after a failback the old
/// server still has its scripts, and an older gate, but another `master_replid`.
pub(crate) fn is_intact(probe: &Probe, epoch: Epoch, installation: &Installation) -> bool {
    probe.gate.is_some_and(|gate| gate.epoch == epoch && gate.open)
        && probe.scripts_present
        && probe.server == installation.server
}
