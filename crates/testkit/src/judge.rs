//! The judge: holds what clients saw against what the three stores have, after everything has healed.
//!
//! | | invariant |
//! |---|---|
//! | I1 | never oversold: the active units never exceed the stock |
//! | I2 | one order per buyer |
//! | I3 | every SUCCESS has exactly the order it named, and it is active |
//! | I4 | who was only ever refused has no order |
//! | I5 | S + A + F + R + D + W = total, with outbox, queue and adjustments empty |
//! | I6 | the books settle within 60 s |
//! | I7 | every active order is CONFIRMED: nothing has to be paid for here. Row 26 holds paid orders against the provider |

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::time::{Duration, Instant};

use domain::SaleId;
use serde_json::Value;

use crate::client::Client;
use crate::history::{History, Outcome};
use crate::stack::Stack;

/// I6: longest that the books may take to settle.
const SETTLES_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A row of `orders`.
#[derive(Clone, Debug)]
struct Order {
    id: String,
    user: String,
    quantity: i64,
    status: String,
}

impl Order {
    fn is_active(&self) -> bool {
        matches!(self.status.as_str(), "HELD" | "PAYING" | "CONFIRMED")
    }
}

/// What the judge found.
#[derive(Clone, Debug, Default)]
pub struct Judgement {
    /// Attempts in the history.
    pub attempts: usize,
    /// Buyers who were promised an order.
    pub promised: usize,
    /// Attempts without a decided outcome.
    pub unknown: usize,
    /// Units of active orders.
    pub sold: i64,
    /// The books as the API verifies them.
    pub books: Value,
    /// How long they took to settle.
    pub settled_after: Duration,
    /// Orders that were promised and are not there, or not active: `buyer: order`.
    pub lost: Vec<String>,
    /// Orders nobody can explain: of unknown buyers, of refused ones, or other than the one promised.
    pub unexpected: Vec<String>,
    /// Buyers with more than one order, or more than one promise.
    pub duplicated: Vec<String>,
    /// Each invariant that does not hold, with what is wrong.
    pub broken: Vec<String>,
    /// Buyers who read ALREADY_PURCHASED of an order that never came to be. Broken, unless Redis has lost data: then a
    /// reservation that no message carried is gone, and the buyer may buy again.
    pub unkept_holds: Vec<String>,
}

impl Judgement {
    /// Whether every invariant holds.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.broken.is_empty()
    }

    /// # Panics
    /// An invariant is broken.
    pub fn assert_clean(&self) {
        assert!(self.is_clean(), "{self}");
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { attempts, promised, unknown, sold, settled_after, .. } = self;
        writeln!(
            f,
            "{attempts} attempts, {promised} promised, {unknown} unknown, {sold} units sold, settled after {:.1} s",
            settled_after.as_secs_f64()
        )?;
        for broken in &self.broken {
            writeln!(f, "BROKEN {broken}")?;
        }
        if !self.is_clean() {
            writeln!(f, "{:#}", self.books)?;
        }
        Ok(())
    }
}

impl Stack {
    /// Waits until the books are settled and judges. `client` is of an API that runs, and so do a persister and a keeper.
    ///
    /// # Panics
    /// PostgreSQL does not answer.
    pub async fn judge(&self, client: &Client, sale: SaleId, history: &History) -> Judgement {
        self.judge_within(SETTLES_WITHIN, client, sale, history).await
    }

    /// [`Stack::judge`] for a sale whose books are not expected to settle, after at most `limit`.
    pub async fn judge_within(&self, limit: Duration, client: &Client, sale: SaleId, history: &History) -> Judgement {
        let started = Instant::now();
        let mut books = verified(client, sale, limit).await;
        while !(books["settled"] == true && books["ok"] == true) && started.elapsed() < limit {
            tokio::time::sleep(LOOK_EVERY).await;
            books = verified(client, sale, limit.saturating_sub(started.elapsed())).await;
        }
        let settled_after = started.elapsed();
        let rows: Vec<(uuid::Uuid, String, i32, String)> =
            sqlx::query_as("SELECT id, user_id, quantity, status FROM orders WHERE sale_id = $1")
                .bind(sale.0)
                .fetch_all(&mut self.database.connect().await)
                .await
                .expect("PostgreSQL answers after everything has healed");
        let orders: Vec<Order> = rows
            .into_iter()
            .map(|(id, user, quantity, status)| Order { id: id.to_string(), user, quantity: quantity.into(), status })
            .collect();
        judge(history, &orders, books, settled_after)
    }
}

