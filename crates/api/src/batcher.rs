//! Gathers the attempts of one HTTP thread: those that wait together go to Redis in one call, and their wins to
//! RabbitMQ in one message. Nothing waits on a timer: a batch is whatever gathered while the last call was out.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use boot::Outage;
use broker::Publisher;
use domain::{Reservation, ReservationBatch, ReservationId, SaleId, SaleState};
use inventory::{Attempt, Decision, Inventory, MAX_BATCH, Reserved};
use tokio::sync::oneshot;

use crate::view::{SaleView, View};

/// What became of an attempt.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// Promised: on disk in Redis and confirmed by RabbitMQ.
    Reserved { remaining: i64 },
    /// The buyer holds this reservation already.
    AlreadyPurchased(ReservationId),
    /// Fewer units are left than were asked for.
    SoldOut { remaining: i64 },
    /// The sale has not started, or is over.
    NotActive,
    /// Nothing was decided.
    Undecided,
    /// The attempt may have won or not; it is settled without the buyer.
    Unknown,
}

/// The batcher of one HTTP thread. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Batcher(Rc<Inner>);

struct Inner {
    inventory: Inventory,
    publisher: Publisher,
    view: Arc<View>,
    /// Attempts that wait, by sale. A sale is in here exactly as long as its task runs.
    lanes: RefCell<HashMap<SaleId, Vec<Waiting>>>,
    waiting: Cell<usize>,
    max_waiting: usize,
    outage: RefCell<Outage>,
}

struct Waiting {
    attempt: Attempt,
    answer: oneshot::Sender<Verdict>,
}

impl Batcher {
    pub(crate) fn new(inventory: Inventory, publisher: Publisher, view: Arc<View>, max_waiting: usize) -> Self {
        Self(Rc::new(Inner {
            inventory,
            publisher,
            view,
            lanes: RefCell::default(),
            waiting: Cell::new(0),
            max_waiting,
            outage: RefCell::new(Outage::of("reservations cannot be decided, buyers are asked to try again")),
        }))
    }

    /// Has `attempt` decided. The decision goes on where the caller stops waiting for it.
    pub(crate) async fn reserve(&self, sale: SaleId, attempt: Attempt) -> Verdict {
        let inner = &self.0;
        // A win that could not be published would be a promise nobody may make: do not even ask.
        if !inner.publisher.is_ready() || inner.waiting.get() >= inner.max_waiting {
            return Verdict::Undecided;
        }
        let (answer, verdict) = oneshot::channel();
        inner.waiting.set(inner.waiting.get() + 1);
        let waiting = Waiting { attempt, answer };
        let starts = {
            let mut lanes = inner.lanes.borrow_mut();
            let starts = !lanes.contains_key(&sale);
            lanes.entry(sale).or_default().push(waiting);
            starts
        };
        if starts {
            actix_web::rt::spawn(Rc::clone(inner).run_lane(sale));
        }
        verdict.await.unwrap_or(Verdict::Unknown)
    }
}

impl Inner {
    /// Decides batch after batch of one sale until nobody waits.
    async fn run_lane(self: Rc<Self>, sale: SaleId) {
        loop {
            // Requests whose bytes have arrived already join this batch.
            tokio::task::yield_now().await;
            let Some(batch) = self.take_batch(sale) else { return };
            self.waiting.set(self.waiting.get() - batch.len());
            self.decide(sale, batch).await;
        }
    }

    /// The next attempts of a sale; `None` closes its lane.
    fn take_batch(&self, sale: SaleId) -> Option<Vec<Waiting>> {
        let mut lanes = self.lanes.borrow_mut();
        let lane = lanes.get_mut(&sale)?;
        if lane.is_empty() {
            lanes.remove(&sale);
            None
        } else if lane.len() > MAX_BATCH {
            let rest = lane.split_off(MAX_BATCH);
            Some(std::mem::replace(lane, rest))
        } else {
            Some(std::mem::take(lane))
        }
    }

