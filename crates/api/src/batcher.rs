//! Gathers the attempts of one HTTP thread: those that wait together go to Redis in one call, and their wins to
//! RabbitMQ in one message. Nothing waits on a timer: a batch is whatever gathered while the last call was out.
//!
//! Every attempt is answered, however slow the servers are: after `api.max_wait_ms` and a quarter at most it is either
//! sent or refused; a call takes two `redis.connect_timeout_ms` and two `redis.response_timeout_ms` at most, a promise
//! `rabbitmq.confirm_timeout_ms`. With the defaults that is 8.25 s at the very worst, and a second where a queue has
//! formed.

mod lanes;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use boot::Outage;
use broker::Publisher;
use domain::{Quantity, Reservation, ReservationBatch, ReservationId, SaleId, SaleState};
use failpoints::{Bug, Point};
use inventory::{Attempt, Decision, Inventory, LimitedBy, Reserved};
use tokio::sync::oneshot;

use self::lanes::{Asked, Exit, Lanes};
use crate::view::{SaleView, View};

pub(crate) use self::lanes::Limits;

/// What became of an attempt.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// Promised: on disk in Redis and confirmed by RabbitMQ.
    Reserved(Promise),
    /// The buyer holds this reservation already.
    AlreadyPurchased(ReservationId),
    /// Fewer units are left than were asked for.
    SoldOut { remaining: i64 },
    /// The sale has not started, is paused or is over.
    NotActive,
    /// More units than one buyer may have.
    OverLimit(Quantity),
    /// The buyer, or the address, has to wait.
    TooOften { by: LimitedBy, retry: Duration },
    /// Nothing was decided.
    Undecided,
    /// The attempt may have won or not; it is settled without the buyer.
    Unknown,
}

/// What a buyer is promised.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Promise {
    /// Units left in the sale.
    pub(crate) remaining: i64,
    /// Until when the units are held, by Redis's clock (Unix time, milliseconds); `None` where nothing is to be paid, or
    /// where it was reserved before.
    pub(crate) held_until: Option<i64>,
    /// An earlier call has reserved it.
    pub(crate) is_replay: bool,
}

/// The batcher of one HTTP thread. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Batcher(Rc<Inner>);

struct Inner {
    inventory: Inventory,
    publisher: Publisher,
    view: Arc<View>,
    lanes: Rc<Lanes>,
    /// How often those who wait are looked at while a call is out.
    shed_every: Duration,
    outage: RefCell<Outage>,
}

impl Batcher {
    pub(crate) fn new(inventory: Inventory, publisher: Publisher, view: Arc<View>, limits: Limits) -> Self {
        Self(Rc::new(Inner {
            inventory,
            publisher,
            view,
            lanes: Rc::new(Lanes::new(limits)),
            shed_every: limits.wait / 4,
            outage: RefCell::new(Outage::of("reservations cannot be decided, buyers are asked to try again")),
        }))
    }

    /// Has `attempt` decided. Once it is sent the decision goes on where the caller stops waiting for it.
    pub(crate) async fn reserve(&self, sale: SaleId, attempt: Attempt) -> Verdict {
        let inner = &self.0;
        // A win that could not be published would be a promise nobody may make: do not even ask.
        if !inner.publisher.is_ready() {
            return Verdict::Undecided;
        }
        let Some((verdict, opened)) = inner.lanes.enter(sale, attempt, Instant::now()) else {
            return Verdict::Undecided;
        };
        if let Some(lane) = opened {
            actix_web::rt::spawn(Rc::clone(inner).run_lane(sale, lane));
        }
        verdict.await.unwrap_or(Verdict::Unknown)
    }
}

impl Inner {
    /// Decides batch after batch of one sale until nobody waits.
    async fn run_lane(self: Rc<Self>, sale: SaleId, lane: Exit) {
        loop {
            // Requests whose bytes have arrived already join this batch.
            tokio::task::yield_now().await;
            let Some(batch) = lane.take_batch(Instant::now()) else { return };
            tokio::select! {
                biased;
                () = self.decide(sale, batch) => {}
                () = self.keep_shedding(&lane) => {}
            }
        }
    }

    /// While a call is out: sends those away who have waited too long. Never ends.
    async fn keep_shedding(&self, lane: &Exit) {
        loop {
            tokio::time::sleep(self.shed_every).await;
            lane.shed(Instant::now());
        }
    }

