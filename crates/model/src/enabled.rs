//! Which steps are possible in a state.

use crate::action::{Action, Fault, Lag};
use crate::state::{Adjustment, Claim, Hand, Id, Order, Reservation, Said, State, Step};
use crate::{Model, PlantedBug};

impl Model {
    /// Steps of our own processes and of the buyers.
    pub(crate) fn steps(&self, state: &State, actions: &mut Vec<Action>) {
        self.clicks(state, actions);
        for (id, reservation) in state.each() {
            if reservation.said == Said::Won {
                actions.push(Action::Publish(id));
            }
            self.persists(state, id, reservation, actions);
            self.keeps(state, id, reservation, actions);
            self.expires(state, id, reservation, actions);
        }
        if state.sale.expiring.is_some() {
            actions.push(Action::ExpireWrite);
        }
        self.claims(state, actions);
        self.rebuilds(state, actions);
    }

    /// A gate that cannot decide answers "try again": nothing happened, so it is no step. The same holds for a buyer
    /// whom the gate knows. A batch is several steps: that its attempts are decided with nothing in between is one of
    /// the orders explored here, and so for messages with several reservations.
    ///
    /// Whether the sale is draining plays no part: a process may not have noticed yet. Only once the old outbox was
    /// read for the last time the old gate is of no interest any more: a win there is returned and never promised.
    fn clicks(&self, state: &State, actions: &mut Vec<Action>) {
        let loads = self.bug == Some(PlantedBug::ScriptsLoadedOnNoscript);
        // The gate knows the history it was installed on. That alone would make up for scripts that come on demand, so
        // it is left out with them: each defence has to stand alone.
        let any_history = loads || self.bug == Some(PlantedBug::FailbackWithoutReplidCheck);
        let decides = state.redis.gate.is_some_and(|gate| gate.open)
            && (state.redis.loaded().live || loads)
            && (state.redis.same_server || any_history);
        let is_dead = state.rebuild.as_ref().is_some_and(|rebuild| rebuild.step >= Step::Settled);
        if !decides || is_dead {
            return;
        }
        for (buyer, attempts) in (0_u8..).zip(&state.buyers) {
            let asked = attempts.iter().take_while(|attempt| attempt.said != Said::Nothing).count();
            let free =
                asked < attempts.len() && asked.checked_sub(1).is_none_or(|last| attempts[last].said.is_answer());
            if free && !attempts.iter().any(|attempt| attempt.holds) {
                actions.push(Action::Reserve(Id { buyer, attempt: u8::from(asked > 0) }));
            }
        }
    }

    /// A persister may come at any time, even to a sale that is draining: it may have read it as open before. Any
    /// number of them may be at work; each delivery is a hand of its own. One that PostgreSQL knows is taken, found to
    /// be a duplicate and acknowledged in one step: nothing but its place in the queue can change.
    fn persists(&self, state: &State, id: Id, reservation: &Reservation, actions: &mut Vec<Action>) {
        let ack_first = self.bug == Some(PlantedBug::AckBeforeCommit);
        match reservation.hand {
            Hand::Empty if reservation.ready && !(reservation.is_known() && state.sale.draining) => {
                actions.push(Action::Take(id));
            }
            Hand::Empty => {}
            Hand::Taken if ack_first => actions.push(Action::AckFirst(id)),
            Hand::Taken | Hand::Forgotten => actions.push(Action::Commit(id)),
        }
        if reservation.late {
            actions.push(Action::CommitLate(id));
        }
    }

    /// Both of these read first and write later in the code. As one step they show no less: a second copy of a message
    /// that was applied meanwhile is what [`Fault::MessageRepeated`] gives, and what is written under a dead epoch is
    /// written to keys that nobody reads and to a routing key that leads nowhere.
    ///
    /// An entry is left behind once it is older than the longest wait for a confirm: by then its buyer has an answer.
    fn keeps(&self, state: &State, id: Id, reservation: &Reservation, actions: &mut Vec<Action>) {
        if state.sale.draining {
            return;
        }
        let is_left = reservation.outbox && reservation.said.is_answer() && reservation.hand == Hand::Empty;
        if is_left && !state.all().any(|other| other.ready) && !self.needs_rebuild(state) {
            actions.push(Action::Republish(id));
        }
        let adjustments = [reservation.back, reservation.off];
        if adjustments.contains(&Adjustment::Pending) && state.redis.gate.is_some() && state.redis.loaded().live {
            actions.push(Action::Adjust(id));
        }
    }

