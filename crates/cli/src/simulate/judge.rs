//! The judge: holds what buyers were told against the orders and the books. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Display;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Plan;
use super::history::{History, Told};
use crate::verify::Verification;

/// As many culprits as are named.
const MOST_NAMED: usize = 5;

/// An order of the sale, as operators see it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Order {
    pub(crate) order_id: Uuid,
    pub(crate) user_id: String,
    pub(crate) quantity: i64,
    pub(crate) status: String,
}

impl Order {
    fn is_active(&self) -> bool {
        matches!(self.status.as_str(), "HELD" | "PAYING" | "CONFIRMED")
    }
}

/// One invariant.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(crate) struct Check {
    pub(crate) name: String,
    pub(crate) expected: String,
    pub(crate) actual: String,
    pub(crate) ok: bool,
    /// The first few that break it.
    pub(crate) culprits: Vec<String>,
}

impl Check {
    fn new(name: &str, expected: impl Display, actual: impl Display, ok: bool) -> Self {
        let (expected, actual) = (format!("{expected}"), format!("{actual}"));
        Self { name: name.to_owned(), expected, actual, ok, culprits: Vec::new() }
    }

    /// Whether there is none of what must not be.
    fn none(name: &str, culprits: Vec<String>) -> Self {
        let mut check = Self::new(name, 0, culprits.len(), culprits.is_empty());
        check.culprits = culprits.into_iter().take(MOST_NAMED).collect();
        check
    }
}

/// What there is to judge.
pub(crate) struct Evidence<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) history: &'a History,
    pub(crate) orders: &'a [Order],
    /// The last reading of the books.
    pub(crate) books: &'a Verification,
    /// Buyers that are not of the plan's numbers have no name here.
    pub(crate) name_of: &'a dyn Fn(u32) -> String,
}

/// What one buyer was told, in all.
#[derive(Default)]
struct Buyer<'a> {
    promised: BTreeSet<Uuid>,
    held: BTreeSet<Uuid>,
    only_refused: bool,
    orders: Vec<&'a Order>,
}

/// Every invariant, in the order of the report.
pub(crate) fn judge(evidence: &Evidence) -> Vec<Check> {
    let (buyers, strangers) = buyers(evidence);
    let mut checks = vec![never_oversold(evidence), never_undersold(evidence)];
    checks.extend(of_buyers(evidence, &buyers));
    checks.push(Check::none("every order has its buyer", strangers));
    checks.push(distinct_promises(&buyers));
    checks.extend(of_answers(evidence));
    checks.push(of_states(evidence));
    if evidence.plan.pays {
        checks.extend(of_payments(evidence));
    }
    checks.extend(of_books(evidence));
    checks
}

fn units<'a>(orders: impl Iterator<Item = &'a Order>) -> i64 {
    orders.filter(|order| order.is_active()).map(|order| order.quantity).sum()
}

fn never_oversold(evidence: &Evidence) -> Check {
    let (sold, stock) = (units(evidence.orders.iter()), i64::from(evidence.plan.stock));
    Check::new("never oversold", format!("at most {stock}"), sold, sold <= stock)
}

/// Everything that can be sold is: to all buyers whose payment did not fail, as far as the stock goes.
fn never_undersold(evidence: &Evidence) -> Check {
    let Plan { buyers, stock, quantity, .. } = *evidence.plan;
    let (stock, quantity) = (i64::from(stock), i64::from(quantity));
    let sold = units(evidence.orders.iter());
    let failed = evidence.history.payments.iter().filter(|paid| paid.has_failed()).count();
    let failed = i64::try_from(failed).unwrap_or(i64::MAX);
    let wanted = (stock / quantity).min(i64::from(buyers) - failed) * quantity;
    if evidence.history.cut_short {
        let there = sold + evidence.books.books.available;
        let ok = there == stock;
        return Check::new("never undersold", format!("{stock} sold or on sale"), there, ok);
    }
    Check::new("never undersold", wanted, sold, sold >= wanted)
}

/// What each buyer was told, with their orders; and the orders of nobody.
fn buyers<'a>(evidence: &Evidence<'a>) -> (BTreeMap<u32, Buyer<'a>>, Vec<String>) {
    let mut buyers: BTreeMap<u32, Buyer> = BTreeMap::new();
    for click in &evidence.history.clicks {
        let buyer = buyers.entry(click.buyer).or_insert_with(|| Buyer { only_refused: true, ..Buyer::default() });
        buyer.only_refused &= click.told.is_refusal();
        match click.told {
            Told::Promised(order) => drop(buyer.promised.insert(order)),
            Told::Held(order) => drop(buyer.held.insert(order)),
            _ => {}
        }
    }
    let numbers: HashMap<String, u32> = buyers.keys().map(|&number| ((evidence.name_of)(number), number)).collect();
    let mut strangers = Vec::new();
    for order in evidence.orders {
        match numbers.get(&order.user_id).and_then(|number| buyers.get_mut(number)) {
            Some(buyer) => buyer.orders.push(order),
            None => strangers.push(format!("order {} of {}, who never clicked", order.order_id, order.user_id)),
        }
    }
    (buyers, strangers)
}