    async fn decide(self: &Rc<Self>, sale: SaleId, batch: Vec<Asked>) {
        let (attempts, answers): (Vec<Attempt>, Vec<oneshot::Sender<Verdict>>) = batch.into_iter().unzip();
        let view = self.view.get(sale).filter(|view| view.sale.state == SaleState::Open);
        let Some((view, installation)) = view.as_ref().and_then(|view| Some((view, view.sale.installation.as_ref()?)))
        else {
            return answer_all(answers, Verdict::Undecided);
        };
        let decided = self.inventory.reserve(sale, view.sale.epoch, &installation.scripts, &attempts).await;
        self.outage.borrow_mut().note(&decided);
        match decided {
            Ok(reserved) => {
                failpoints::reach(Point::ApiReserved);
                self.answer(view, reserved, attempts, answers);
            }
            // Said only where this call has done nothing, not where an earlier try of it may have.
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
                    let is_replay = outbox_id.is_none();
                    let won = reservation(attempt, outbox_id);
                    let hold_ms = i64::from(reserved.terms.hold_seconds) * 1_000;
                    let held_until = (hold_ms > 0 && !is_replay).then(|| won.reserved_at.saturating_add(hold_ms));
                    let remaining = reserved.stock_left.max(0);
                    winners.push((answer, Promise { remaining, held_until, is_replay }));
                    reservations.push(won);
                    continue;
                }
                Decision::Holds(id) => Verdict::AlreadyPurchased(id),
                Decision::NotEnough { left } => Verdict::SoldOut { remaining: left.max(0) },
                Decision::NotStarted | Decision::Ended | Decision::Paused => Verdict::NotActive,
                Decision::OverLimit { limit } => Verdict::OverLimit(limit),
                Decision::TooOften { by, retry } => Verdict::TooOften { by, retry },
                Decision::Closed | Decision::OutboxFull => Verdict::Undecided,
            };
            // A buyer who has gone away needs no answer.
            let _ = answer.send(verdict);
        }
        if !winners.is_empty() {
            let batch =
                ReservationBatch { sale_id: view.sale.id, epoch: view.sale.epoch, terms: reserved.terms, reservations };
            actix_web::rt::spawn(Rc::clone(self).promise(batch, winners));
        }
    }

    /// The promise: SUCCESS only for what RabbitMQ has confirmed. Otherwise the units stay taken, and the keeper
    /// publishes the outbox entry again.
    async fn promise(self: Rc<Self>, batch: ReservationBatch, winners: Vec<(oneshot::Sender<Verdict>, Promise)>) {
        let published = self.publisher.publish(&batch).await;
        failpoints::reach(Point::ApiConfirmed);
        self.misbehave(&batch, published.is_ok()).await;
        match published {
            Ok(()) => {
                for (answer, promise) in winners {
                    let _ = answer.send(Verdict::Reserved(promise));
                }
            }
            Err(error) => {
                tracing::debug!(sale = %batch.sale_id, reservations = winners.len(), %error, "not confirmed");
                answer_all(winners.into_iter().map(|(answer, _)| answer), Verdict::Unknown);
            }
        }
    }
}

impl Inner {
    /// What a planted bug does after a publish; nothing else.
    async fn misbehave(&self, batch: &ReservationBatch, is_confirmed: bool) {
        let entries = batch.reservations.iter().filter_map(|one| one.outbox_id.as_deref());
        if is_confirmed && failpoints::planted(Bug::OutboxDeletedOnConfirm) {
            let _ = self.inventory.settle(batch.sale_id, batch.epoch, &entries.collect::<Vec<_>>()).await;
        } else if !is_confirmed
            && failpoints::planted(Bug::StockGivenBackOnTimeout)
            && let Some(view) = self.view.get(batch.sale_id)
            && let Some(installation) = &view.sale.installation
        {
            let units = |one: &Reservation| (rand::random_range(i64::MIN..0), i64::from(one.quantity.get()));
            let back: Vec<(i64, i64)> = batch.reservations.iter().map(units).collect();
            let _ = self.inventory.adjust(batch.sale_id, batch.epoch, &installation.scripts, &back).await;
        }
    }
}

fn answer_all(answers: impl IntoIterator<Item = oneshot::Sender<Verdict>>, verdict: Verdict) {
    for answer in answers {
        let _ = answer.send(verdict);
    }
}

fn reservation(attempt: Attempt, outbox_id: Option<String>) -> Reservation {
    let decided_at = outbox_id.as_deref().and_then(|id| inventory::reserved_at(id).ok());
    let Attempt { id, user_id, quantity, .. } = attempt;
    let reserved_at = decided_at.unwrap_or_else(|| i64::try_from(boot::clock::now_ms()).unwrap_or(i64::MAX));
    Reservation { id, user_id, quantity, reserved_at, outbox_id }
}
