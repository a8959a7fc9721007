//! Messages that became no order: listed, read, and decided about by operators.

use std::str::FromStr;

use actix_web::{HttpRequest, HttpResponse, web};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use chrono::{DateTime, Utc};
use domain::{Epoch, ReservationId, SaleId};
use ledger::{BuriedLetter, LetterFilter, Resolution, Verdict};
use reconcile::Error;
use serde::Serialize;
use uuid::Uuid;

use super::sale_id;
use crate::app::Process;
use crate::error::{Code, Problem};

/// Who decides, in the audit trail.
const ACTOR: &str = "operator";

const DEFAULT_LIMIT: i64 = 50;
const LARGEST_LIMIT: i64 = 200;

/// One dead letter.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Letter {
    id: Uuid,
    sale_id: Option<SaleId>,
    epoch: Option<Epoch>,
    order_id: Option<ReservationId>,
    user_id: Option<String>,
    quantity: Option<i32>,
    reason: String,
    /// The message as text, or in Base64 where it is none; a list has its first kilobytes only.
    body: String,
    /// `utf-8` or `base64`.
    body_encoding: &'static str,
    /// Length of the whole message.
    body_bytes: i32,
    created_at: DateTime<Utc>,
    resolved_at: Option<DateTime<Utc>>,
    resolution: Option<&'static str>,
}

impl Letter {
    fn of(letter: BuriedLetter) -> Self {
        let cut = usize::try_from(letter.body_bytes).is_ok_and(|whole| letter.body.len() < whole);
        let (body, body_encoding) = readable(letter.body, cut);
        Self {
            id: letter.id,
            sale_id: letter.sale_id,
            epoch: letter.epoch,
            order_id: letter.reservation_id,
            user_id: letter.user_id,
            quantity: letter.quantity,
            reason: letter.reason,
            body,
            body_encoding,
            body_bytes: letter.body_bytes,
            created_at: letter.created_at,
            resolved_at: letter.resolved.map(|(at, _)| at),
            resolution: letter.resolved.map(|(_, resolution)| resolution.as_str()),
        }
    }
}

/// The body as text where it is text, and its encoding. A cut may fall into the middle of a character.
fn readable(mut body: Vec<u8>, cut: bool) -> (String, &'static str) {
    if let Err(error) = str::from_utf8(&body)
        && cut
        && error.error_len().is_none()
    {
        body.truncate(error.valid_up_to());
    }
    match String::from_utf8(body) {
        Ok(text) => (text, "utf-8"),
        Err(error) => (BASE64_STANDARD.encode(error.as_bytes()), "base64"),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    dead_letters: Vec<Letter>,
    /// Where the next page begins; null on the last one.
    next_cursor: Option<String>,
}

/// What a decision has come to.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Decided {
    success: bool,
    resolution: &'static str,
    units_returned: i32,
    message: String,
}

/// `GET /api/v1/admin/dead-letters?saleId=&state=&cursor=&limit=`: the oldest first.
pub(super) async fn list(request: HttpRequest, process: web::Data<Process>) -> Result<HttpResponse, Problem> {
    let filter = filter(request.query_string())?;
    // One more than asked for tells whether there is a next page.
    let one_more = LetterFilter { limit: filter.limit + 1, ..filter };
    let mut letters = process.ledger.dead_letters(&one_more).await.map_err(|error| Problem::unavailable(&error))?;
    let limit = usize::try_from(filter.limit).unwrap_or_default();
    let more = letters.len() > limit;
    letters.truncate(limit);
    let next_cursor = letters.last().filter(|_| more).map(|last| cursor(last.created_at, last.id));
    Ok(HttpResponse::Ok().json(Page { dead_letters: letters.into_iter().map(Letter::of).collect(), next_cursor }))
}

/// `GET /api/v1/admin/dead-letters/{id}`: with its whole message.
pub(super) async fn show(path: web::Path<String>, process: web::Data<Process>) -> Result<HttpResponse, Problem> {
    let id = letter_id(&path)?;
    let letter = process.ledger.dead_letter(id).await.map_err(|error| Problem::unavailable(&error))?;
    Ok(HttpResponse::Ok().json(Letter::of(letter.ok_or_else(|| not_found(id))?)))
}

/// `POST /api/v1/admin/dead-letters/{id}/redrive`: tries again to make an order of it.
pub(super) async fn redrive(path: web::Path<String>, process: web::Data<Process>) -> Result<HttpResponse, Problem> {
    let id = letter_id(&path)?;
    let reconciler = process.reconciler.clone();
    // On a task of its own: a message of many reservations must not be left half done by an operator who hangs up.
    let redriven = actix_web::rt::spawn(async move { reconciler.redrive(id, ACTOR).await });
    let verdict = redriven.await.map_err(|error| Problem::unavailable(&error))?;
    answer(id, verdict.map_err(|error: Error| Problem::unavailable(&error))?)
}

