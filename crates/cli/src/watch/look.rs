//! What is seen at one moment.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::api::{Client, read};
use crate::error::Error;
use crate::verify::{self, Verification};

/// Sales whose books are read each time; each takes the sale's row for some milliseconds.
const MOST_BOOKS: usize = 8;

/// Everything that moves, as the API tells it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Live {
    pub(super) at: DateTime<Utc>,
    /// Servers that could not be read.
    #[serde(default)]
    pub(super) unavailable: Vec<String>,
    pub(super) sales: Vec<LiveSale>,
    pub(super) processes: Vec<Process>,
    pub(super) traffic: Vec<Point>,
}

/// A sale as it stands. What is `None` could not be read, or there is none.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LiveSale {
    pub(super) sale_id: Uuid,
    pub(super) name: String,
    pub(super) state: String,
    pub(super) halted: Option<String>,
    pub(super) starts_at: DateTime<Utc>,
    pub(super) total_stock: i64,
    pub(super) sold: i64,
    pub(super) held: Option<i64>,
    pub(super) in_flight: Option<i64>,
    pub(super) outbox_age_ms: Option<i64>,
    pub(super) queued_messages: Option<i64>,
    pub(super) consumers: Option<u32>,
    pub(super) dead_letters: Option<i64>,
}

/// A process that was heard of.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Process {
    pub(super) role: String,
    pub(super) host: String,
    pub(super) pid: i64,
    pub(super) age_ms: i64,
    pub(super) alive: bool,
    pub(super) handled: i64,
    pub(super) per_second: f64,
}

/// One second of all API processes.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Point {
    pub(super) at: DateTime<Utc>,
    pub(super) attempts: u64,
    pub(super) successes: u64,
    pub(super) refusals: u64,
    pub(super) unknown: u64,
    pub(super) p50_ms: Option<f64>,
    pub(super) p95_ms: Option<f64>,
    pub(super) p99_ms: Option<f64>,
}

/// What is drawn.
#[derive(Clone, Debug)]
pub(super) struct Look {
    pub(super) live: Live,
    /// The books of the first few sales, those that are on first; or why they could not be read.
    pub(super) books: Vec<(Uuid, Result<Verification, String>)>,
    /// Why nothing newer is known.
    pub(super) complaint: Option<String>,
    answer: Value,
}

impl Look {
    /// The same, with why nothing newer is known.
    pub(super) fn outdated(&self, why: &Error) -> Self {
        Self { complaint: Some(why.to_string()), ..self.clone() }
    }

    /// For programs: what the API says, its last second of traffic alone, and the books.
    pub(super) fn json(&self) -> Value {
        let mut line = self.answer.clone();
        let last = line["traffic"].as_array().and_then(|points| points.last()).cloned();
        line["traffic"] = last.into_iter().collect();
        let books = self.books.iter().map(|(sale, books)| match books {
            Ok(books) => json!({ "saleId": sale, "ok": books.ok, "settled": books.settled }),
            Err(error) => json!({ "saleId": sale, "error": error }),
        });
        line["books"] = books.collect();
        line
    }
}

/// Somebody who looks on.
pub(super) struct Onlooker {
    client: Client,
    /// The only sale of interest.
    sale: Option<Uuid>,
}

impl Onlooker {
    pub(super) fn new(client: Client, sale: Option<Uuid>) -> Self {
        Self { client, sale }
    }

    pub(super) fn url(&self) -> String {
        self.client.url().to_string()
    }

    /// Everything, now.
    ///
    /// # Errors
    /// The API does not answer.
    pub(super) async fn look(&self) -> Result<Look, Error> {
        let mut answer = self.client.get("/api/v1/admin/live", &[]).await?;
        if let (Some(sale), Some(sales)) = (self.sale, answer["sales"].as_array_mut()) {
            sales.retain(|one| one["saleId"] == sale.to_string());
        }
        let live: Live = read(answer.clone())?;
        let mut books = Vec::new();
        let (over, on): (Vec<_>, Vec<_>) = live.sales.iter().partition(|sale| sale.state == "ended");
        for sale in on.into_iter().chain(over).take(MOST_BOOKS) {
            let verification = verify::of(&self.client, sale.sale_id).await.and_then(read);
            books.push((sale.sale_id, verification.map_err(|error: Error| error.to_string())));
        }
        Ok(Look { live, books, complaint: None, answer })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A look at an API with one sale that runs.
    pub(in crate::watch) fn look() -> Look {
        let answer = json!({
            "at": "2026-11-28T12:00:10.000Z",
            "unavailable": [],
            "sales": [{
                "saleId": Uuid::nil(), "name": "Lamp", "state": "open", "halted": null,
                "startsAt": "2026-11-28T11:00:00Z", "endsAt": "2026-11-28T13:00:00Z", "epoch": 1, "holdSeconds": 0,
                "totalStock": 100, "remainingStock": 40, "sold": 60, "held": 3, "inFlight": 2, "outboxAgeMs": 1500,
                "queuedMessages": 4, "consumers": 3, "deadLetters": 0,
            }],
            "processes": [
                { "role": "keeper", "host": "vm", "pid": 7, "ageMs": 400, "alive": true, "handled": 12, "perSecond": 1.0 },
                { "role": "persister", "host": "vm", "pid": 8, "ageMs": 61000, "alive": false, "handled": 9, "perSecond": 0 },
            ],
            "traffic": [
                { "at": "2026-11-28T12:00:07Z", "attempts": 50, "successes": 5, "refusals": 45, "unknown": 0,
                  "p50Ms": 1.5, "p95Ms": 4.0, "p99Ms": 9.0 },
                { "at": "2026-11-28T12:00:08Z", "attempts": 200, "successes": 10, "refusals": 189, "unknown": 1,
                  "p50Ms": 2.5, "p95Ms": 8.0, "p99Ms": 12.0 },
            ],
        });
        let books = json!({
            "ok": true, "settled": false, "invariants": [],
            "books": { "total": 100, "sold": 58, "available": 40, "inFlight": 2, "adjustments": 0, "deadLetters": 0 },
        });
        Look {
            live: read(answer.clone()).unwrap(),
            books: vec![(Uuid::nil(), Ok(read(books).unwrap()))],
            complaint: None,
            answer,
        }
    }

    #[test]
    fn a_line_has_the_last_second_alone_and_the_books() {
        let line = look().json();
        assert_eq!(line["traffic"].as_array().unwrap().len(), 1);
        assert_eq!(line["traffic"][0]["attempts"], 200);
        assert_eq!(line["books"][0], json!({ "saleId": Uuid::nil(), "ok": true, "settled": false }));
    }
}