fn of_buyers(evidence: &Evidence, buyers: &BTreeMap<u32, Buyer>) -> Vec<Check> {
    let Plan { quantity, pays, hold_seconds, .. } = *evidence.plan;
    // Who never pays loses what they hold.
    let may_expire = hold_seconds > 0 && !pays;
    let gave_back: BTreeSet<Uuid> =
        evidence.history.payments.iter().filter(|paid| !paid.is_confirmed()).map(|paid| paid.order).collect();
    let (mut twice, mut lost, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    let mut promises = 0;
    for (&number, buyer) in buyers {
        let name = (evidence.name_of)(number);
        let named: BTreeSet<Uuid> = buyer.promised.union(&buyer.held).copied().collect();
        if buyer.orders.len() > 1 || named.len() > 1 {
            twice.push(format!("{name}: {} orders, {} named", buyer.orders.len(), named.len()));
        }
        promises += named.len();
        for id in named {
            let is_kept = |order: &&Order| {
                order.order_id == id
                    && order.quantity == i64::from(quantity)
                    && (order.is_active()
                        || gave_back.contains(&order.order_id)
                        || (may_expire && order.status == "EXPIRED"))
            };
            if !buyer.orders.iter().any(is_kept) {
                lost.push(format!("{name}: {id}"));
            }
        }
        if buyer.only_refused
            && let [order, ..] = buyer.orders[..]
        {
            refused.push(format!("{name}: {}", order.order_id));
        }
    }
    let mut kept = Check::none("every order told is there, once", lost);
    kept.expected = promises.to_string();
    kept.actual = (promises - kept.actual.parse::<usize>().unwrap_or(promises)).to_string();
    vec![
        Check::none("buyers with more than one order", twice),
        kept,
        Check::none("refused buyers with an order", refused),
    ]
}

fn distinct_promises(buyers: &BTreeMap<u32, Buyer>) -> Check {
    let promised: Vec<Uuid> = buyers.values().flat_map(|buyer| buyer.promised.iter().copied()).collect();
    let distinct: BTreeSet<Uuid> = promised.iter().copied().collect();
    Check::new("orders promised are distinct", promised.len(), distinct.len(), promised.len() == distinct.len())
}

fn of_answers(evidence: &Evidence) -> [Check; 2] {
    let name = |buyer: u32| (evidence.name_of)(buyer);
    let odd = evidence.history.clicks.iter().filter_map(|click| match &click.told {
        Told::Odd(what) => Some(format!("{}: {what}", name(click.buyer))),
        _ => None,
    });
    let in_doubt = evidence.history.clicks.iter().filter(|click| click.gave_up);
    let in_doubt = in_doubt.map(|click| match &click.told {
        Told::Lost(cause) => format!("{}: {cause}", name(click.buyer)),
        told => format!("{}: {} to the end", name(click.buyer), told.name()),
    });
    [
        Check::none("answers outside the contract", odd.collect()),
        Check::none("buyers left without a decision", in_doubt.collect()),
    ]
}

/// What no order may be in the end.
fn of_states(evidence: &Evidence) -> Check {
    let Plan { pays, hold_seconds, .. } = *evidence.plan;
    let (name, wrong): (_, &[&str]) = match (pays, hold_seconds) {
        (true, _) => ("orders neither paid nor given back", &["HELD", "PAYING", "REFUSED"]),
        (false, 0) => ("orders that are not confirmed", &["HELD", "PAYING", "REFUSED", "EXPIRED", "CANCELLED"]),
        (false, _) => ("orders that were refused or paid for", &["REFUSED", "PAYING", "CONFIRMED", "CANCELLED"]),
    };
    let strays = evidence.orders.iter().filter(|order| wrong.contains(&order.status.as_str()));
    Check::none(name, strays.map(|order| format!("{}: {} {}", order.user_id, order.status, order.order_id)).collect())
}

fn of_payments(evidence: &Evidence) -> Vec<Check> {
    let (payments, orders) = (&evidence.history.payments, evidence.orders);
    let stuck = payments.iter().filter(|paid| !paid.is_confirmed() && !paid.has_failed());
    let stuck = stuck.map(|paid| match &paid.ended {
        Ok(status) => format!("{}: {status}", paid.order),
        Err(why) => format!("{}: {why}", paid.order),
    });
    let of_state = |state: &str| -> BTreeSet<Uuid> {
        orders.iter().filter(|order| order.status == state).map(|order| order.order_id).collect()
    };
    let paid: BTreeSet<Uuid> = payments.iter().filter(|paid| paid.is_confirmed()).map(|paid| paid.order).collect();
    let confirmed = of_state("CONFIRMED");
    let mut equal = Check::new("confirmed orders are those paid for", paid.len(), confirmed.len(), paid == confirmed);
    equal.culprits = paid.symmetric_difference(&confirmed).take(MOST_NAMED).map(|id| format!("order {id}")).collect();
    let stock = i64::from(evidence.plan.stock);
    let there = units(orders.iter()) + evidence.books.books.available;
    vec![
        Check::none("payments left undecided", stuck.collect()),
        equal,
        Check::new("units of failed payments are back", format!("{stock} sold or on sale"), there, there == stock),
    ]
}

fn of_books(evidence: &Evidence) -> Vec<Check> {
    let books = evidence.books;
    let settled = if books.settled { "yes" } else { "no" };
    let mut checks = vec![Check::new("the books settle", "yes", settled, books.settled)];
    checks.extend(books.invariants.iter().map(|invariant| {
        let name = format!("books: {}", invariant.name.replace('_', " "));
        Check::new(&name, &invariant.expected, &invariant.actual, invariant.ok)
    }));
    // One that this program does not know by name.
    if !books.ok && books.invariants.iter().all(|invariant| invariant.ok) {
        checks.push(Check::new("books: ok", true, false, false));
    }
    checks
}

#[cfg(test)]
mod tests;
