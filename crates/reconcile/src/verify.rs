//! The books of a sale: every invariant with what is expected and what is there.

use std::collections::HashSet;

use domain::{Epoch, Reservation, ReservationId, SaleId, SaleState};
use inventory::Snapshot;
use ledger::{Adjustment, LedgerBooks};
use serde::Serialize;
use utoipa::ToSchema;

use crate::reconciler::{Error, Reconciler};

/// An exact reading of one sale's books, taken while the sale may be running.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    /// The sale.
    #[schema(value_type = uuid::Uuid)]
    pub sale_id: SaleId,
    /// Its epoch.
    #[schema(value_type = i64)]
    pub epoch: Epoch,
    /// Its state: `closed`, `draining`, `open` or `ended`.
    #[schema(value_type = String, example = "open")]
    pub state: SaleState,
    /// Whether every invariant holds.
    pub ok: bool,
    /// Whether nothing is on its way: outbox, queue and adjustments are empty, and no money is to be taken or given back.
    pub settled: bool,
    /// The sum.
    pub books: Books,
    /// Messages that wait in the epoch's queue, duplicates included.
    pub queued_messages: u32,
    /// Each invariant.
    pub invariants: Vec<Invariant>,
}

/// Where the units of a sale are: S + A + F + R + D + W = total, always.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
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
    /// W: units that the gate has given to a claim and PostgreSQL has not booked yet.
    pub claimed: i64,
    /// S + A + F + R + D + W.
    pub sum: i64,
}

/// One invariant.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
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

/// What the three stores said of one sale at one moment.
struct Reading<'a> {
    ledger: &'a LedgerBooks,
    /// `None` where there is no gate of the sale's epoch.
    gate: Option<&'a Snapshot>,
    /// Reservations in the outbox that PostgreSQL does not know.
    in_flight: Vec<&'a Reservation>,
    queued_messages: u32,
}

/// Holds what was read against what must be. Pure.
fn judge(
    ledger: &LedgerBooks,
    gate: Option<&Snapshot>,
    known: &HashSet<ReservationId>,
    queued_messages: u32,
) -> Verification {
    let reservations = gate.iter().flat_map(|gate| &gate.outbox).map(|entry| &entry.reservation);
    let in_flight = reservations.filter(|reservation| !known.contains(&reservation.id)).collect();
    let reading = Reading { ledger, gate, in_flight, queued_messages };
    let (sale, books) = (&ledger.sale, reading.books());
    let invariants = reading.invariants(&books);
    Verification {
        sale_id: sale.id,
        epoch: sale.epoch,
        state: sale.state,
        ok: invariants.iter().all(|invariant| invariant.ok),
        settled: reading.settled(),
        books,
        queued_messages,
        invariants,
    }
}

impl Reading<'_> {
    /// An ended sale may have no gate any more.
    fn needs_gate(&self) -> bool {
        self.gate.is_some() || self.ledger.sale.state != SaleState::Ended
    }

    fn books(&self) -> Books {
        let adjusted = |id: i64| self.gate.is_some_and(|gate| gate.adjusted.contains(&id));
        let (claims, adjustments): (Vec<_>, Vec<_>) = self.ledger.pending.iter().partition(|pending| pending.is_claim);
        let units = |pending: &[&Adjustment], booked: bool| -> i64 {
            pending.iter().filter(|one| adjusted(one.id) == booked).map(|one| i64::from(one.delta)).sum()
        };
        let mut books = Books {
            total: self.ledger.sale.total_stock,
            sold: self.ledger.active_units,
            available: 0,
            in_flight: self.in_flight.iter().map(|reservation| i64::from(reservation.quantity.get())).sum(),
            adjustments: units(&adjustments, false),
            dead_letters: self.ledger.dead_letter_units,
            claimed: -units(&claims, true),
            sum: 0,
        };
        books.available = match self.gate {
            Some(gate) => gate.gate.stock,
            None if self.needs_gate() => 0,
            // What is not sold is simply left over.
            None => books.total - books.sold - books.adjustments - books.dead_letters - books.claimed,
        };
        books.sum =
            books.sold + books.available + books.in_flight + books.adjustments + books.dead_letters + books.claimed;
        books
    }

    fn invariants(&self, books: &Books) -> Vec<Invariant> {
        let Self { ledger, .. } = self;
        let mut invariants = vec![
            Invariant::at_most("never_oversold", books.total, books.sold),
            Invariant::equal("sold_counter_is_sum_of_orders", ledger.active_units, ledger.sale.sold),
            Invariant::equal("one_order_per_user", ledger.orders, ledger.distinct_users),
            Invariant::equal("no_reservation_refused", 0, ledger.refused_orders),
            Invariant::equal("every_payment_fits_its_order", 0, ledger.misfit_payments),
            Invariant::equal("every_unit_is_somewhere", books.total, books.sum),
        ];
        if self.needs_gate() {
            invariants.push(self.the_gate_stands());
            let expected = ledger.orders + ledger.dead_letter_buyers + count(self.in_flight.len());
            let buyers = i64::try_from(self.gate.map_or(0, |gate| gate.buyers)).unwrap_or(i64::MAX);
            invariants.push(Invariant::equal("the_gate_knows_every_buyer", expected, buyers));
        }
        invariants
    }

    fn the_gate_stands(&self) -> Invariant {
        let sale = &self.ledger.sale;
        let epoch = self.gate.filter(|gate| gate.gate.open).map(|gate| gate.gate.epoch);
        Invariant {
            name: "the_gate_stands",
            expected: format!("state open, epoch {}, gate open", sale.epoch),
            actual: match epoch {
                Some(epoch) => format!("state {}, epoch {epoch}, gate open", sale.state),
                None => format!("state {}, no open gate", sale.state),
            },
            ok: epoch == Some(sale.epoch) && matches!(sale.state, SaleState::Open | SaleState::Ended),
        }
    }

    fn settled(&self) -> bool {
        // What comes back after the end has no gate to go to.
        let adjusted_all = self.ledger.pending.is_empty() || self.ledger.sale.state == SaleState::Ended;
        let outbox_empty = self.gate.is_none_or(|gate| gate.outbox.is_empty());
        outbox_empty && self.queued_messages == 0 && adjusted_all && self.ledger.payments_due == 0
    }
}

fn count(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}
