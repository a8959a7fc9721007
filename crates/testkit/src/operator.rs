//! An operator who never stops changing a sale, and remembers what became of each change.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chrono::{DateTime, SecondsFormat};
use domain::SaleId;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use reqwest::Error;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::client::{Answer, Client};
use crate::history::History;
use crate::load::HUNG_AFTER;
use crate::wait::until;

/// How long the operator rests between two changes.
const REST: Duration = Duration::from_millis(40);
/// Longest wait for changes to be answered.
const PATIENCE: Duration = Duration::from_secs(40);
/// What is changed.
const FIELDS: [&str; 6] = ["name", "unitPriceMinor", "perUserLimit", "endsAt", "totalStock", "halted"];

/// An operator at work on one sale, one change after the other, each at one of the APIs, chosen at random.
pub struct Operator {
    stop: CancellationToken,
    done: Arc<AtomicUsize>,
    unsure: Arc<AtomicUsize>,
    work: JoinHandle<Wishes>,
}

/// What a sale has to be like, as far as its operator was told.
#[derive(Clone, Debug)]
pub struct Wishes {
    /// What each field may be: one value where the last change of it was answered; besides it, each that was asked for
    /// since without an answer.
    fields: BTreeMap<&'static str, Vec<Value>>,
    revision: i64,
    /// Changes that were answered with 200: the gate goes by them.
    pub done: usize,
    /// With 202: written, and the gate was not told yet.
    pub late: usize,
    /// Refused with 409: nothing has changed.
    pub refused: usize,
    /// Not answered, or with 503: they may have been made or not.
    pub unknown: usize,
    /// From when until when the operator knew that nothing is sold, as the history counts time.
    pub pauses: Vec<(Duration, Duration)>,
    paused_at: Option<Duration>,
    /// Whatever an answer said that cannot be.
    pub broken: Vec<String>,
    /// Each change in order: when, what, and what came of it.
    log: Vec<String>,
}

impl fmt::Display for Wishes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { done, late, refused, unknown, pauses, .. } = self;
        let pauses = pauses.len();
        writeln!(f, "{done} changes done, {late} late, {refused} refused, {unknown} unknown, {pauses} pauses")?;
        if !self.broken.is_empty() {
            writeln!(f, "{}\nBROKEN {}", self.log.join("\n"), self.broken.join("\nBROKEN "))?;
        }
        Ok(())
    }
}

impl Wishes {
    fn of(sale: &Value) -> Self {
        Self {
            fields: FIELDS.map(|field| (field, vec![sale[field].clone()])).into(),
            revision: sale["revision"].as_i64().expect("a sale has a revision"),
            done: 0,
            late: 0,
            refused: 0,
            unknown: 0,
            pauses: Vec::new(),
            paused_at: None,
            broken: Vec::new(),
            log: Vec::new(),
        }
    }

    /// Holds the sale as operators see it against what was asked for. What it shows is what it has to be from now on.
    pub fn hold_against(&mut self, sale: &Value) {
        let revision = sale["revision"].as_i64().unwrap_or_default();
        if revision < self.revision {
            self.broken.push(format!("revision {revision} after {}", self.revision));
        }
        self.revision = revision;
        for (&field, possible) in &mut self.fields {
            let mut shown = vec![sale[field].clone()];
            if field == "totalStock" && !sale["pendingTotalStock"].is_null() {
                shown.push(sale["pendingTotalStock"].clone());
            }
            if !shown.iter().all(|value| possible.contains(value)) {
                self.broken.push(format!("{field} is {shown:?}, it was to be one of {possible:?}"));
            }
            *possible = shown;
        }
    }

