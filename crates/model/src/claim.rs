//! A unit that an operator wants out of the sale (`lua/claim.lua`, `settle_claim`).

use crate::action::Action;
use crate::state::{Adjustment, Claim, State};
use crate::{Model, PlantedBug};

impl Model {
    /// Whoever asks the gate has given it before what was booked before: `reconcile::synchronize` reads adjustments and
    /// claims at once and brings the adjustments first.
    pub(crate) fn claims(&self, state: &State, actions: &mut Vec<Action>) {
        match state.sale.claim {
            Claim::Coming => actions.push(Action::Claim),
            Claim::Pending { told, overtaken, .. } if !state.sale.draining => {
                let any_history = self.bug == Some(PlantedBug::ClaimWithoutReplidCheck);
                let answers =
                    state.redis.gate.is_some() && state.redis.loaded().live && (state.redis.same_server || any_history);
                let brought = overtaken || !state.all().any(|of| of.off == Adjustment::Pending);
                if told.is_none() && answers && brought {
                    actions.push(Action::AskClaim);
                }
                if told.is_some() {
                    actions.push(Action::BookClaim);
                }
            }
            Claim::Refused { back: Adjustment::Pending } if self.gate_is_told(state) => actions.push(Action::BookClaim),
            _ => {}
        }
    }

    fn gate_is_told(&self, state: &State) -> bool {
        !state.sale.draining && state.redis.gate.is_some() && state.redis.loaded().live
    }

    /// Writes the claim. With the bug planted there is none: PostgreSQL goes by what it knows.
    pub(crate) fn claim(&self, state: &mut State) {
        let pending = Claim::Pending { gate: None, told: None, overtaken: false };
        if self.bug == Some(PlantedBug::LoweredWithoutClaim) {
            book(state, state.sale.sold < state.sale.total);
        } else {
            state.sale.claim = pending;
        }
    }
}

/// `claim.lua`: decided once, remembered with the gate.
pub(crate) fn ask(state: &mut State) {
    let (Claim::Pending { gate: memory, told, .. }, Some(gate)) = (&mut state.sale.claim, &mut state.redis.gate) else {
        return;
    };
    let taken = memory.unwrap_or(gate.stock > 0);
    if taken && memory.is_none() {
        gate.stock -= 1;
    }
    (*memory, *told) = (Some(taken), Some(taken));
}

/// `settle_claim`, or the adjustment that it gave back.
pub(crate) fn settle(state: &mut State) {
    match state.sale.claim {
        Claim::Pending { told: Some(true), overtaken: true, .. } => {
            state.sale.claim = Claim::Refused { back: Adjustment::Pending };
        }
        Claim::Pending { told: Some(taken), .. } => book(state, taken),
        Claim::Refused { back: Adjustment::Pending } => {
            state.sale.claim = Claim::Refused { back: Adjustment::Applied };
            if let Some(gate) = &mut state.redis.gate {
                gate.stock += 1;
            }
        }
        _ => {}
    }
}

/// A rebuild leaves a claim to the new gate. With the bug planted it decides by itself.
pub(crate) fn carry_over(state: &mut State, decides: bool) {
    match &mut state.sale.claim {
        Claim::Pending { .. } if decides => book(state, state.sale.sold < state.sale.total),
        Claim::Pending { told, .. } => *told = None,
        Claim::Refused { back } if *back == Adjustment::Pending => *back = Adjustment::Applied,
        _ => {}
    }
}

/// The live gate is another one.
pub(crate) fn ask_again(state: &mut State) {
    if let Claim::Pending { gate, told, .. } = &mut state.sale.claim {
        (*gate, *told) = (None, None);
    }
}

/// Redis has lost what the live gate answered.
pub(crate) fn forget(state: &mut State) {
    if let Claim::Pending { gate: memory, .. } = &mut state.sale.claim
        && memory.take() == Some(true)
        && let Some(gate) = &mut state.redis.gate
    {
        gate.stock += 1;
    }
}

fn book(state: &mut State, taken: bool) {
    state.sale.total -= i8::from(taken);
    state.sale.claim = if taken { Claim::Granted } else { Claim::Refused { back: Adjustment::Absent } };
}
