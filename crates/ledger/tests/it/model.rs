//! Random sequences of operations, judged by a model of the SQL that is simple enough to believe, and by the law that
//! every unit is somewhere: S + A + F + R + D = total.

use std::collections::BTreeSet;

use domain::{Applied, Epoch, Quantity, Reservation, ReservationBatch, ReservationId, SaleId, SaleState, UserId};
use ledger::{DeadLetter, Ledger, Verdict};
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use uuid::Uuid;

use crate::fixture::{Fixture, RESERVED_AT, installation, new_sale, terms};
use crate::model_sale::{By, Model, RESERVATIONS, Row, Status, buyer, units};

#[derive(Clone, Debug)]
enum Operation {
    /// Reservations; those that nobody has made yet are made, so many epochs ago.
    Apply(By, i64, Vec<u8>),
    /// A reservation, likewise.
    Bury(i64, u8),
    /// The letter of a reservation.
    Discard(u8),
    /// The same.
    Redrive(u8),
    BeginDrain,
    /// With an epoch that is not the sale's any more.
    BeginDrainLate,
    Settle(By),
    Reset(By),
    Open(By),
    /// All of it, as it goes when nothing is in the way.
    Rebuild,
    /// Applies what the gate still lacks.
    Adjust,
}

const REBUILD: [Operation; 3] =
    [Operation::BeginDrain, Operation::Settle(By::Reconciler), Operation::Open(By::Reconciler)];

fn operation() -> impl Strategy<Value = Operation> {
    let by = || prop_oneof![8 => Just(By::Worker), 4 => Just(By::Reconciler), 1 => Just(By::Overtaken)];
    let reconciler = || prop_oneof![6 => Just(By::Reconciler), 1 => Just(By::Overtaken)];
    let late = || prop_oneof![4 => Just(0), 2 => Just(1), 1 => Just(2)];
    prop_oneof![
        12 => (by(), late(), prop::collection::vec(0..RESERVATIONS, 1..6)).prop_map(|(by, late, ids)| Operation::Apply(by, late, ids)),
        4 => (late(), 0..RESERVATIONS).prop_map(|(late, id)| Operation::Bury(late, id)),
        3 => (0..RESERVATIONS).prop_map(Operation::Discard),
        3 => (0..RESERVATIONS).prop_map(Operation::Redrive),
        3 => Just(Operation::BeginDrain),
        1 => Just(Operation::BeginDrainLate),
        3 => reconciler().prop_map(Operation::Settle),
        1 => reconciler().prop_map(Operation::Reset),
        4 => reconciler().prop_map(Operation::Open),
        3 => Just(Operation::Rebuild),
        3 => Just(Operation::Adjust),
    ]
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
        let reservation = self.reservation(id);
        let reservations = vec![reservation.clone()];
        let batch = ReservationBatch { sale_id: self.sale, epoch: Epoch(epoch), terms: terms(), reservations };
        self.ledger.bury(&DeadLetter::of(&batch, &reservation, "test".to_owned())).await.unwrap();
    }

    async fn discard(&self, id: u8) -> Verdict {
        let letter = self.ledger.dead_letter_of(self.id(id)).await.unwrap();
        self.ledger.discard(letter.map_or(Uuid::nil(), |letter| letter.id), "test").await.unwrap()
    }

    async fn redrive(&self, id: u8) -> Verdict {
        match self.ledger.dead_letter_of(self.id(id)).await.unwrap() {
            Some(letter) => self.ledger.redrive(&letter, "test").await.unwrap(),
            None => Verdict::NotFound,
        }
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
        self.ledger.open(self.sale, epoch, (token, 0), &installation(), &serde_json::json!({})).await.unwrap()
    }

    /// Marks every pending adjustment as applied; none while a reconciler may still count them.
    async fn adjust(&self, model: &mut Model) {
        let pending = self.ledger.pending_adjustments(self.sale).await.unwrap();
        let due = |row: &&mut Row| !model.draining && !row.applied && row.epoch == model.epoch;
        let applied: Vec<i64> = model.rows.iter_mut().filter(due).map(|row| row.delta).collect();
        assert_eq!(pending.len(), applied.len());
        model.rows.iter_mut().filter(due).for_each(|row| row.applied = true);
        model.available = model.available.map(|available| available + applied.iter().sum::<i64>());
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
        let refused = model.orders.values().filter(|status| **status == Status::Refused).count();
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
        if let Some(available) = model.available {
            let in_flight: i64 = model.in_flight.iter().map(|id| units(*id)).sum();
            let adjustments: i64 = pending.iter().map(|(_, delta, _)| delta).sum();
            let terms = [books.active_units, available, in_flight, adjustments, books.dead_letter_units];
            assert_eq!(terms.iter().sum::<i64>(), model.total, "S + A + F + R + D: {terms:?}");
        }
    }

    /// Who a new gate has to know.
    async fn check_buyers(&self, model: &Model) {
        let page = self.ledger.buyers_page(self.sale, None, 100).await.unwrap();
        let found: BTreeSet<(UserId, ReservationId)> = page.into_iter().collect();
        let ordered = model.orders.keys().map(|&id| (Self::user(id), self.id(id)));
        let withheld = model.withheld_buyers().into_iter().map(|of| {
            let first = model.withheld().find(|id| buyer(*id) == of).unwrap();
            (Self::user(first), self.id(first))
        });
        assert_eq!(found, ordered.chain(withheld).collect());
    }
}

async fn perform(real: &mut Real<'_>, model: &mut Model, operation: &Operation) {
    match *operation {
        Operation::Apply(by, late, ref ids) => {
            let Some((epoch, ids)) = model.batch(late, ids) else { return };
            assert_eq!(real.apply(by, epoch, &ids).await, model.apply(by, epoch, &ids));
        }
        Operation::Bury(late, id) => {
            let Some(epoch) = model.make(id, late) else { return };
            real.bury(epoch, id).await;
            model.bury(epoch, id);
        }
        Operation::Discard(id) => assert_eq!(real.discard(id).await, model.discard(id)),
        Operation::Redrive(id) => assert_eq!(real.redrive(id).await, model.redrive(id)),
        Operation::BeginDrain => {
            assert!(real.begin_drain(model.epoch).await);
            (model.epoch, model.draining, model.available) = (model.epoch + 1, true, None);
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
        Operation::Rebuild => {
            for step in REBUILD {
                Box::pin(perform(real, model, &step)).await;
            }
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
    perform(&mut real, &mut model, &Operation::Rebuild).await;
    for operation in operations {
        perform(&mut real, &mut model, operation).await;
        real.check(&model).await;
    }
}

/// Set `FLASHSALE_LEDGER_SEED` to take the sequences of one run again.
#[test]
fn any_sequence_of_operations_leaves_what_the_model_says() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let fixture = runtime.block_on(Fixture::with_stock(0));
    let settings = ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() };
    let replay = std::env::var("FLASHSALE_LEDGER_SEED").ok().map(|seed| seed.parse().expect("a UUID"));
    let seed: Uuid = replay.unwrap_or_else(Uuid::new_v4);
    println!("FLASHSALE_LEDGER_SEED={seed}");
    let seed = [seed.into_bytes(), [0; 16]].concat();
    let mut runner = TestRunner::new_with_rng(settings, TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
    let sequences = (0..14_u32, prop::collection::vec(operation(), 1..40));
    let result = runner.run(&sequences, |(total, operations)| {
        runtime.block_on(check(&fixture.ledger, total, &operations));
        Ok(())
    });
    result.unwrap();
    runtime.block_on(fixture.close());
}