/// The API's own verification; null where it has no answer within `limit`.
async fn verified(client: &Client, sale: SaleId, limit: Duration) -> Value {
    let path = format!("/api/v1/admin/sales/{sale}/verify");
    let ask = async {
        let answer = client.request(reqwest::Method::GET, &path).bearer_auth(crate::ADMIN_TOKEN).send().await?;
        answer.json::<Value>().await
    };
    match tokio::time::timeout(limit, ask).await {
        Ok(Ok(books)) => books,
        _ => Value::Null,
    }
}

/// Pure.
fn judge(history: &History, orders: &[Order], books: Value, settled_after: Duration) -> Judgement {
    let mut found = Judgement {
        attempts: history.count(|_| true),
        promised: history.promised(),
        unknown: history.count(|outcome| !outcome.is_decided()),
        sold: orders.iter().filter(|order| order.is_active()).map(|order| order.quantity).sum(),
        settled_after,
        ..Judgement::default()
    };
    let told = history.by_user();
    let mut of_user: HashMap<&str, Vec<&Order>> = HashMap::new();
    for order in orders {
        of_user.entry(&order.user).or_default().push(order);
        if !told.contains_key(&order.user) {
            found.unexpected.push(format!("{}: {} of a buyer who never clicked", order.user, order.id));
        }
    }
    for (user, outcomes) in &told {
        found.judge_buyer(user, outcomes, of_user.get(user.as_str()).map_or(&[], Vec::as_slice));
    }
    found.judge_books(orders, &books);
    if !history.redis_forgot() && !found.unkept_holds.is_empty() {
        let names = found.unkept_holds.join(", ");
        found.broken.push(format!("I3 held and not kept ({}): {names}", found.unkept_holds.len()));
    }
    found.books = books;
    found
}

impl Judgement {
    fn judge_buyer(&mut self, user: &str, outcomes: &[Outcome], orders: &[&Order]) {
        let promised: HashSet<&str> = outcomes
            .iter()
            .filter_map(|outcome| if let Outcome::Promised(order) = outcome { Some(order.as_str()) } else { None })
            .collect();
        if promised.len() > 1 || orders.len() > 1 {
            self.duplicated.push(format!("{user}: {} promises, {} orders", promised.len(), orders.len()));
        }
        for order in &promised {
            if !orders.iter().any(|found| found.id == *order && found.is_active()) {
                self.lost.push(format!("{user}: {order}"));
            }
        }
        let after = outcomes.iter().skip_while(|outcome| !matches!(outcome, Outcome::Promised(_))).skip(1);
        for outcome in after {
            match outcome {
                Outcome::Held(order) if promised.contains(order.as_str()) => {}
                Outcome::Held(_) | Outcome::SoldOut => {
                    self.unexpected.push(format!("{user}: told {outcome:?} after a promise"));
                }
                Outcome::Promised(_) | Outcome::NotActive | Outcome::Unknown => {}
            }
        }
        if promised.is_empty()
            && let [order, ..] = orders
            && outcomes.iter().all(|outcome| matches!(outcome, Outcome::SoldOut | Outcome::NotActive))
        {
            self.unexpected.push(format!("{user}: {} of a buyer who was only refused", order.id));
        }
        for outcome in outcomes {
            if let Outcome::Held(order) = outcome
                && !orders.iter().any(|found| found.id == *order)
            {
                self.unkept_holds.push(format!("{user}: {order}"));
            }
        }
    }

