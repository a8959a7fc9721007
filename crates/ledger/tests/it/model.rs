//! Random sequences of operations, judged by a model of the SQL that is simple enough to believe.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use domain::{Applied, Epoch, Quantity, Reservation, ReservationBatch, ReservationId, SaleId, SaleState, UserId};
use ledger::{DeadLetter, Ledger};
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use uuid::Uuid;

use crate::fixture::{Fixture, RESERVED_AT, installation, new_sale, terms};

/// Few buyers with several reservations each: second orders are frequent.
const BUYERS: u8 = 6;
const RESERVATIONS: u8 = 18;

/// Whose word counts: a worker has no token, a reconciler may have been overtaken.
#[derive(Clone, Copy, Debug)]
enum By {
    Worker,
    Reconciler,
    Overtaken,
}

#[derive(Clone, Debug)]
enum Operation {
    /// Reservations, so many epochs late.
    Apply(By, i64, Vec<u8>),
    /// A reservation, so many epochs late.
    Bury(i64, u8),
    BeginDrain,
    /// With an epoch that is not the sale's any more.
    BeginDrainLate,
    Settle(By),
    Reset(By),
    Open(By),
    /// Applies what the gate still lacks.
    Adjust,
}

fn operation() -> impl Strategy<Value = Operation> {
    let by = || prop_oneof![8 => Just(By::Worker), 4 => Just(By::Reconciler), 1 => Just(By::Overtaken)];
    let reconciler = || prop_oneof![6 => Just(By::Reconciler), 1 => Just(By::Overtaken)];
    let late = || prop_oneof![4 => Just(0), 2 => Just(1), 1 => Just(2)];
    prop_oneof![
        12 => (by(), late(), prop::collection::vec(0..RESERVATIONS, 1..6)).prop_map(|(by, late, ids)| Operation::Apply(by, late, ids)),
        2 => (late(), 0..RESERVATIONS).prop_map(|(late, id)| Operation::Bury(late, id)),
        3 => Just(Operation::BeginDrain),
        1 => Just(Operation::BeginDrainLate),
        3 => reconciler().prop_map(Operation::Settle),
        1 => reconciler().prop_map(Operation::Reset),
        4 => reconciler().prop_map(Operation::Open),
        3 => Just(Operation::Adjust),
    ]
}

fn buyer(id: u8) -> u8 {
    id % BUYERS
}

fn units(id: u8) -> i64 {
    1 + i64::from(id / BUYERS)
}

/// A row of `stock_adjustments`.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Row {
    id: u8,
    epoch: i64,
    delta: i64,
    reason: &'static str,
    applied: bool,
}

/// The sale as it must be.
#[derive(Default)]
struct Model {
    total: i64,
    epoch: i64,
    valid_from: i64,
    draining: bool,
    /// Reservations with an order, and whether it is active; the others are refused.
    orders: BTreeMap<u8, bool>,
    rows: Vec<Row>,
    /// Buried reservations and the epochs of their letters.
    letters: BTreeMap<u8, i64>,
}

impl Model {
    fn sold(&self) -> i64 {
        self.orders.iter().filter(|(_, active)| **active).map(|(id, _)| units(*id)).sum()
    }

    fn may_write(&self, by: By) -> bool {
        match by {
            By::Worker => !self.draining,
            By::Reconciler => self.draining,
            By::Overtaken => false,
        }
    }

    /// One after another, as if each came alone; only that who comes after one for whom there is no room gets none.
    fn apply(&mut self, by: By, epoch: i64, ids: &[u8]) -> Vec<Applied> {
        if epoch < self.valid_from {
            return vec![Applied::Stale; ids.len()];
        } else if !self.may_write(by) {
            return vec![Applied::Fenced; ids.len()];
        }
        let late = epoch < self.epoch && matches!(by, By::Worker);
        let mut room = self.total - self.sold();
        let mut seen = BTreeSet::new();
        let decide = |&id: &u8| {
            let is_first = seen.insert(id);
            let has_order = self.orders.keys().any(|&other| buyer(other) == buyer(id));
            if self.orders.contains_key(&id) || !is_first {
                return Applied::Duplicate;
            } else if has_order {
                if epoch == self.epoch {
                    self.book(id, units(id), "second_order");
                }
                return Applied::UserHasOrder;
            }
            room -= units(id);
            self.orders.insert(id, room >= 0);
            if room < 0 {
                return Applied::NoStock;
            }
            if late && !self.letters.contains_key(&id) {
                self.book(id, -units(id), "late_epoch");
            }
            Applied::Inserted
        };
        ids.iter().map(decide).collect()
    }

    fn book(&mut self, id: u8, delta: i64, reason: &'static str) {
        if !self.rows.iter().any(|row| (row.id, row.reason) == (id, reason)) {
            self.rows.push(Row { id, epoch: self.epoch, delta, reason, applied: false });
        }
    }

    fn bury(&mut self, epoch: i64, id: u8) {
        if self.letters.contains_key(&id) {
            return;
        }
        self.letters.insert(id, epoch);
        if (self.valid_from..self.epoch).contains(&epoch) && !self.orders.contains_key(&id) {
            self.book(id, -units(id), "late_epoch");
        }
    }

