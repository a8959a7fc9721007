//! What a fault does.

use crate::action::{Fault, Lag};
use crate::state::{Hand, Id, Said, Scripts, State};
use crate::step::By;
use crate::{Model, PlantedBug, claim};

impl Model {
    pub(crate) fn break_down(&self, state: &mut State, fault: Fault) {
        state.faults_left -= 1;
        match fault {
            Fault::ApiKilled(id) => state.at_mut(id).said = Said::Unknown,
            Fault::ConfirmLost(id) => {
                let reservation = state.at_mut(id);
                (reservation.said, reservation.ready) = (Said::Unknown, true);
                if self.bug == Some(PlantedBug::StockGivenBackOnPublishTimeout) {
                    forget(state, id);
                }
            }
            Fault::PersisterKilled(id) => {
                let queue = state.broker.queue;
                let reservation = state.at_mut(id);
                reservation.ready |= queue && reservation.hand == Hand::Taken;
                (reservation.hand, reservation.late) = (Hand::Empty, false);
            }
            Fault::PersisterKilledBeforeAck(id) => {
                self.apply(state, id, By::Persister);
                let reservation = state.at_mut(id);
                (reservation.hand, reservation.ready) = (Hand::Empty, true);
            }
            Fault::ReconcilerKilled => Self::let_go(state),
            Fault::ReconcilerKilledBeforeAck(id) => {
                self.apply(state, id, By::Reconciler);
                Self::let_go(state);
            }
            Fault::RedisRestarted => {
                let master = state.redis.master;
                state.redis.scripts[master] = Scripts::default();
                (state.redis.same_server, state.redis.new_same_server) = (false, false);
            }
            Fault::RedisWiped => wipe(state),
            Fault::RedisFailsOver(lag) => fail_over(state, lag),
            Fault::QueueLost => {
                state.queue_lost = true;
                (state.broker.queue, state.broker.bound) = (false, false);
                state.all_mut().for_each(|reservation| reservation.ready = false);
            }
            Fault::NewQueueLost => state.broker.new_queue = false,
            Fault::MessageRepeated(id) => state.at_mut(id).ready = true,
        }
    }
}

fn wipe(state: &mut State) {
    state.redis_lost = true;
    claim::forget(state);
    (state.redis.gate, state.redis.new_gate, state.redis.new_buyers) = (None, None, false);
    for reservation in state.all_mut() {
        (reservation.holds, reservation.recent, reservation.outbox) = (false, false, false);
    }
}

/// Every promotion gives the history a new replid. A server that comes back as the master has taken over the other's
/// data, and still has the scripts it had: there is one set of data, and each failover may lose some of it.
fn fail_over(state: &mut State, lag: Lag) {
    state.redis.master = 1 - state.redis.master;
    (state.redis.same_server, state.redis.new_same_server) = (false, false);
    match lag {
        Lag::Nothing => return,
        Lag::One(id) => forget(state, id),
        Lag::NewBuyers => {
            state.redis.new_buyers = false;
            if let Some(gate) = &mut state.redis.new_gate {
                gate.open = false;
            }
            return;
        }
        Lag::Everything => {
            (state.redis.new_gate, state.redis.new_buyers) = (None, false);
            claim::forget(state);
            let recent: Vec<Id> = state.each().filter(|(_, of)| of.recent).map(|(id, _)| id).collect();
            recent.into_iter().for_each(|id| forget(state, id));
        }
    }
    state.redis_lost = true;
}

/// Takes a decision of the live gate back as if it had never been made.
fn forget(state: &mut State, id: Id) {
    if let Some(gate) = &mut state.redis.gate {
        gate.stock += 1;
    }
    let reservation = state.at_mut(id);
    (reservation.holds, reservation.recent, reservation.outbox) = (false, false, false);
}