    fn judge_books(&mut self, orders: &[Order], books: &Value) {
        let total = books["books"]["total"].as_i64();
        let mut broken = Vec::new();
        if total.is_some_and(|total| self.sold > total) {
            broken.push(format!("I1 oversold: {} of {total:?} units", self.sold));
        }
        for (invariant, names) in
            [("I2 duplicated", &self.duplicated), ("I3 lost", &self.lost), ("I4 unexpected", &self.unexpected)]
        {
            if !names.is_empty() {
                broken.push(format!("{invariant} ({}): {}", names.len(), names[..names.len().min(20)].join(", ")));
            }
        }
        let count = |name: &str| books["books"][name].as_i64().unwrap_or(i64::MIN / 10);
        let parts = ["sold", "available", "inFlight", "adjustments", "deadLetters"].map(count);
        if books["ok"] != true || Some(parts.iter().sum()) != total || parts[0] != self.sold {
            broken.push("I5 the books do not balance".to_owned());
        }
        if books["settled"] != true || self.settled_after > SETTLES_WITHIN {
            broken.push(format!("I6 not settled after {:?}", self.settled_after));
        }
        let pays_nothing = orders.iter().filter(|order| matches!(order.status.as_str(), "HELD" | "PAYING" | "REFUSED"));
        let strays: Vec<&str> = pays_nothing.map(|order| order.id.as_str()).collect();
        if !strays.is_empty() {
            broken.push(format!("I7 neither confirmed nor given back ({}): {}", strays.len(), strays.join(", ")));
        }
        self.broken = broken;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn order(id: &str, user: &str, status: &str) -> Order {
        Order { id: id.to_owned(), user: user.to_owned(), quantity: 1, status: status.to_owned() }
    }

    fn judged(told: &[(&str, Outcome)], orders: &[Order], books: &Value) -> Judgement {
        let history = History::default();
        for (user, outcome) in told {
            history.record(user, history.now(), outcome.clone());
        }
        judge(&history, orders, books.clone(), Duration::ZERO)
    }

    fn books(total: i64, sold: i64) -> Value {
        let available = total - sold;
        let parts = json!({ "total": total, "sold": sold, "available": available, "inFlight": 0, "adjustments": 0,
            "deadLetters": 0 });
        json!({ "ok": true, "settled": true, "books": parts })
    }

    fn promised(order: &str) -> Outcome {
        Outcome::Promised(order.to_owned())
    }

    #[test]
    fn a_clean_history_is_clean() {
        let books = books(2, 2);
        let told = [
            ("ann", promised("1")),
            ("bob", Outcome::Unknown),
            ("bob", Outcome::Held("2".into())),
            ("cid", Outcome::SoldOut),
        ];
        let found = judged(&told, &[order("1", "ann", "CONFIRMED"), order("2", "bob", "CONFIRMED")], &books);
        found.assert_clean();
        assert_eq!((found.attempts, found.promised, found.unknown, found.sold), (4, 1, 1, 2));
        assert_eq!(found.unkept_holds, [""; 0]);
    }

    #[test]
    fn each_broken_invariant_is_named_with_its_culprits() {
        let confirmed = |id, user| order(id, user, "CONFIRMED");
        for (told, orders, name) in [
            (vec![("ann", promised("1"))], vec![confirmed("1", "ann"), confirmed("2", "bob")], "I1"),
            (vec![("ann", promised("1")), ("ann", promised("2"))], vec![confirmed("1", "ann")], "I2"),
            (vec![("ann", Outcome::Unknown)], vec![confirmed("1", "ann"), confirmed("2", "ann")], "I2"),
            (vec![("ann", promised("1"))], vec![], "I3 lost (1): ann: 1"),
            (vec![("ann", promised("1"))], vec![confirmed("2", "ann")], "I3"),
            (vec![("ann", promised("1"))], vec![order("1", "ann", "CANCELLED")], "I3"),
            (vec![("ann", Outcome::SoldOut)], vec![confirmed("1", "ann")], "I4"),
            (vec![], vec![confirmed("1", "ann")], "I4"),
            (vec![("ann", Outcome::Unknown)], vec![order("1", "ann", "REFUSED")], "I7"),
        ] {
            let sold = orders.iter().filter(|order| order.is_active()).count();
            let found = judged(&told, &orders, &books(1, i64::try_from(sold).unwrap()));
            assert!(found.broken.iter().any(|broken| broken.starts_with(name)), "{name}: {found}");
        }
        let with = |name: &str, value: Value| {
            let mut books = books(1, 0);
            books[name] = value;
            books
        };
        let short = json!({ "total": 1, "sold": 0, "available": 0, "inFlight": 0, "adjustments": 0, "deadLetters": 0 });
        for (books, name) in [
            (with("ok", json!(false)), "I5"),
            (with("books", short), "I5"),
            (books(1, 1), "I5"),
            (with("settled", json!(false)), "I6"),
        ] {
            let found = judged(&[], &[], &books);
            assert!(found.broken.len() == 1 && found.broken[0].starts_with(name), "{name}: {found}");
        }
    }

    #[test]
    fn a_hold_that_came_to_nothing_is_broken_unless_redis_has_lost_data() {
        let history = History::default();
        history.record("ann", history.now(), Outcome::Held("1".into()));
        let found = judge(&history, &[], books(1, 0), Duration::ZERO);
        assert!(found.broken.len() == 1 && found.broken[0].starts_with("I3 held"), "{found}");
        history.redis_forgets();
        let found = judge(&history, &[], books(1, 0), Duration::ZERO);
        found.assert_clean();
        assert_eq!(found.unkept_holds, ["ann: 1"]);
    }

    #[test]
    fn a_buyer_whom_the_gate_forgets_after_a_promise_is_found() {
        for outcome in [Outcome::SoldOut, Outcome::Held("2".into())] {
            let told = [("ann", promised("1")), ("ann", outcome)];
            let found = judged(&told, &[order("1", "ann", "CONFIRMED")], &books(1, 1));
            assert!(found.broken.iter().any(|broken| broken.starts_with("I4")), "{found}");
        }
    }
}