    async fn decide(self: &Rc<Self>, sale: SaleId, batch: Vec<Waiting>) {
        let (attempts, answers): (Vec<Attempt>, Vec<oneshot::Sender<Verdict>>) =
            batch.into_iter().map(|waiting| (waiting.attempt, waiting.answer)).unzip();
        let view = self.view.get(sale).filter(|view| view.sale.state == SaleState::Open);
        let Some((view, installation)) = view.as_ref().and_then(|view| Some((view, view.sale.installation.as_ref()?)))
        else {
            return answer_all(answers, Verdict::Undecided);
        };
        let decided = self.inventory.reserve(sale, view.sale.epoch, &installation.scripts, &attempts).await;
        self.outage.borrow_mut().note(&decided);
        match decided {
            Ok(reserved) => self.answer(view, reserved, attempts, answers),
            // The epoch is gone, and with it everything this call could have done.
            Err(inventory::Error::Lost(_)) => {
                self.view.refresh_soon();
                answer_all(answers, Verdict::Undecided);
            }
            Err(_) => answer_all(answers, Verdict::Unknown),
        }
    }

    /// Refusals are answered at once; wins when RabbitMQ has them.
    fn answer(
        self: &Rc<Self>,
        view: &SaleView,
        reserved: Reserved,
        attempts: Vec<Attempt>,
        answers: Vec<oneshot::Sender<Verdict>>,
    ) {
        view.saw_stock(reserved.stock_left);
        let (mut reservations, mut winners) = (Vec::new(), Vec::new());
        for ((decision, attempt), answer) in reserved.decisions.into_iter().zip(attempts).zip(answers) {
            let verdict = match decision {
                Decision::Won { outbox_id } => {
                    reservations.push(reservation(attempt, outbox_id));
                    winners.push(answer);
                    continue;
                }
                Decision::Holds(id) => Verdict::AlreadyPurchased(id),
                Decision::NotEnough { left } => Verdict::SoldOut { remaining: left.max(0) },
                Decision::NotStarted | Decision::Ended => Verdict::NotActive,
                Decision::Closed | Decision::OutboxFull => Verdict::Undecided,
            };
            // A buyer who has gone away needs no answer.
            let _ = answer.send(verdict);
        }
        if !winners.is_empty() {
            let batch =
                ReservationBatch { sale_id: view.sale.id, epoch: view.sale.epoch, terms: reserved.terms, reservations };
            let remaining = reserved.stock_left;
            actix_web::rt::spawn(Rc::clone(self).promise(batch, winners, remaining));
        }
    }

    /// The promise: SUCCESS only for what RabbitMQ has confirmed. Otherwise the units stay taken, and the keeper
    /// publishes the outbox entry again.
    async fn promise(self: Rc<Self>, batch: ReservationBatch, winners: Vec<oneshot::Sender<Verdict>>, remaining: i64) {
        match self.publisher.publish(&batch).await {
            Ok(()) => answer_all(winners, Verdict::Reserved { remaining }),
            Err(error) => {
                tracing::debug!(sale = %batch.sale_id, reservations = winners.len(), %error, "not confirmed");
                answer_all(winners, Verdict::Unknown);
            }
        }
    }
}

fn answer_all(answers: Vec<oneshot::Sender<Verdict>>, verdict: Verdict) {
    for answer in answers {
        let _ = answer.send(verdict);
    }
}

fn reservation(attempt: Attempt, outbox_id: Option<String>) -> Reservation {
    let decided_at = outbox_id.as_deref().and_then(|id| inventory::reserved_at(id).ok());
    let Attempt { id, user_id, quantity } = attempt;
    let reserved_at = decided_at.unwrap_or_else(|| i64::try_from(boot::clock::now_ms()).unwrap_or(i64::MAX));
    Reservation { id, user_id, quantity, reserved_at, outbox_id }
}
