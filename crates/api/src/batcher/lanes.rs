//! The attempts that wait in one HTTP thread: a line for each sale, and how long anyone may stand in it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use domain::SaleId;
use inventory::{Attempt, MAX_BATCH};
use tokio::sync::oneshot;

use super::{Verdict, answer_all};

/// What one HTTP thread makes buyers wait for.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// Most attempts that wait.
    pub(crate) waiting: usize,
    /// Longest that an attempt waits until it is sent.
    pub(crate) wait: Duration,
}

/// An attempt on its way, and where its verdict goes.
pub(super) type Asked = (Attempt, oneshot::Sender<Verdict>);

pub(super) struct Lanes {
    limits: Limits,
    /// By sale. A sale is in here exactly as long as its task runs.
    lanes: RefCell<HashMap<SaleId, Lane>>,
    /// Attempts in all lanes.
    waiting: Cell<usize>,
}

/// The end of a lane at which attempts are taken out: its task holds it. However that ends, by a panic too, the lane is
/// closed, and the next attempt opens another one.
pub(super) struct Exit {
    lanes: Rc<Lanes>,
    sale: SaleId,
}

/// The attempts of one sale that wait while others of it are at Redis.
struct Lane {
    /// In the order in which they came.
    waiting: Vec<Waiting>,
    /// When the call that is out was sent.
    sent: Instant,
    /// How long the call before it took.
    took: Duration,
}

struct Waiting {
    asked: Asked,
    since: Instant,
}

impl Lane {
    /// With no call out yet.
    fn new(now: Instant) -> Self {
        Self { waiting: Vec::new(), sent: now, took: Duration::ZERO }
    }

    /// How long one more attempt would wait: as many calls as there are batches before it, each as slow as the slower
    /// one of the call that is out and the last one.
    fn expected_wait(&self, now: Instant) -> Duration {
        let batches = u32::try_from(self.waiting.len() / MAX_BATCH + 1).unwrap_or(u32::MAX);
        self.took.max(now - self.sent).saturating_mul(batches)
    }
}

impl Lanes {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, lanes: RefCell::default(), waiting: Cell::new(0) }
    }

    /// Lines an attempt up, and opens its sale's lane where there is none; `None` where it would wait too long.
    pub(super) fn enter(
        self: &Rc<Self>,
        sale: SaleId,
        attempt: Attempt,
        now: Instant,
    ) -> Option<(oneshot::Receiver<Verdict>, Option<Exit>)> {
        if self.waiting.get() >= self.limits.waiting {
            return None;
        }
        let mut lanes = self.lanes.borrow_mut();
        let opens = !lanes.contains_key(&sale);
        let lane = lanes.entry(sale).or_insert_with(|| Lane::new(now));
        if lane.expected_wait(now) > self.limits.wait {
            return None;
        }
        let (answer, verdict) = oneshot::channel();
        lane.waiting.push(Waiting { asked: (attempt, answer), since: now });
        self.waiting.set(self.waiting.get() + 1);
        Some((verdict, opens.then(|| Exit { lanes: Rc::clone(self), sale })))
    }

    fn send_away(&self, waiting: Vec<Waiting>) {
        self.waiting.set(self.waiting.get() - waiting.len());
        answer_all(waiting.into_iter().map(|waiting| waiting.asked.1), Verdict::Undecided);
    }
}

impl Exit {
    /// The next attempts, none of which has waited too long; `None` where nobody waits.
    pub(super) fn take_batch(&self, now: Instant) -> Option<Vec<Asked>> {
        self.shed(now);
        let mut lanes = self.lanes.lanes.borrow_mut();
        let lane = lanes.get_mut(&self.sale).filter(|lane| !lane.waiting.is_empty())?;
        (lane.took, lane.sent) = (now - lane.sent, now);
        let rest = lane.waiting.split_off(lane.waiting.len().min(MAX_BATCH));
        let batch = std::mem::replace(&mut lane.waiting, rest);
        self.lanes.waiting.set(self.lanes.waiting.get() - batch.len());
        Some(batch.into_iter().map(|waiting| waiting.asked).collect())
    }

