//! What a step of the API, a persister, a keeper or PostgreSQL does.

use crate::action::Action;
use crate::state::{Adjustment, Claim, Hand, Id, Order, Reservation, Said, State};
use crate::{Model, PlantedBug, claim};

/// Who applies a reservation, as `apply_batch` sees it.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) enum By {
    /// A persister, from the live queue.
    Persister,
    /// A persister, from a dead queue.
    LatePersister,
    /// The reconciler, with the token.
    Reconciler,
}

impl Model {
    /// Does a step that is possible.
    pub(crate) fn step(&self, state: &mut State, action: Action) {
        match action {
            Action::Reserve(id) => self.reserve(state, id),
            Action::Publish(id) => {
                let routed = state.broker.queue && state.broker.bound;
                let reservation = state.at_mut(id);
                reservation.ready |= routed;
                reservation.said = if routed { Said::Success } else { Said::Unknown };
                if routed && self.bug == Some(PlantedBug::OutboxDeletedOnConfirm) {
                    reservation.outbox = false;
                }
            }
            Action::Take(id) => {
                let reservation = state.at_mut(id);
                reservation.ready = false;
                if !reservation.is_known() {
                    reservation.hand = Hand::Taken;
                }
            }
            Action::AckFirst(id) => state.at_mut(id).hand = Hand::Forgotten,
            Action::Commit(id) => self.commit(state, id),
            Action::CommitLate(id) => {
                state.at_mut(id).late = false;
                // While the sale is draining it is fenced, and its queue is gone.
                if !state.sale.draining {
                    self.apply(state, id, By::LatePersister);
                }
            }
            Action::Republish(id) => state.at_mut(id).ready = true,
            Action::Adjust(id) => adjust(state, id),
            Action::Claim => self.claim(state),
            Action::AskClaim => claim::ask(state),
            Action::BookClaim => claim::settle(state),
            Action::Expire(id) => expire(state, id, state.sale.sold),
            Action::ExpireRead(id) => {
                state.expiries_left -= 1;
                state.sale.expiring = Some((id, state.sale.sold));
            }
            Action::ExpireWrite => {
                if let Some((id, read)) = state.sale.expiring.take() {
                    state.expiries_left += 1;
                    expire(state, id, read);
                }
            }
            Action::Begin => Self::begin(state),
            Action::Drain(id) => {
                self.apply(state, id, By::Reconciler);
                state.at_mut(id).ready = false;
            }
            Action::Recover(id) => self.apply(state, id, By::Reconciler),
            Action::Proceed => self.proceed(state),
            Action::Fault(fault) => self.break_down(state, fault),
        }
    }

    fn reserve(&self, state: &mut State, id: Id) {
        if self.bug == Some(PlantedBug::ScriptsLoadedOnNoscript) {
            state.redis.scripts[state.redis.master].live = true;
        }
        let Some(gate) = &mut state.redis.gate else { return };
        if gate.stock <= 0 {
            state.at_mut(id).said = Said::SoldOut;
            return;
        }
        gate.stock -= 1;
        let reservation = state.at_mut(id);
        (reservation.holds, reservation.recent, reservation.outbox) = (true, true, true);
        reservation.said = Said::Won;
    }

    fn commit(&self, state: &mut State, id: Id) {
        if state.sale.draining {
            // Fenced: the persister closes its channel, and what it held is back in the queue.
            let back = state.broker.queue && state.at(id).hand != Hand::Forgotten;
            state.at_mut(id).ready |= back;
        } else {
            self.apply(state, id, By::Persister);
        }
        state.at_mut(id).hand = Hand::Empty;
    }

    /// `apply_batch` of one reservation, under the sale's lock.
    pub(crate) fn apply(&self, state: &mut State, id: Id, by: By) {
        state.at_mut(id).outbox = false;
        let another = state.has_another_order(id);
        let fits = state.sale.sold < state.sale.total;
        if state.at(id).order != Order::Absent {
            return;
        }
        if another {
            let reservation = state.at_mut(id);
            if by == By::Persister && reservation.back == Adjustment::Absent {
                reservation.back = Adjustment::Pending;
            }
        } else if fits {
            state.sale.sold += 1;
            let reservation = state.at_mut(id);
            reservation.order = Order::Active;
            if by == By::LatePersister {
                reservation.off = Adjustment::Pending;
                if let Claim::Pending { overtaken, .. } = &mut state.sale.claim {
                    *overtaken = true;
                }
            }
        } else {
            state.at_mut(id).order = Order::Refused;
        }
    }
}

/// `adjust.lua` and the mark in PostgreSQL. A keeper that dies in between does the first again, which then finds the id
/// in `adjusted` and changes nothing; and a rebuild marks all there are.
fn adjust(state: &mut State, id: Id) {
    let Reservation { back, off, .. } = *state.at(id);
    let Some(gate) = &mut state.redis.gate else { return };
    let mut seen = |adjustment: Adjustment, units: i8| {
        if adjustment != Adjustment::Pending {
            return adjustment;
        }
        gate.stock += units;
        Adjustment::Applied
    };
    let (back, off) = (seen(back, 1), seen(off, -1));
    let reservation = state.at_mut(id);
    (reservation.back, reservation.off) = (back, off);
}

/// Moves an order out of the active states and books its unit back. `sold` is what the counter was read as.
fn expire(state: &mut State, id: Id, sold: i8) {
    state.expiries_left -= 1;
    state.sale.sold = sold - 1;
    let reservation = state.at_mut(id);
    reservation.order = Order::Expired;
    reservation.back = Adjustment::Pending;
}
