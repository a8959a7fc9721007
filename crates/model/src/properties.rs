//! What must hold.

use stateright::Property;

use crate::Model;
use crate::action::Action;
use crate::state::{Adjustment, Claim, Hand, Order, Said, State};

/// More steps than any repair takes: a longer one goes round in circles.
const LONGEST_REPAIR: usize = 200;

/// The properties that must hold in every state.
///
/// Liveness is put as safety: `eventually` misses cycles in stateright. Instead "from every state, the processes' own
/// steps lead to a settled one" is checked state by state with one fixed order of the steps, and what must be true in
/// the end is checked wherever a state is settled.
#[must_use]
pub fn properties() -> Vec<Property<Model>> {
    vec![
        Property::always(NEVER_OVERSOLD, |_, state: &State| state.active() <= state.sale.total),
        Property::always(NOBODY_REFUSED, |_, state: &State| state.all().all(|of| of.order != Order::Refused)),
        Property::always(ONE_ORDER_PER_BUYER, |_, state: &State| {
            state.buyers.iter().all(|attempts| attempts.iter().filter(|of| of.order != Order::Absent).count() <= 1)
        }),
        Property::always(REFUSAL_STAYS, |_, state: &State| {
            state.all().all(|of| of.said != Said::SoldOut || of.order == Order::Absent)
        }),
        Property::always(COUNTER_IS_SUM, |_, state: &State| state.sale.sold == state.active()),
        Property::always(EVERY_UNIT_IS_SOMEWHERE, |_, state: &State| every_unit_is_somewhere(state)),
        Property::always(SUCCESS_STAYS, |model, state: &State| {
            !model.is_settled(state) || every_success_has_its_order(state)
        }),
        Property::always(BOOKS_SETTLE, |model, state: &State| {
            !model.is_settled(state) || everything_is_sold_or_for_sale(state)
        }),
        Property::always(ALWAYS_REPAIRED, |model, state: &State| model.repair(state.clone()).is_some()),
        Property::sometimes("all units are sold and settled", |model, state: &State| {
            model.is_settled(state) && state.active() == state.sale.total
        }),
        Property::sometimes("an expired unit is sold again", |_, state: &State| {
            state.active() == state.sale.total && state.all().any(|of| of.order == Order::Expired)
        }),
        Property::sometimes("a second attempt is promised", |_, state: &State| {
            state.buyers.iter().any(|attempts| attempts[1].said == Said::Success)
        }),
        Property::sometimes("a late delivery meets an open sale", |_, state: &State| {
            !state.sale.draining && state.all().any(|of| of.late)
        }),
    ]
}

/// Active orders never exceed the stock.
pub const NEVER_OVERSOLD: &str = "never oversold";
/// `REFUSED` stays at 0.
pub const NOBODY_REFUSED: &str = "no reservation is refused";
/// Nobody gets two orders.
pub const ONE_ORDER_PER_BUYER: &str = "one order per buyer";
/// What was told sold out never becomes an order.
pub const REFUSAL_STAYS: &str = "a refusal stays a refusal";
/// `sold` is the number of active orders.
pub const COUNTER_IS_SUM: &str = "the counter is the sum of the orders";
/// S + A + F + R + W = total.
pub const EVERY_UNIT_IS_SOMEWHERE: &str = "every unit is somewhere";
/// Once settled, each SUCCESS has its order.
pub const SUCCESS_STAYS: &str = "a success stays a success";
/// Once settled, each unit is sold or for sale.
pub const BOOKS_SETTLE: &str = "never undersold";
/// From every state the processes get back to a settled one without help.
pub const ALWAYS_REPAIRED: &str = "the sale always gets back on its feet";

/// The books, wherever there is a gate that counts: the sale is open and the gate is as it was installed.
fn every_unit_is_somewhere(state: &State) -> bool {
    let redis = &state.redis;
    let Some(gate) = redis.gate.filter(|gate| gate.open && redis.same_server && redis.loaded().live) else {
        return true;
    };
    if state.sale.draining {
        return true;
    }
    let in_flight = state.count(|of| of.outbox && !of.is_known());
    let pending = state.count(|of| of.back == Adjustment::Pending) - state.count(|of| of.off == Adjustment::Pending);
    let claim = match state.sale.claim {
        // W: given to the claim, not booked.
        Claim::Pending { gate: Some(true), .. } => 1,
        Claim::Refused { back: Adjustment::Pending } => 1,
        _ => 0,
    };
    state.active() + gate.stock + in_flight + pending + claim == state.sale.total
}

fn every_success_has_its_order(state: &State) -> bool {
    state.all().all(|of| of.said != Said::Success || matches!(of.order, Order::Active | Order::Expired))
}

fn everything_is_sold_or_for_sale(state: &State) -> bool {
    state.redis.gate.is_some_and(|gate| gate.stock + state.active() == state.sale.total)
}

impl Model {
    /// Whether nothing is on its way: only a click, an expiry or a fault could change anything.
    #[must_use]
    pub fn is_settled(&self, state: &State) -> bool {
        !state.sale.draining
            && state.sale.expiring.is_none()
            && !matches!(state.sale.claim, Claim::Pending { .. } | Claim::Refused { back: Adjustment::Pending })
            && !self.needs_rebuild(state)
            && !state.all().any(|of| {
                of.said == Said::Won
                    || of.outbox
                    || of.ready
                    || of.hand != Hand::Empty
                    || of.late
                    || of.back == Adjustment::Pending
                    || of.off == Adjustment::Pending
            })
    }

    /// Lets the processes work, with no click and no fault, until the state is settled. `None`: they get stuck.
    #[must_use]
    pub fn repair(&self, mut state: State) -> Option<State> {
        let mut actions = Vec::new();
        for _ in 0..LONGEST_REPAIR {
            if self.is_settled(&state) {
                return Some(state);
            }
            actions.clear();
            self.steps(&state, &mut actions);
            let draining = state.sale.draining;
            let next =
                actions.iter().filter(|action| is_repair(**action, draining)).min_by_key(|action| urgency(**action));
            self.step(&mut state, *next?);
        }
        None
    }
}

/// A persister that takes from a draining queue is fenced and puts it back: it may do so, but not for ever.
fn is_repair(action: Action, draining: bool) -> bool {
    match action {
        Action::Reserve(_) | Action::Claim | Action::Expire(_) | Action::ExpireRead(_) | Action::Fault(_) => false,
        Action::Take(_) => !draining,
        _ => true,
    }
}

/// What is under way is finished first; what is left behind is looked into last.
fn urgency(action: Action) -> u8 {
    match action {
        Action::Republish(_) => 2,
        Action::Begin | Action::Proceed | Action::Drain(_) | Action::Recover(_) => 1,
        _ => 0,
    }
}
