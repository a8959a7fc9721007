//! A sale as it must be: the model that [`crate::model`] compares with PostgreSQL.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use domain::Applied;
use ledger::{Resolution, Verdict};

/// Few buyers with several reservations each: second orders are frequent.
pub(crate) const BUYERS: u8 = 4;
pub(crate) const RESERVATIONS: u8 = 12;

/// Whose word counts: a worker has no token, a reconciler may have been overtaken.
#[derive(Clone, Copy, Debug)]
pub(crate) enum By {
    Worker,
    Reconciler,
    Overtaken,
}

pub(crate) fn buyer(id: u8) -> u8 {
    id % BUYERS
}

pub(crate) fn units(id: u8) -> i64 {
    1 + i64::from(id / BUYERS)
}

/// A row of `stock_adjustments`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Row {
    pub(crate) id: u8,
    pub(crate) epoch: i64,
    pub(crate) delta: i64,
    pub(crate) reason: &'static str,
    pub(crate) applied: bool,
}

/// The sale as it must be.
#[derive(Default)]
pub(crate) struct Model {
    pub(crate) total: i64,
    pub(crate) epoch: i64,
    pub(crate) valid_from: i64,
    pub(crate) draining: bool,
    /// The epoch that each reservation was made in.
    pub(crate) made: BTreeMap<u8, i64>,
    /// Stock of the gate; `None` while there is none whose stock was settled, or a promise too many was made.
    pub(crate) available: Option<i64>,
    /// Reservations of this gate that PostgreSQL knows nothing of.
    pub(crate) in_flight: BTreeSet<u8>,
    pub(crate) orders: BTreeMap<u8, Status>,
    pub(crate) rows: Vec<Row>,
    /// Buried reservations.
    pub(crate) letters: BTreeMap<u8, Option<Resolution>>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Status {
    Confirmed,
    Cancelled,
    Refused,
}

impl Model {
    pub(crate) fn sold(&self) -> i64 {
        self.orders.iter().filter(|(_, status)| **status == Status::Confirmed).map(|(id, _)| units(*id)).sum()
    }

    /// The epoch that a reservation was made in, if need be so many epochs ago. `None`: the gate does not make it.
    pub(crate) fn make(&mut self, id: u8, late: i64) -> Option<i64> {
        if let Some(epoch) = self.made.get(&id) {
            return Some(*epoch);
        }
        let epoch = (self.epoch - late).max(1);
        if epoch == self.epoch {
            match &mut self.available {
                _ if self.draining => return None,
                Some(available) if *available < units(id) => return None,
                Some(available) => *available -= units(id),
                None => {}
            }
            self.in_flight.insert(id);
        }
        self.made.insert(id, epoch);
        Some(epoch)
    }

    /// The epoch of the first of these that there is, and all of them that are of this epoch.
    pub(crate) fn batch(&mut self, late: i64, ids: &[u8]) -> Option<(i64, Vec<u8>)> {
        let epoch = ids.iter().find_map(|id| self.make(*id, late))?;
        let late = self.epoch - epoch;
        Some((epoch, ids.iter().copied().filter(|id| self.make(*id, late) == Some(epoch)).collect()))
    }

    pub(crate) fn has_other_order(&self, id: u8) -> bool {
        self.orders.keys().any(|&other| other != id && buyer(other) == buyer(id))
    }

    pub(crate) fn was_given_back(&self, id: u8) -> bool {
        self.rows.iter().any(|row| (row.id, row.reason) == (id, "second_order"))
    }

    pub(crate) fn may_write(&self, by: By) -> bool {
        match by {
            By::Worker => !self.draining,
            By::Reconciler => self.draining,
            By::Overtaken => false,
        }
    }

    /// One after another, as if each came alone; only that who comes after one for whom there is no room gets none.
    pub(crate) fn apply(&mut self, by: By, epoch: i64, ids: &[u8]) -> Vec<Applied> {
        if epoch < self.valid_from {
            return vec![Applied::Stale; ids.len()];
        } else if !self.may_write(by) {
            return vec![Applied::Fenced; ids.len()];
        }
        let late = epoch < self.epoch && matches!(by, By::Worker);
        if !matches!(by, By::Worker) {
            self.available = None; // until it settles the stock (again)
        }
        ids.iter().for_each(|id| _ = self.in_flight.remove(id));
        let mut room = self.total - self.sold();
        let mut seen = BTreeSet::new();
        let decide = |&id: &u8| {
            let is_first = seen.insert(id);
            if self.orders.contains_key(&id) || !is_first {
                return Applied::Duplicate;
            } else if self.has_other_order(id) {
                if epoch == self.epoch {
                    self.book(id, units(id), "second_order");
                }
                return Applied::UserHasOrder;
            }
            room -= units(id);
            self.orders.insert(id, if room < 0 { Status::Refused } else { Status::Confirmed });
            if room < 0 {
                self.available = None; // its units are nowhere until the next gate is filled
                return Applied::NoStock;
            }
            if late && !self.letters.contains_key(&id) {
                self.book(id, -units(id), "late_epoch");
            }
            Applied::Inserted
        };
        ids.iter().map(decide).collect()
    }

    pub(crate) fn book(&mut self, id: u8, delta: i64, reason: &'static str) {
        if !self.rows.iter().any(|row| (row.id, row.reason) == (id, reason)) {
            self.rows.push(Row { id, epoch: self.epoch, delta, reason, applied: false });
        }
    }

