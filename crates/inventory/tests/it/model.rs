//! Random sequences of operations, judged by a model that is simple enough to believe.

use std::collections::{BTreeMap, HashSet};

use domain::{Halt, ReservationId, Rules};
use inventory::{Attempt, Config, Decision, Inventory};
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

use crate::sale::{ALWAYS, EPOCH, Sale, attempt, config, rules, shared_url};

const OUTBOX_LIMIT: usize = 4;

#[derive(Clone, Debug)]
enum Operation {
    /// Users and quantities.
    Reserve(Vec<(u8, u32)>),
    /// The last batch again, as after a lost answer.
    ReserveAgain,
    /// Ids and units.
    Adjust(Vec<(i64, i64)>),
    /// An id, and the units it takes.
    Claim(i64, i64),
    /// Whether the sale is paused from here on.
    Pause(bool),
    /// So many of the oldest entries.
    Settle(usize),
    Close,
    Open,
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        5 => prop::collection::vec((0..12_u8, 1..5_u32), 1..6).prop_map(Operation::Reserve),
        2 => Just(Operation::ReserveAgain),
        2 => prop::collection::vec((0..12_i64, -3..4_i64), 0..4).prop_map(Operation::Adjust),
        2 => (20..24_i64, 1..4_i64).prop_map(|(id, units)| Operation::Claim(id, units)),
        1 => prop::bool::ANY.prop_map(Operation::Pause),
        2 => (1..4_usize).prop_map(Operation::Settle),
        1 => Just(Operation::Close),
        1 => Just(Operation::Open),
    ]
}

struct Model {
    open: bool,
    paused: bool,
    revision: i64,
    stock: i64,
    buyers: BTreeMap<String, ReservationId>,
    /// Reservation ids and units.
    outbox: Vec<(ReservationId, i64)>,
    /// Adjustments booked and claims granted.
    adjusted: HashSet<i64>,
    refused: HashSet<i64>,
    /// Units settled, and units that adjustments added and claims took.
    settled: i64,
    added: i64,
}

impl Model {
    fn decide(&mut self, attempt: &Attempt) -> Decision {
        let units = i64::from(attempt.quantity.get());
        match self.buyers.get(attempt.user_id.as_str()) {
            Some(&holder) if holder == attempt.id => Decision::Won { outbox_id: None },
            Some(&holder) => Decision::Holds(holder),
            None if !self.open => Decision::Closed,
            None if self.paused => Decision::Paused,
            None if self.stock < units => Decision::NotEnough { left: self.stock },
            None if self.outbox.len() >= OUTBOX_LIMIT => Decision::OutboxFull,
            None => {
                self.stock -= units;
                self.buyers.insert(attempt.user_id.as_str().to_owned(), attempt.id);
                self.outbox.push((attempt.id, units));
                Decision::Won { outbox_id: Some(String::new()) }
            }
        }
    }

    fn adjust(&mut self, adjustments: &[(i64, i64)]) {
        for &(id, units) in adjustments {
            if self.adjusted.insert(id) {
                self.stock += units;
                self.added += units;
            }
        }
    }
}

impl Model {
    fn claim(&mut self, id: i64, units: i64) -> bool {
        if self.adjusted.contains(&id) || self.refused.contains(&id) {
            return self.adjusted.contains(&id);
        }
        if self.stock < units {
            return !self.refused.insert(id);
        }
        self.adjust(&[(id, -units)]);
        true
    }
}

/// The id of an outbox entry is Redis's to choose: only whether there is one is compared.
fn without_entry_id(decision: Decision) -> Decision {
    match decision {
        Decision::Won { outbox_id: Some(_) } => Decision::Won { outbox_id: Some(String::new()) },
        other => other,
    }
}

