//! An open sale with an API before it, and the shortest ways to meddle with it.

use std::time::Duration;

use broker::Drain;
use domain::{Quantity, Reservation, ReservationBatch, ReservationId, SaleId, UserId};
use inventory::{Attempt, Decision, Inventory};
use ledger::{NewSale, Sale};
use serde_json::Value;
use testkit::{Api, Stack, Told, buy_one_by_one, new_sale, rush};
use uuid::Uuid;

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A system with one open sale.
pub(crate) struct Shop {
    pub(crate) stack: Stack,
    pub(crate) api: Api,
    pub(crate) sale: SaleId,
}

impl Shop {
    /// An open sale of `stock` units, that nobody persists or keeps yet.
    pub(crate) async fn open(stock: u32) -> Self {
        Self::on(Stack::new().await, &new_sale(stock)).await
    }

    /// With this sale, in a system that was made already.
    pub(crate) async fn on(stack: Stack, sale: &NewSale) -> Self {
        let sale = stack.create(sale).await;
        stack.reconcile().await;
        let api = stack.api().await;
        Self { stack, api, sale }
    }

    pub(crate) async fn row(&self) -> Sale {
        self.stack.sale(self.sale).await
    }

    /// Buyers `0..count` buy, many at once.
    pub(crate) async fn rush(&self, count: usize) -> Told {
        rush(&self.api.client, self.sale, "buyer", 0..count).await
    }

    /// Buyers `0..count` buy one after the other: each reservation gets a message of its own.
    pub(crate) async fn buy_one_by_one(&self, count: usize) -> Vec<(String, String)> {
        buy_one_by_one(&self.api.client, self.sale, count).await
    }

    /// Waits until the books are settled; every one of `promised` has its order then. Returns the books.
    pub(crate) async fn settled(&self, promised: &[(String, String)]) -> Value {
        let verified = self.stack.settled(&self.api.client, self.sale).await;
        assert_eq!(self.stack.lost(self.sale, promised).await, [""; 0], "every SUCCESS has its order");
        verified.body["books"].clone()
    }

    /// Deletes the queue of the present epoch, with whatever it holds.
    pub(crate) async fn delete_queue(&self) {
        let drain = self.lock().await;
        drain.delete(self.row().await.epoch).await.unwrap();
        drain.release().await;
    }

    /// Takes the binding off the present epoch's queue.
    pub(crate) async fn unbind_queue(&self) {
        let drain = self.lock().await;
        drain.unbind(self.row().await.epoch).await.unwrap();
        drain.release().await;
    }

    /// Throws away every message of the present epoch's queue.
    pub(crate) async fn purge_queue(&self) {
        let (drain, epoch) = (self.lock().await, self.row().await.epoch);
        while let Some(message) = drain.get(epoch).await.unwrap() {
            drain.ack(message.tag).await.unwrap();
        }
        drain.release().await;
    }

    async fn lock(&self) -> Drain {
        self.stack.lock_queue(self.sale).await
    }

    /// Deletes the keys of the present epoch.
    pub(crate) async fn delete_keys(&self) {
        self.inventory().remove(self.sale, self.row().await.epoch).await.unwrap();
    }

    pub(crate) fn inventory(&self) -> Inventory {
        Inventory::new(&self.stack.settings().redis).unwrap()
    }

    /// Reserves a unit as the API does, and publishes nothing: the API died in between.
    pub(crate) async fn reserve_unpublished(&self, user: &str) -> ReservationBatch {
        let row = self.row().await;
        let scripts = row.installation.unwrap().scripts;
        let (id, user_id): (_, UserId) = (ReservationId(Uuid::new_v4()), user.parse().unwrap());
        let attempt = Attempt { user_id: user_id.clone(), id, quantity: Quantity::ONE, address: None };
        let reserved = self.inventory().reserve(self.sale, row.epoch, &scripts, &[attempt]).await.unwrap();
        let Decision::Won { outbox_id } = reserved.decisions[0].clone() else { panic!("{reserved:?}") };
        let reserved_at = inventory::reserved_at(outbox_id.as_deref().unwrap()).unwrap();
        let reservation = Reservation { id, user_id, quantity: Quantity::ONE, reserved_at, outbox_id };
        ReservationBatch {
            sale_id: self.sale,
            epoch: row.epoch,
            terms: reserved.terms,
            reservations: vec![reservation],
        }
    }
}

/// The backend that waits for a lock.
pub(crate) async fn waiting_for_a_lock(stack: &Stack) -> Option<i32> {
    let mut connection = stack.database.connect().await;
    sqlx::query_scalar(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
    )
    .fetch_optional(&mut connection)
    .await
    .unwrap()
}