    pub(crate) fn bury(&mut self, epoch: i64, id: u8) {
        if self.letters.contains_key(&id) {
            return;
        }
        self.letters.insert(id, None);
        self.in_flight.remove(&id);
        let withholds = !self.orders.contains_key(&id) && !self.was_given_back(id);
        if (self.valid_from..self.epoch).contains(&epoch) && withholds {
            self.book(id, -units(id), "late_epoch");
        }
    }

    /// What comes of a decision before it is looked at what was asked.
    pub(crate) fn hold(&mut self, id: u8) -> Option<Verdict> {
        let Some(resolution) = self.letters.get_mut(&id) else { return Some(Verdict::NotFound) };
        if let Some(resolution) = resolution {
            return Some(Verdict::Resolved(*resolution));
        }
        let (verdict, how) = match self.orders.get(&id)? {
            Status::Confirmed => {
                let because = Some("its reservation is an order already, CONFIRMED".to_owned());
                (Verdict::Redriven { because }, Resolution::Redriven)
            }
            status => {
                let because = Some(format!("its order is {}", format!("{status:?}").to_uppercase()));
                (Verdict::Discarded { units: 0, because }, Resolution::Discarded)
            }
        };
        *resolution = Some(how);
        Some(verdict)
    }

    pub(crate) fn give_up(&mut self, id: u8, because: Option<&str>) -> Verdict {
        if self.withheld().any(|withheld| withheld == id) {
            if self.has_other_order(id) {
                self.book(id, units(id), "second_order");
            } else {
                self.orders.insert(id, Status::Cancelled);
                self.book(id, units(id), "dead_letter_discarded");
            }
        }
        self.letters.insert(id, Some(Resolution::Discarded));
        let is_back = |row: &&Row| row.id == id && row.reason != "late_epoch";
        let back: i64 = self.rows.iter().filter(is_back).map(|row| row.delta).sum();
        Verdict::Discarded { units: i32::try_from(back).unwrap(), because: because.map(str::to_owned) }
    }

    pub(crate) fn discard(&mut self, id: u8) -> Verdict {
        self.hold(id).unwrap_or_else(|| self.give_up(id, None))
    }

    pub(crate) fn redrive(&mut self, id: u8) -> Verdict {
        if let Some(held) = self.hold(id) {
            return held;
        } else if !self.has_other_order(id) && self.sold() + units(id) > self.total && self.may_redrive(id) {
            return Verdict::Failed("the sale has no unit left for it".to_owned());
        }
        match self.apply(By::Worker, self.made[&id], &[id])[0] {
            Applied::Inserted => {
                self.letters.insert(id, Some(Resolution::Redriven));
                Verdict::Redriven { because: None }
            }
            Applied::UserHasOrder => self.give_up(id, Some("its buyer has another order of this sale")),
            Applied::Stale => self.give_up(id, Some("it is from before a reset")),
            Applied::Fenced => Verdict::Fenced,
            outcome => panic!("{outcome:?}"),
        }
    }

    pub(crate) fn may_redrive(&self, id: u8) -> bool {
        self.made[&id] >= self.valid_from && !self.draining
    }

    /// Buried reservations whose units nobody has.
    pub(crate) fn withheld(&self) -> impl Iterator<Item = u8> {
        self.letters
            .iter()
            .filter(|(_, resolution)| resolution.is_none())
            .map(|(id, _)| *id)
            .filter(|id| self.made[id] >= self.valid_from && !self.orders.contains_key(id) && !self.was_given_back(*id))
    }

    pub(crate) fn withheld_units(&self) -> i64 {
        self.withheld().map(units).sum()
    }

    pub(crate) fn withheld_buyers(&self) -> BTreeSet<u8> {
        let has_order: BTreeSet<u8> = self.orders.keys().map(|id| buyer(*id)).collect();
        self.withheld().map(buyer).filter(|buyer| !has_order.contains(buyer)).collect()
    }

    /// The stock and the number of buyers.
    pub(crate) fn settle(&mut self) -> (i64, usize) {
        self.rows.iter_mut().for_each(|row| row.applied = true);
        let stock = self.total - self.sold() - self.withheld_units();
        self.in_flight.clear();
        self.available = Some(stock);
        (stock, self.orders.len() + self.withheld_buyers().len())
    }

    pub(crate) fn reset(&mut self) -> (i64, usize) {
        *self = Self {
            total: self.total,
            epoch: self.epoch,
            valid_from: self.epoch,
            draining: true,
            made: std::mem::take(&mut self.made),
            available: Some(self.total),
            ..Self::default()
        };
        (self.total, 0)
    }

    pub(crate) fn known(&self) -> HashSet<u8> {
        let given_back = self.rows.iter().filter(|row| row.reason == "second_order").map(|row| row.id);
        self.orders.keys().chain(self.letters.keys()).copied().chain(given_back).collect()
    }

    pub(crate) fn pending(&self) -> Vec<(i64, i64, String)> {
        let pending = self.rows.iter().filter(|row| !row.applied);
        let mut pending: Vec<_> = pending.map(|row| (row.epoch, row.delta, row.reason.to_owned())).collect();
        pending.sort();
        pending
    }
}