    /// Clicks that won although they were made, and answered, while the operator knew that the sale is paused; and how
    /// many were made in that time.
    #[must_use]
    pub fn sold_while_paused(&self, history: &History) -> (Vec<String>, usize) {
        let attempts = history.attempts();
        let within =
            attempts.iter().filter(|one| self.pauses.iter().any(|&(from, to)| one.began >= from && one.ended <= to));
        let count = within.clone().filter(|one| one.outcome.is_decided()).count();
        (within.filter(|one| one.outcome.is_promise()).map(|one| one.user.clone()).collect(), count)
    }

    /// Notes what a change of `field` to `value` came to.
    fn note(&mut self, field: &'static str, value: &Value, answer: Result<&Answer, String>, now: Duration) {
        let said = match answer {
            Ok(answer) => {
                let said = self.note_answer(field, value, answer, now);
                format!("{} {said}", answer.status.as_u16())
            }
            Err(silence) => {
                self.may_be(field, value);
                silence
            }
        };
        self.log.push(format!("{:.2} s: {field} = {value}: {said}", now.as_secs_f64()));
    }

    fn note_answer(&mut self, field: &'static str, value: &Value, answer: &Answer, now: Duration) -> String {
        let (sale, code) = (&answer.body, answer.body["code"].as_str().unwrap_or_default());
        match (answer.status.as_u16(), code) {
            (status @ (200 | 202), _) => {
                self.done += usize::from(status == 200);
                self.late += usize::from(status == 202);
                if (status == 200) != (sale["inEffect"] == true) {
                    self.broken.push(format!("{status} with {sale}"));
                }
                let possible = self.fields.get_mut(field).expect("one of the fields");
                // Units that the gate has not given up yet may stay.
                if field != "totalStock" || sale["pendingTotalStock"].is_null() {
                    possible.clear();
                }
                possible.push(value.clone());
                self.hold_against(sale);
                if status == 200 && sale["halted"] == "paused" {
                    self.paused_at.get_or_insert(now);
                }
                format!("{} of revision {}", sale["halted"], sale["revision"])
            }
            (409, "STOCK_TOO_LOW" | "STOCK_CHANGE_PENDING") => {
                self.refused += 1;
                code.to_owned()
            }
            (503, _) => {
                self.may_be(field, value);
                code.to_owned()
            }
            _ => {
                self.broken.push(format!("{field} = {value} was answered {answer:?}"));
                code.to_owned()
            }
        }
    }

    fn may_be(&mut self, field: &'static str, value: &Value) {
        self.unknown += 1;
        self.fields.get_mut(field).expect("one of the fields").push(value.clone());
    }

    /// From now on, it may sell again.
    fn ends_pause(&mut self, now: Duration) {
        self.pauses.extend(self.paused_at.take().map(|from| (from, now)));
    }
}

impl Operator {
    /// Starts to change `sale` at these APIs. `history` is its clock. The seed decides what is changed.
    ///
    /// # Panics
    /// The first API does not show the sale.
    pub async fn start(clients: &[Client], sale: SaleId, history: &History, seed: u64) -> Self {
        let first = clients[0].admin_sale(sale).await.body;
        let stop = CancellationToken::new();
        let (done, unsure): (Arc<AtomicUsize>, Arc<AtomicUsize>) = Default::default();
        let desk = Desk {
            clients: clients.into(),
            sale,
            history: history.clone(),
            random: SmallRng::seed_from_u64(seed),
            wishes: Wishes::of(&first),
            last: first,
            done: Arc::clone(&done),
            unsure: Arc::clone(&unsure),
        };
        let work = tokio::spawn(desk.run(stop.clone()));
        Self { stop, done, unsure, work }
    }

    /// Waits until so many more changes were answered 200.
    pub async fn until_done(&self, more: usize) {
        rises(&self.done, more, "changes are done").await;
    }

    /// Waits until the operator feels a fault: one more change is unknown, or the gate could not be told of it. Units that
    /// are asked of a gate take ten seconds to get there.
    pub async fn until_unsure(&self) {
        rises(&self.unsure, 1, "change is late or unknown").await;
    }