    /// Tells those who have waited too long to try again, and forgets those whose request has ended: nobody may win who
    /// can no longer be told.
    pub(super) fn shed(&self, now: Instant) {
        let mut lanes = self.lanes.lanes.borrow_mut();
        let Some(lane) = lanes.get_mut(&self.sale) else { return };
        let is_late = |one: &mut Waiting| one.asked.1.is_closed() || now - one.since > self.lanes.limits.wait;
        let late: Vec<Waiting> = lane.waiting.extract_if(.., is_late).collect();
        self.lanes.send_away(late);
    }
}

impl Drop for Exit {
    fn drop(&mut self) {
        if let Some(lane) = self.lanes.lanes.borrow_mut().remove(&self.sale) {
            self.lanes.send_away(lane.waiting);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use domain::{Quantity, ReservationId};
    use uuid::Uuid;

    use super::*;

    const SALE: SaleId = SaleId(Uuid::from_u128(1));
    const CALL: Duration = Duration::from_millis(200);

    fn lanes() -> Rc<Lanes> {
        Rc::new(Lanes::new(Limits { waiting: 20_000, wait: Duration::from_secs(1) }))
    }

    fn enter(lanes: &Rc<Lanes>, now: Instant) -> (oneshot::Receiver<Verdict>, Option<Exit>) {
        let id = ReservationId::new_v7(1, &rand::random());
        let attempt =
            Attempt { id, user_id: "ann".parse().expect("a user's id"), quantity: Quantity::ONE, address: None };
        lanes.enter(SALE, attempt, now).expect("it is let in")
    }

    #[test]
    fn a_line_that_formed_within_a_moment_is_sent_or_sent_away_in_time_although_each_call_is_quick() {
        let (lanes, began) = (lanes(), Instant::now());
        let (mut verdict, exit) = enter(&lanes, began);
        let exit = exit.expect("the first one opens the lane");
        let mut verdicts: Vec<_> = (1..12 * MAX_BATCH).map(|_| enter(&lanes, began).0).collect();
        let (mut now, mut sent) = (began, Vec::new());
        while let Some(batch) = exit.take_batch(now) {
            assert!(now - began <= Duration::from_secs(1), "sent after {:?}", now - began);
            sent.push(batch);
            now += CALL;
        }
        assert_eq!(sent.len(), 6, "at 0, 200, 400, 600, 800 and 1,000 ms");
        let away = verdicts.iter_mut().filter_map(|verdict| verdict.try_recv().ok());
        assert_eq!(away.filter(|told| *told == Verdict::Undecided).count(), 6 * MAX_BATCH);
        assert!(verdict.try_recv().is_err(), "the first one is sent");
        assert_eq!(lanes.waiting.get(), 0);
    }

    #[test]
    fn an_attempt_whose_request_has_ended_is_not_sent() {
        let (lanes, now) = (lanes(), Instant::now());
        let (_stays, exit) = enter(&lanes, now);
        drop(enter(&lanes, now));
        let batch = exit.expect("the first one opens the lane").take_batch(now);
        assert_eq!((batch.map(|batch| batch.len()), lanes.waiting.get()), (Some(1), 0));
    }

    #[test]
    fn where_the_task_of_a_lane_panics_who_waits_is_sent_away_and_the_next_one_opens_another_lane() {
        let (lanes, now) = (lanes(), Instant::now());
        let (mut verdict, exit) = enter(&lanes, now);
        assert!(enter(&lanes, now).1.is_none(), "the lane is open");
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _exit = exit.expect("the first one opens the lane");
            panic!("a test");
        }));
        assert!(panicked.is_err());
        assert_eq!((verdict.try_recv(), lanes.waiting.get()), (Ok(Verdict::Undecided), 0));
        assert!(enter(&lanes, now).1.is_some());
    }
}
