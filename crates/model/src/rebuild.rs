//! What each step of a rebuild does (`reconcile/src/rebuild.rs`).

use crate::state::{Adjustment, Gate, Hand, Order, Rebuild, Said, Scripts, State, Step};
use crate::{Model, PlantedBug, claim};

impl Model {
    /// Takes the lock, raises the epoch and declares the new queue. What an earlier reconciler left of its own new
    /// epoch is garbage from now on.
    ///
    /// That the old gate is closed on the way is left out: it is a courtesy, and a failure of it is ignored.
    pub(crate) fn begin(state: &mut State) {
        state.sale.draining = true;
        state.rebuild = Some(Rebuild { step: Step::Begun, stock: 0 });
        state.broker.new_queue = true;
    }

    /// Lets go of the drain. The next reconciler starts over under a higher epoch.
    pub(crate) fn let_go(state: &mut State) {
        state.rebuild = None;
        state.broker.new_queue = false;
        state.redis.new_gate = None;
        state.redis.new_buyers = false;
        state.redis.new_same_server = false;
        state.redis.scripts.iter_mut().for_each(|scripts| scripts.new = false);
    }

    /// The step after the one that `state` names.
    pub(crate) fn proceed(&self, state: &mut State) {
        let Some(Rebuild { step, stock }) = state.rebuild.clone() else { return };
        let next = match step {
            Step::Begun if self.bug == Some(PlantedBug::RebuildWithoutDrain) => return self.settle_stock(state),
            Step::Begun => {
                state.broker.bound = self.bug == Some(PlantedBug::RebuildWithoutUnbind);
                Step::Unbound
            }
            Step::Unbound => Step::Drained,
            Step::Drained => return self.settle_stock(state),
            Step::Settled => {
                state.redis.new_same_server = true;
                Step::Identified
            }
            Step::Identified => {
                state.redis.scripts[state.redis.master].new = true;
                Step::Loaded
            }
            Step::Loaded => {
                state.redis.new_gate = Some(Gate { stock, open: false });
                Step::Written
            }
            Step::Written => {
                state.redis.new_buyers = true;
                Step::Peopled
            }
            Step::Peopled if state.broker.new_queue => Step::Checked,
            Step::Checked if open_gate(state) => Step::Opened,
            Step::Peopled | Step::Checked => return Self::let_go(state),
            Step::Opened => return open_sale(state),
        };
        state.rebuild = Some(Rebuild { step: next, stock });
    }

    /// Adjustments that are committed before are in the sum; those committed after belong to the new gate.
    fn settle_stock(&self, state: &mut State) {
        for reservation in state.all_mut() {
            for adjustment in [&mut reservation.back, &mut reservation.off] {
                if *adjustment != Adjustment::Absent {
                    *adjustment = Adjustment::Applied;
                }
            }
        }
        claim::carry_over(state, self.bug == Some(PlantedBug::ClaimDecidedByRebuild));
        let stock = state.sale.total - state.sale.sold;
        state.rebuild = Some(Rebuild { step: Step::Settled, stock });
    }
}

/// `open.lua`: NOSCRIPT, no gate or missing buyers are an error. The number of buyers to expect was read when the stock
/// was settled; no order was written since.
fn open_gate(state: &mut State) -> bool {
    let ready = state.redis.loaded().new && state.redis.new_buyers;
    match &mut state.redis.new_gate {
        Some(gate) if ready => {
            gate.open = true;
            true
        }
        _ => false,
    }
}

/// The last step, in PostgreSQL: the new epoch is the live one, and the old one is dead. Its queue and keys are deleted
/// right after; if that fails nobody can tell, so it is one step here.
fn open_sale(state: &mut State) {
    let (redis, broker) = (&mut state.redis, &mut state.broker);
    redis.gate = redis.new_gate.take();
    redis.same_server = redis.new_same_server;
    for scripts in &mut redis.scripts {
        *scripts = Scripts { live: scripts.new, new: false };
    }
    (broker.queue, broker.bound) = (broker.new_queue, true);
    let loaded = redis.new_buyers;
    for reservation in state.all_mut() {
        reservation.holds = loaded && reservation.order != Order::Absent;
        (reservation.recent, reservation.outbox, reservation.ready) = (false, false, false);
        // Hands are empty, unless the queue was lost under them.
        reservation.late |= matches!(reservation.hand, Hand::Taken | Hand::Forgotten);
        reservation.hand = Hand::Empty;
        // Not published yet: it will be returned.
        if reservation.said == Said::Won {
            reservation.said = Said::Unknown;
        }
    }
    claim::ask_again(state);
    state.sale.draining = false;
    (state.redis_lost, state.queue_lost) = (false, false);
    Model::let_go(state);
}