    /// Buried reservations whose units nobody has.
    fn withheld_units(&self) -> i64 {
        let given_back = |id| self.rows.iter().any(|row| (row.id, row.reason) == (id, "second_order"));
        let withheld = self.valid_letters().filter(|id| !self.orders.contains_key(id) && !given_back(*id));
        withheld.map(units).sum()
    }

    fn withheld_buyers(&self) -> BTreeSet<u8> {
        let has_order: BTreeSet<u8> = self.orders.keys().map(|id| buyer(*id)).collect();
        self.valid_letters().map(buyer).filter(|buyer| !has_order.contains(buyer)).collect()
    }

    fn valid_letters(&self) -> impl Iterator<Item = u8> {
        self.letters.iter().filter(|(_, epoch)| **epoch >= self.valid_from).map(|(id, _)| *id)
    }

    /// The stock and the number of buyers.
    fn settle(&mut self) -> (i64, usize) {
        self.rows.iter_mut().for_each(|row| row.applied = true);
        let stock = self.total - self.sold() - self.withheld_units();
        (stock, self.orders.len() + self.withheld_buyers().len())
    }

    fn reset(&mut self) -> (i64, usize) {
        *self =
            Self { total: self.total, epoch: self.epoch, valid_from: self.epoch, draining: true, ..Self::default() };
        (self.total, 0)
    }

    fn known(&self) -> HashSet<u8> {
        let given_back = self.rows.iter().filter(|row| row.reason == "second_order").map(|row| row.id);
        self.orders.keys().chain(self.letters.keys()).copied().chain(given_back).collect()
    }

    fn pending(&self) -> Vec<(i64, i64, String)> {
        let pending = self.rows.iter().filter(|row| !row.applied);
        let mut pending: Vec<_> = pending.map(|row| (row.epoch, row.delta, row.reason.to_owned())).collect();
        pending.sort();
        pending
    }
}

/// The sale as it is.
struct Real<'a> {
    ledger: &'a Ledger,
    sale: SaleId,
    /// Makes the reservations of one sequence different from those of another.
    salt: u64,
    /// The last drain, and the one before it.
    drain: (Epoch, Uuid),
    overtaken: (Epoch, Uuid),
}

impl Real<'_> {
    fn id(&self, id: u8) -> ReservationId {
        ReservationId(Uuid::from_u64_pair(self.salt, id.into()))
    }

    fn user(id: u8) -> UserId {
        buyer(id).to_string().parse().unwrap()
    }

    fn reservation(&self, id: u8) -> Reservation {
        let quantity = Quantity::try_from(u32::try_from(units(id)).unwrap()).unwrap();
        Reservation { id: self.id(id), user_id: Self::user(id), quantity, reserved_at: RESERVED_AT, outbox_id: None }
    }

    fn of(&self, by: By) -> (Epoch, Uuid) {
        if matches!(by, By::Overtaken) { self.overtaken } else { self.drain }
    }

    async fn begin_drain(&mut self, seen: i64) -> bool {
        let token = Uuid::new_v4();
        let Some(epoch) = self.ledger.begin_drain(self.sale, Epoch(seen), token).await.unwrap() else { return false };
        self.overtaken = std::mem::replace(&mut self.drain, (epoch, token));
        true
    }

    async fn apply(&self, by: By, epoch: i64, ids: &[u8]) -> Vec<Applied> {
        let reservations = ids.iter().map(|id| self.reservation(*id)).collect();
        let batch = ReservationBatch { sale_id: self.sale, epoch: Epoch(epoch), terms: terms(), reservations };
        let token = (!matches!(by, By::Worker)).then(|| self.of(by).1);
        let applied = self.ledger.apply(&batch, token).await.unwrap();
        applied.into_iter().map(|(_, outcome)| outcome).collect()
    }

    async fn bury(&self, epoch: i64, id: u8) {
        let letter = DeadLetter {
            reservation: Some(self.reservation(id)),
            ..DeadLetter::unreadable(self.sale, Epoch(epoch), "test".to_owned(), Vec::new())
        };
        self.ledger.bury(&letter).await.unwrap();
    }

    async fn settle(&self, by: By, reset: bool) -> Option<(i64, usize)> {
        let (epoch, token) = self.of(by);
        let settled = if reset {
            self.ledger.reset(self.sale, epoch, token, "test").await
        } else {
            self.ledger.settle_stock(self.sale, epoch, token).await
        };
        settled.unwrap().map(|settled| (settled.stock, usize::try_from(settled.buyers).unwrap()))
    }

    async fn open(&self, by: By) -> bool {
        let (epoch, token) = self.of(by);
        self.ledger.open(self.sale, epoch, token, &installation(), &serde_json::json!({})).await.unwrap()
    }

    /// Marks every pending adjustment as applied; none while a reconciler may still count them.
    async fn adjust(&self, model: &mut Model) {
        let pending = self.ledger.pending_adjustments(self.sale).await.unwrap();
        let due = |row: &&mut Row| !model.draining && !row.applied && row.epoch == model.epoch;
        assert_eq!(pending.len(), model.rows.iter_mut().filter(due).map(|row| row.applied = true).count());
        self.ledger.mark_applied(&pending.iter().map(|row| row.id).collect::<Vec<_>>()).await.unwrap();
    }

    /// Compares all there is.
    async fn check(&self, model: &Model) {
        let mut locked = self.ledger.lock_books(self.sale).await.unwrap().unwrap();
        let all: Vec<ReservationId> = (0..RESERVATIONS).map(|id| self.id(id)).collect();
        let known = locked.known(&all).await.unwrap();
        let books = locked.books.clone();
        locked.release().await.unwrap();

        assert_eq!(known, model.known().into_iter().map(|id| self.id(id)).collect());
        let state = if model.draining { SaleState::Draining } else { SaleState::Open };
        let sale = &books.sale;
        assert_eq!((sale.state, sale.epoch.0, sale.valid_from_epoch.0), (state, model.epoch, model.valid_from));
        assert_eq!((sale.sold, books.active_units), (model.sold(), model.sold()));
        let refused = model.orders.values().filter(|active| !**active).count();
        let counts = [books.orders, books.distinct_users, books.refused_orders];
        assert_eq!(
            counts.map(|count| usize::try_from(count).unwrap()),
            [model.orders.len(), model.orders.len(), refused]
        );
        let mut pending: Vec<_> =
            books.pending.into_iter().map(|row| (row.epoch.0, i64::from(row.delta), row.reason)).collect();
        pending.sort();
        assert_eq!(pending, model.pending());
        assert_eq!(books.dead_letter_units, model.withheld_units());
        assert_eq!(usize::try_from(books.dead_letter_buyers).unwrap(), model.withheld_buyers().len());
    }

    /// Who a new gate has to know.
    async fn check_buyers(&self, model: &Model) {
        let page = self.ledger.buyers_page(self.sale, None, 100).await.unwrap();
        let found: BTreeSet<(UserId, ReservationId)> = page.into_iter().collect();
        let ordered = model.orders.keys().map(|&id| (Self::user(id), self.id(id)));
        let withheld = model.withheld_buyers().into_iter().map(|of| {
            let first = model.valid_letters().find(|id| buyer(*id) == of).unwrap();
            (Self::user(first), self.id(first))
        });
        assert_eq!(found, ordered.chain(withheld).collect());
    }
}

