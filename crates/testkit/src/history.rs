//! What clients saw: every attempt with its times and its outcome. The judge holds it against the three stores.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use reqwest::Error;

use crate::client::Answer;

/// What an attempt came to, as far as its buyer can tell.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// SUCCESS, with the id of the order promised.
    Promised(String),
    /// ALREADY_PURCHASED, with the id of the order that the buyer is said to have.
    Held(String),
    /// SOLD_OUT.
    SoldOut,
    /// The sale is not active.
    NotActive,
    /// A 503 with its Retry-After, a broken connection or no answer: it may have won or not.
    Unknown,
}

impl Outcome {
    /// What an answer says, or its absence.
    ///
    /// # Panics
    /// The answer is none of those that the contract knows.
    #[must_use]
    pub fn of(answer: &Result<Answer, Error>) -> Self {
        let Ok(answer) = answer else { return Self::Unknown };
        match (answer.status.as_u16(), answer.outcome(), answer.order_id()) {
            (200, "SUCCESS", Some(order)) => Self::Promised(order.to_owned()),
            (200, "ALREADY_PURCHASED", Some(order)) => Self::Held(order.to_owned()),
            (200, "SOLD_OUT", _) => Self::SoldOut,
            (400, _, _) if answer.body["code"] == "NOT_ACTIVE" => Self::NotActive,
            (503, _, _) if answer.headers.contains_key("retry-after") => Self::Unknown,
            _ => panic!("no answer of the contract: {answer:?}"),
        }
    }

    /// Whether the buyer knows where they stand.
    #[must_use]
    pub fn is_decided(&self) -> bool {
        *self != Self::Unknown
    }

    /// Whether it is SUCCESS.
    #[must_use]
    pub fn is_promise(&self) -> bool {
        matches!(self, Self::Promised(_))
    }

    /// Whether it shows a sale at work. Being told what one holds already does not: a sale that cannot sell says that too.
    #[must_use]
    pub fn is_sale(&self) -> bool {
        matches!(self, Self::Promised(_) | Self::SoldOut | Self::NotActive)
    }
}

/// One click.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Who.
    pub user: String,
    /// When the request was sent, since the history began.
    pub began: Duration,
    /// When its outcome was known.
    pub ended: Duration,
    /// What came of it.
    pub outcome: Outcome,
    /// Whether there was any answer: without one, the connection broke or was refused, or nothing came in time.
    pub answered: bool,
}

/// Everything that clients saw of one sale. Cheap to clone.
#[derive(Clone, Debug)]
pub struct History {
    began: Instant,
    attempts: Arc<Mutex<Vec<Attempt>>>,
    /// Whether Redis has lost data that it may not have passed on.
    redis_forgot: Arc<AtomicBool>,
}

impl Default for History {
    fn default() -> Self {
        Self { began: Instant::now(), attempts: Arc::default(), redis_forgot: Arc::default() }
    }
}

impl History {
    /// Now, as the history counts time.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Notes an attempt that was sent at `began` and has just been answered.
    pub fn record(&self, user: &str, began: Duration, outcome: Outcome) {
        let attempt = Attempt { user: user.to_owned(), began, ended: self.now(), outcome, answered: true };
        self.lock().push(attempt);
    }

    /// Notes an attempt that was sent at `began` and has no answer.
    pub fn record_unanswered(&self, user: &str, began: Duration) {
        let outcome = Outcome::Unknown;
        let attempt = Attempt { user: user.to_owned(), began, ended: self.now(), outcome, answered: false };
        self.lock().push(attempt);
    }

    /// Every attempt so far, in the order they ended.
    #[must_use]
    pub fn attempts(&self) -> Vec<Attempt> {
        self.lock().clone()
    }

    /// How many attempts have ended so far with an outcome like this.
    pub fn count(&self, is_like: impl Fn(&Outcome) -> bool) -> usize {
        self.lock().iter().filter(|attempt| is_like(&attempt.outcome)).count()
    }

    /// How many buyers were promised an order so far.
    #[must_use]
    pub fn promised(&self) -> usize {
        self.count(|outcome| matches!(outcome, Outcome::Promised(_)))
    }

    /// Notes that the fault makes Redis lose data: a reservation that no message carried yet may be gone, and whoever
    /// was told that they hold it may find it gone. A promise may not.
    pub fn redis_forgets(&self) {
        self.redis_forgot.store(true, Ordering::Relaxed);
    }

    /// Whether [`History::redis_forgets`] was called.
    #[must_use]
    pub fn redis_forgot(&self) -> bool {
        self.redis_forgot.load(Ordering::Relaxed)
    }

    /// The same history where nothing counts as decided that was asked for before `at`: everything sold by then has
    /// been declared void.
    #[must_use]
    pub fn voided_before(&self, at: Duration) -> Self {
        let void = |mut one: Attempt| {
            if one.began < at {
                one.outcome = Outcome::Unknown;
            }
            one
        };
        let attempts = self.attempts().into_iter().map(void).collect();
        Self {
            began: self.began,
            attempts: Arc::new(Mutex::new(attempts)),
            redis_forgot: Arc::clone(&self.redis_forgot),
        }
    }

    /// When the first attempt that began after `since` was promised an order, or refused one for good.
    #[must_use]
    pub fn decided_after(&self, since: Duration) -> Option<Duration> {
        let attempts = self.lock();
        attempts.iter().find(|one| one.began >= since && one.outcome.is_sale()).map(|one| one.ended)
    }

    /// When the first attempt that began after `since` was promised an order.
    #[must_use]
    pub fn promised_after(&self, since: Duration) -> Option<Duration> {
        let is_promised = |one: &&Attempt| one.began >= since && matches!(one.outcome, Outcome::Promised(_));
        self.lock().iter().find(is_promised).map(|one| one.ended)
    }

    /// The longest time in which nobody was promised an order or refused one for good: buyers were told to try again, or
    /// nothing.
    #[must_use]
    pub fn longest_outage(&self) -> Duration {
        let attempts = self.lock();
        let decided: Vec<Duration> = attempts.iter().filter(|one| one.outcome.is_sale()).map(|one| one.ended).collect();
        decided.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).max().unwrap_or_default()
    }

    /// The longest that anybody waited for an outcome.
    #[must_use]
    pub fn slowest(&self) -> Duration {
        self.lock().iter().map(|one| one.ended.saturating_sub(one.began)).max().unwrap_or_default()
    }

    /// What each buyer was told, in order.
    #[must_use]
    pub fn by_user(&self) -> HashMap<String, Vec<Outcome>> {
        let mut told: HashMap<String, Vec<Outcome>> = HashMap::new();
        for attempt in self.lock().iter() {
            told.entry(attempt.user.clone()).or_default().push(attempt.outcome.clone());
        }
        told
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Attempt>> {
        self.attempts.lock().expect("nothing panics while it holds the history")
    }
}