    /// Lets the operator finish the change that is being made, and returns what was asked for.
    ///
    /// # Panics
    /// The operator did.
    pub async fn stop(self) -> Wishes {
        self.stop.cancel();
        self.work.await.expect("the operator does not panic")
    }
}

struct Desk {
    clients: Vec<Client>,
    sale: SaleId,
    history: History,
    random: SmallRng,
    wishes: Wishes,
    /// The sale as it was last shown.
    last: Value,
    done: Arc<AtomicUsize>,
    unsure: Arc<AtomicUsize>,
}

impl Desk {
    async fn run(mut self, stop: CancellationToken) -> Wishes {
        while !stop.is_cancelled() {
            let (field, value) = self.wish();
            self.make(field, &value).await;
            self.done.store(self.wishes.done, Ordering::Relaxed);
            self.unsure.store(self.wishes.late + self.wishes.unknown, Ordering::Relaxed);
            let _ = tokio::time::timeout(REST, stop.cancelled()).await;
        }
        self.wishes.ends_pause(self.history.now());
        self.wishes
    }

    async fn make(&mut self, field: &'static str, value: &Value) {
        let client = self.clients[self.random.random_range(0..self.clients.len())].clone();
        if field == "halted" && value.is_null() {
            self.wishes.ends_pause(self.history.now());
        }
        let sale = self.sale;
        let answer = tokio::time::timeout(HUNG_AFTER, async {
            match (field, value.is_null()) {
                ("halted", true) => client.try_act(sale, "resume").await,
                ("halted", false) => client.try_act(sale, "pause").await,
                _ => client.try_edit(sale, &json!({ field: value })).await,
            }
        });
        let answer = answer.await;
        let said = match &answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(silence(error)),
            Err(_) => Err("no answer in time".to_owned()),
        };
        self.wishes.note(field, value, said, self.history.now());
        if let Ok(Ok(answer)) = answer
            && answer.status.is_success()
        {
            self.last = answer.body;
        }
    }

    /// What to change next. Half of the changes are of the stock, which stays close to what is sold.
    fn wish(&mut self) -> (&'static str, Value) {
        let is_paused = self.last["halted"] == "paused";
        match self.random.random_range(0..12) {
            0 => ("name", json!(format!("A sale of a test, {}", self.random.random::<u32>()))),
            1 => ("unitPriceMinor", json!(self.random.random_range(1..10_000))),
            2 => ("perUserLimit", json!(self.random.random_range(1..10))),
            3 => ("endsAt", json!(self.end())),
            4 | 5 => ("halted", if is_paused { Value::Null } else { json!("paused") }),
            // No pause is long.
            6 | 7 if is_paused => ("halted", Value::Null),
            _ => ("totalStock", json!(self.stock())),
        }
    }

    fn end(&mut self) -> String {
        let seconds = boot::clock::now_ms() / 1_000 + self.random.random_range(3_600..36_000);
        let end = i64::try_from(seconds).ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
        end.expect("a time within reason").to_rfc3339_opts(SecondsFormat::Secs, true)
    }

    /// More units, or less, down to the very last one or beyond.
    fn stock(&mut self) -> i64 {
        let shown = |field: &str| self.last[field].as_i64().unwrap_or_default();
        let (total, left) = (shown("totalStock"), shown("remainingStock"));
        if left < 30 || self.random.random_bool(0.3) {
            total + self.random.random_range(1..200)
        } else {
            (total - self.random.random_range(left / 2..=left + 10)).max(0)
        }
    }
}

async fn rises(count: &AtomicUsize, more: usize, what: &str) {
    let before = count.load(Ordering::Relaxed);
    let enough = async || (count.load(Ordering::Relaxed) >= before + more).then_some(());
    until(&format!("{more} more {what}"), PATIENCE, enough).await;
}

fn silence(error: &Error) -> String {
    format!("no answer: {error}")
}
