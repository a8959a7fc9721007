//! The books of a sale: every invariant with what is expected and what is there.

use std::collections::HashSet;

use domain::{Epoch, ReservationId, SaleId, SaleState};
use inventory::Snapshot;
use ledger::LedgerBooks;
use serde::Serialize;

use crate::reconciler::{Error, Reconciler};

/// An exact reading of one sale's books, taken while the sale may be running.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    /// The sale.
    pub sale_id: SaleId,
    /// Its epoch.
    pub epoch: Epoch,
    /// Its state.
    pub state: SaleState,
    /// Whether every invariant holds.
    pub ok: bool,
    /// Whether nothing is on its way: outbox, queue and adjustments are empty.
    pub settled: bool,
    /// The sum.
    pub books: Books,
    /// Messages that wait in the epoch's queue, duplicates included.
    pub queued_messages: u32,
    /// Each invariant.
    pub invariants: Vec<Invariant>,
}

/// Where the units of a sale are: S + A + F + R + D = total, always.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Books {
    /// The sale's stock.
    pub total: i64,
    /// S: units of active orders.
    pub sold: i64,
    /// A: units for sale in the gate.
    pub available: i64,
    /// F: units reserved and not yet known to PostgreSQL.
    pub in_flight: i64,
    /// R: units of adjustments that the gate has not seen yet.
    pub adjustments: i64,
    /// D: units behind unresolved dead letters.
    pub dead_letters: i64,
    /// S + A + F + R + D.
    pub sum: i64,
}

/// One invariant.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Invariant {
    /// Its name.
    pub name: &'static str,
    /// What must be there.
    pub expected: String,
    /// What is there.
    pub actual: String,
    /// Whether it holds.
    pub ok: bool,
}

impl Invariant {
    fn equal(name: &'static str, expected: i64, actual: i64) -> Self {
        Self { name, expected: expected.to_string(), actual: actual.to_string(), ok: expected == actual }
    }

    fn at_most(name: &'static str, bound: i64, actual: i64) -> Self {
        Self { name, expected: format!("at most {bound}"), actual: actual.to_string(), ok: actual <= bound }
    }
}

impl Reconciler {
    /// Reads the books of a sale and changes nothing.
    ///
    /// The sale's row stays locked while Redis is read in one transaction, so persists and adjustments wait for a
    /// few milliseconds and reservations (which move units from A to F at once) go on: the sum is exact at any time.
    ///
    /// # Errors
    /// The sale is unknown or a store failed.
    pub async fn verify(&self, id: SaleId) -> Result<Verification, Error> {
        let mut locked = self.ledger.lock_books(id).await?.ok_or(Error::UnknownSale(id))?;
        let adjustments: Vec<i64> = locked.books.pending.iter().map(|adjustment| adjustment.id).collect();
        let epoch = locked.books.sale.epoch;
        let snapshot = self.inventory.snapshot(id, epoch, &adjustments).await?;
        let reserved: Vec<ReservationId> =
            snapshot.iter().flat_map(|snapshot| &snapshot.outbox).map(|entry| entry.reservation.id).collect();
        let known = locked.known(&reserved).await?;
        let books = locked.books.clone();
        locked.release().await?;
        let queued_messages = self.monitor.depth(id, epoch).await?.map_or(0, |depth| depth.ready);
        Ok(judge(&books, snapshot.as_ref(), &known, queued_messages))
    }
}

/// Holds what was read against what must be. Pure.
fn judge(
    ledger: &LedgerBooks,
    snapshot: Option<&Snapshot>,
    known: &HashSet<ReservationId>,
    queued_messages: u32,
) -> Verification {
    let sale = &ledger.sale;
    let in_flight: Vec<_> = snapshot
        .iter()
        .flat_map(|snapshot| &snapshot.outbox)
        .map(|entry| &entry.reservation)
        .filter(|reservation| !known.contains(&reservation.id))
        .collect();
    let adjusted = |id: i64| snapshot.is_some_and(|snapshot| snapshot.adjusted.contains(&id));
    let mut books = Books {
        total: sale.total_stock,
        sold: ledger.active_units,
        available: 0,
        in_flight: in_flight.iter().map(|reservation| i64::from(reservation.quantity.get())).sum(),
        adjustments: ledger.pending.iter().filter(|row| !adjusted(row.id)).map(|row| i64::from(row.delta)).sum(),
        dead_letters: ledger.dead_letter_units,
        sum: 0,
    };
    // An ended sale may have no gate any more: what is not sold is simply left over.
    let has_gate = snapshot.is_some() || sale.state != SaleState::Ended;
    books.available = match snapshot {
        Some(snapshot) => snapshot.gate.stock,
        None if !has_gate => books.total - books.sold - books.adjustments - books.dead_letters,
        None => 0,
    };
    books.sum = books.sold + books.available + books.in_flight + books.adjustments + books.dead_letters;

    let mut invariants = vec![
        Invariant::at_most("never_oversold", books.total, books.sold),
        Invariant::equal("sold_counter_is_sum_of_orders", ledger.active_units, sale.sold),
        Invariant::equal("one_order_per_user", ledger.orders, ledger.distinct_users),
        Invariant::equal("no_reservation_refused", 0, ledger.refused_orders),
        Invariant::equal("every_unit_is_somewhere", books.total, books.sum),
    ];
    if has_gate {
        let gate_epoch = snapshot.filter(|snapshot| snapshot.gate.open).map(|snapshot| snapshot.gate.epoch);
        invariants.push(Invariant {
            name: "the_gate_stands",
            expected: format!("state open, epoch {}, gate open", sale.epoch),
            actual: match gate_epoch {
                Some(epoch) => format!("state {}, epoch {epoch}, gate open", sale.state),
                None => format!("state {}, no open gate", sale.state),
            },
            ok: gate_epoch == Some(sale.epoch) && matches!(sale.state, SaleState::Open | SaleState::Ended),
        });
        let expected = ledger.orders + ledger.dead_letter_buyers + count(in_flight.len());
        let buyers = snapshot.map_or(0, |snapshot| snapshot.buyers);
        invariants.push(Invariant::equal(
            "the_gate_knows_every_buyer",
            expected,
            i64::try_from(buyers).unwrap_or(i64::MAX),
        ));
    }
    // What comes back after the end has no gate to go to.
    let adjusted_all = ledger.pending.is_empty() || sale.state == SaleState::Ended;
    let outbox_empty = snapshot.is_none_or(|snapshot| snapshot.outbox.is_empty());
    Verification {
        sale_id: sale.id,
        epoch: sale.epoch,
        state: sale.state,
        ok: invariants.iter().all(|invariant| invariant.ok),
        settled: outbox_empty && queued_messages == 0 && adjusted_all,
        books,
        queued_messages,
        invariants,
    }
}

fn count(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}