    fn expires(&self, state: &State, id: Id, reservation: &Reservation, actions: &mut Vec<Action>) {
        if reservation.order != Order::Active || state.expiries_left == 0 {
            return;
        }
        actions.push(match self.bug {
            Some(PlantedBug::ExpiryWithoutSaleLock) => Action::ExpireRead(id),
            _ => Action::Expire(id),
        });
    }

    fn rebuilds(&self, state: &State, actions: &mut Vec<Action>) {
        let Some(rebuild) = &state.rebuild else {
            if state.sale.draining || self.needs_rebuild(state) {
                actions.push(Action::Begin);
            }
            return;
        };
        let mut waits = false;
        if rebuild.step == Step::Unbound && state.broker.queue {
            for (id, _) in state.each().filter(|(_, reservation)| reservation.ready) {
                actions.push(Action::Drain(id));
            }
            let counts_hands = self.bug != Some(PlantedBug::RebuildWithoutEmptyHands);
            waits = state.all().any(|of| of.ready || (counts_hands && of.hand != Hand::Empty));
        }
        if rebuild.step == Step::Drained {
            for (id, _) in state.each().filter(|(id, reservation)| to_recover(state, *id, reservation)) {
                actions.push(Action::Recover(id));
                waits = true;
            }
        }
        if !waits {
            actions.push(Action::Proceed);
        }
    }

    /// What `plan` answers for an open sale.
    pub(crate) fn needs_rebuild(&self, state: &State) -> bool {
        let redis = &state.redis;
        let same_server = redis.same_server || self.bug == Some(PlantedBug::FailbackWithoutReplidCheck);
        let gate_stands = redis.gate.is_some_and(|gate| gate.open);
        !(gate_stands && redis.loaded().live && same_server && state.broker.queue)
    }

    /// Everything that may break.
    pub(crate) fn faults(&self, state: &State, actions: &mut Vec<Action>) {
        let mut faults = Vec::new();
        for (id, reservation) in state.each() {
            if reservation.said == Said::Won {
                faults.push(Fault::ApiKilled(id));
                if state.broker.queue && state.broker.bound {
                    faults.push(Fault::ConfirmLost(id));
                }
            }
            if reservation.hand != Hand::Empty || reservation.late {
                faults.push(Fault::PersisterKilled(id));
            }
            if reservation.hand == Hand::Taken && state.broker.queue && !state.sale.draining {
                faults.push(Fault::PersisterKilledBeforeAck(id));
            }
            let delivered = reservation.order != Order::Absent || reservation.hand != Hand::Empty;
            if delivered && !reservation.ready && state.broker.queue {
                faults.push(Fault::MessageRepeated(id));
            }
        }
        if let Some(rebuild) = &state.rebuild {
            faults.push(Fault::ReconcilerKilled);
            if rebuild.step == Step::Unbound && state.broker.queue {
                let ready = state.each().filter(|(_, reservation)| reservation.ready);
                faults.extend(ready.map(|(id, _)| Fault::ReconcilerKilledBeforeAck(id)));
            }
        }
        redis_faults(state, &mut faults);
        // In the window of the one double fault that the promise excludes, the other half of it does not happen.
        if state.broker.queue && !state.redis_lost {
            faults.push(Fault::QueueLost);
        }
        if state.broker.new_queue {
            faults.push(Fault::NewQueueLost);
        }
        actions.extend(faults.into_iter().map(Action::Fault));
    }
}

/// Entries of the outbox that a rebuild has to decide on. One whose buyer has another order is decided: it gets none.
fn to_recover(state: &State, id: Id, reservation: &Reservation) -> bool {
    reservation.outbox && !reservation.is_known() && !state.has_another_order(id)
}

/// As for queues: while a queue's messages are lost, no data of Redis gets lost.
fn redis_faults(state: &State, faults: &mut Vec<Fault>) {
    faults.push(Fault::RedisRestarted);
    faults.push(Fault::RedisFailsOver(Lag::Nothing));
    if state.queue_lost {
        return;
    }
    if state.redis.gate.is_some() || state.redis.new_gate.is_some() {
        faults.push(Fault::RedisWiped);
    }
    for (id, _) in state.each().filter(|(_, reservation)| reservation.recent) {
        faults.push(Fault::RedisFailsOver(Lag::One(id)));
    }
    if state.redis.new_buyers && state.all().any(|reservation| reservation.order != Order::Absent) {
        faults.push(Fault::RedisFailsOver(Lag::NewBuyers));
    }
    let claimed = matches!(state.sale.claim, Claim::Pending { gate: Some(true), .. });
    if state.redis.new_gate.is_some() || claimed || state.count(|reservation| reservation.recent) > 1 {
        faults.push(Fault::RedisFailsOver(Lag::Everything));
    }
}