/// `POST /api/v1/admin/dead-letters/{id}/discard`: gives its units back.
pub(super) async fn discard(path: web::Path<String>, process: web::Data<Process>) -> Result<HttpResponse, Problem> {
    let id = letter_id(&path)?;
    answer(id, process.ledger.discard(id, ACTOR).await.map_err(|error| Problem::unavailable(&error))?)
}

fn answer(id: Uuid, verdict: Verdict) -> Result<HttpResponse, Problem> {
    let (resolution, units_returned, because) = match verdict {
        Verdict::Redriven { because } => (Resolution::Redriven, 0, because),
        Verdict::Discarded { units, because } => (Resolution::Discarded, units, because),
        Verdict::Split { units, detail } => (Resolution::Split, units, Some(detail)),
        Verdict::Failed(reason) => return Err(Problem::new(Code::RedriveFailed, reason)),
        Verdict::Fenced => {
            return Err(Problem::new(Code::ReconcileRunning, "The sale is being rebuilt; try again"));
        }
        Verdict::Resolved(resolution) => {
            let detail = format!("dead letter {id} has been {resolution} before");
            return Err(Problem::new(Code::DeadLetterResolved, detail));
        }
        Verdict::NotFound => return Err(not_found(id)),
    };
    let because = because.map(|because| format!(": {because}")).unwrap_or_default();
    let message = format!("Dead letter {id} has been {resolution}{because}");
    Ok(HttpResponse::Ok().json(Decided { success: true, resolution: resolution.as_str(), units_returned, message }))
}

fn not_found(id: Uuid) -> Problem {
    Problem::new(Code::DeadLetterNotFound, format!("there is no dead letter {id}"))
}

/// An id in the usual form only, as a sale's.
fn letter_id(text: &str) -> Result<Uuid, Problem> {
    let usual = text.len() == uuid::fmt::Hyphenated::LENGTH;
    text.parse().ok().filter(|_| usual).ok_or_else(|| Problem::field("id", &"must be a UUID"))
}

/// What a query asks for. A field that is not known, or given twice, is a mistake and no wish for everything.
fn filter(query: &str) -> Result<LetterFilter, Problem> {
    let fields = web::Query::<Vec<(String, String)>>::from_query(query);
    let fields = fields.map_err(|error| Problem::new(Code::BadRequest, error.to_string()))?.into_inner();
    let mut filter = LetterFilter { resolved: Some(false), limit: DEFAULT_LIMIT, ..LetterFilter::default() };
    for (n, (name, value)) in fields.iter().enumerate() {
        if fields[..n].iter().any(|(earlier, _)| earlier == name) {
            return Err(Problem::field(name, &"is given twice"));
        }
        match name.as_str() {
            "saleId" => filter.sale = Some(sale_id(value)?),
            "state" => filter.resolved = state(value)?,
            "cursor" => filter.after = Some(after(value)?),
            "limit" => filter.limit = limit(value)?,
            _ => return Err(Problem::field("query", &"may have saleId, state, cursor and limit")),
        }
    }
    Ok(filter)
}

fn state(text: &str) -> Result<Option<bool>, Problem> {
    match text {
        "unresolved" => Ok(Some(false)),
        "resolved" => Ok(Some(true)),
        "all" => Ok(None),
        _ => Err(Problem::field("state", &"must be unresolved, resolved or all")),
    }
}

fn limit(text: &str) -> Result<i64, Problem> {
    let limit = i64::from_str(text).ok().filter(|limit| (1..=LARGEST_LIMIT).contains(limit));
    limit.ok_or_else(|| Problem::field("limit", &format_args!("must be a whole number from 1 to {LARGEST_LIMIT}")))
}

/// `<microseconds since 1970>.<letter id>`: the last letter of the page before.
fn cursor(at: DateTime<Utc>, id: Uuid) -> String {
    format!("{}.{id}", at.timestamp_micros())
}

fn after(text: &str) -> Result<(DateTime<Utc>, Uuid), Problem> {
    let parse = || {
        let (micros, id) = text.split_once('.')?;
        Some((DateTime::from_timestamp_micros(micros.parse().ok()?)?, id.parse().ok()?))
    };
    parse().ok_or_else(|| Problem::field("cursor", &"must be the nextCursor of another page"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back() {
        let place = (DateTime::from_timestamp_micros(1_763_683_200_123_456).unwrap(), Uuid::from_u128(7));
        assert_eq!(after(&cursor(place.0, place.1)).unwrap(), place);
    }

    #[test]
    fn a_body_is_text_where_it_is_text_and_loses_half_a_character_only_to_a_cut() {
        assert_eq!(readable("aé".into(), false), ("aé".to_owned(), "utf-8"));
        assert_eq!(readable(b"a\xc3".into(), true), ("a".to_owned(), "utf-8"));
        assert_eq!(readable(b"a\xc3".into(), false), ("YcM=".to_owned(), "base64"));
        assert_eq!(readable(b"\xff\xc3".into(), true), ("/8M=".to_owned(), "base64"));
    }
}