async fn perform(real: &mut Real<'_>, model: &mut Model, operation: &Operation) {
    let before = |late: i64| (model.epoch - late).max(1);
    match *operation {
        Operation::Apply(by, late, ref ids) => {
            let epoch = before(late);
            assert_eq!(real.apply(by, epoch, ids).await, model.apply(by, epoch, ids));
        }
        Operation::Bury(late, id) => {
            let epoch = before(late);
            real.bury(epoch, id).await;
            model.bury(epoch, id);
        }
        Operation::BeginDrain => {
            assert!(real.begin_drain(model.epoch).await);
            (model.epoch, model.draining) = (model.epoch + 1, true);
        }
        Operation::BeginDrainLate => assert!(!real.begin_drain(model.epoch - 1).await),
        Operation::Settle(by) | Operation::Reset(by) => {
            let reset = matches!(operation, Operation::Reset(_));
            let holds = model.may_write(by);
            let expected = holds.then(|| if reset { model.reset() } else { model.settle() });
            assert_eq!(real.settle(by, reset).await, expected);
            real.check_buyers(model).await;
        }
        Operation::Open(by) => {
            let holds = model.may_write(by);
            assert_eq!(real.open(by).await, holds);
            model.draining &= !holds;
        }
        Operation::Adjust => real.adjust(model).await,
    }
}

async fn check(ledger: &Ledger, total: u32, operations: &[Operation]) {
    let sale = SaleId(Uuid::new_v4());
    ledger.create_sale(&new_sale(sale, total)).await.unwrap();
    let nobody = (Epoch(0), Uuid::nil());
    let mut real = Real { ledger, sale, salt: sale.0.as_u64_pair().0, drain: nobody, overtaken: nobody };
    let mut model = Model { total: total.into(), ..Model::default() };
    for operation in [Operation::BeginDrain, Operation::Settle(By::Reconciler), Operation::Open(By::Reconciler)] {
        perform(&mut real, &mut model, &operation).await;
    }
    for operation in operations {
        perform(&mut real, &mut model, operation).await;
        real.check(&model).await;
    }
}

#[test]
fn any_sequence_of_operations_leaves_what_the_model_says() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let fixture = runtime.block_on(Fixture::with_stock(0));
    let settings = ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = TestRunner::new_with_rng(settings, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let sequences = (0..14_u32, prop::collection::vec(operation(), 1..30));
    let result = runner.run(&sequences, |(total, operations)| {
        runtime.block_on(check(&fixture.ledger, total, &operations));
        Ok(())
    });
    result.unwrap();
    runtime.block_on(fixture.close());
}