async fn perform(sale: &Sale, model: &mut Model, last: &mut Vec<Attempt>, operation: &Operation) {
    match operation {
        Operation::Reserve(batch) => {
            *last = batch.iter().map(|(user, units)| attempt(&user.to_string(), *units)).collect();
            reserve(sale, model, last).await;
        }
        Operation::ReserveAgain if last.is_empty() => {}
        Operation::ReserveAgain => reserve(sale, model, last).await,
        Operation::Adjust(adjustments) => {
            model.adjust(adjustments);
            assert_eq!(sale.adjust(adjustments).await, model.stock);
        }
        Operation::Claim(id, units) => {
            assert_eq!(sale.claim(*id, *units).await, model.claim(*id, *units));
        }
        Operation::Pause(paused) => {
            (model.paused, model.revision) = (*paused, model.revision + 1);
            let halted = paused.then_some(Halt::Paused);
            let rules = Rules { halted, revision: model.revision, ..rules(ALWAYS) };
            assert_eq!(sale.configure(&rules).await, model.revision);
        }
        Operation::Settle(count) => {
            let page = sale.inventory.outbox(sale.id, EPOCH, None, 0, *count).await.unwrap();
            let ids: Vec<&str> = page.iter().map(|entry| entry.id.as_str()).collect();
            let settled = model.outbox.drain(..ids.len());
            model.settled += settled.map(|(_, units)| units).sum::<i64>();
            assert_eq!(sale.inventory.settle(sale.id, EPOCH, &ids).await.unwrap(), ids.len() as u64);
        }
        Operation::Close => {
            sale.close().await;
            model.open = false;
        }
        Operation::Open => {
            let buyers = model.buyers.len() as u64;
            sale.inventory.open(sale.id, EPOCH, &sale.installation.scripts, buyers).await.unwrap();
            model.open = true;
        }
    }
}

async fn reserve(sale: &Sale, model: &mut Model, batch: &[Attempt]) {
    let expected: Vec<Decision> = batch.iter().map(|attempt| model.decide(attempt)).collect();
    let reserved = sale.reserve(batch).await;
    assert_eq!(reserved.decisions.into_iter().map(without_entry_id).collect::<Vec<_>>(), expected);
    assert_eq!(reserved.stock_left, model.stock);
}

async fn check(inventory: &Inventory, stock: i64, operations: &[Operation]) {
    let sale = Sale::open_at(inventory, stock, ALWAYS).await;
    let mut model = Model {
        open: true,
        paused: false,
        revision: 0,
        stock,
        buyers: BTreeMap::new(),
        outbox: Vec::new(),
        adjusted: HashSet::new(),
        refused: HashSet::new(),
        settled: 0,
        added: 0,
    };
    let mut last = Vec::new();
    for operation in operations {
        perform(&sale, &mut model, &mut last, operation).await;
    }
    let snapshot = sale.inventory.snapshot(sale.id, EPOCH, &Vec::from_iter(0..24)).await.unwrap().unwrap();
    let outbox: Vec<_> = snapshot.outbox.iter().map(|entry| entry.reservation.id).collect();
    assert_eq!(outbox, model.outbox.iter().map(|&(id, _)| id).collect::<Vec<_>>());
    assert_eq!((snapshot.gate.open, &snapshot.adjusted), (model.open, &model.adjusted));
    assert_eq!(snapshot.buyers, model.buyers.len() as u64);
    let settled_buyers = (model.buyers.len() - model.outbox.len()) as u64;
    sale.check_books(stock + model.added, model.settled, settled_buyers).await;
}

#[test]
fn any_sequence_of_operations_leaves_what_the_model_says() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let inventory = Inventory::new(&Config { outbox_limit: OUTBOX_LIMIT as u64, ..config(&shared_url()) }).unwrap();
    let settings = ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = TestRunner::new_with_rng(settings, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let sequences = (-2..12_i64, prop::collection::vec(operation(), 1..25));
    let result = runner.run(&sequences, |(stock, operations)| {
        runtime.block_on(check(&inventory, stock, &operations));
        Ok(())
    });
    result.unwrap();
}
