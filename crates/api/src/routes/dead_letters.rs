//! Messages that became no order: listed, read, and decided about by operators.

use actix_web::{HttpRequest, HttpResponse, web};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use chrono::{DateTime, Utc};
use domain::{Epoch, ReservationId, SaleId};
use ledger::{BuriedLetter, LetterFilter, Resolution, Verdict};
use reconcile::Error;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{OPERATOR, sale_id, usual_uuid};
use crate::app::Process;
use crate::error::{Code, Problem};
use crate::query::{Query, bad_cursor, page};

/// A message that became no order. Of one that nobody can read, only the body and the queue it came from are known.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = DeadLetter)]
struct Letter {
    id: Uuid,
    #[schema(value_type = Option<Uuid>, required)]
    sale_id: Option<SaleId>,
    #[schema(value_type = Option<i64>, required)]
    epoch: Option<Epoch>,
    #[schema(value_type = Option<Uuid>, required)]
    order_id: Option<ReservationId>,
    #[schema(required)]
    user_id: Option<String>,
    #[schema(required)]
    quantity: Option<i32>,
    reason: String,
    /// The message as text, or in Base64 where it is none; a list has its first kilobytes only.
    body: String,
    /// `utf-8` or `base64`.
    body_encoding: &'static str,
    /// Length of the whole message.
    body_bytes: i32,
    created_at: DateTime<Utc>,
    #[schema(required)]
    resolved_at: Option<DateTime<Utc>>,
    /// `redriven`, `discarded` or `split`.
    #[schema(required)]
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

/// A page of dead letters.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = DeadLetters)]
struct Page {
    dead_letters: Vec<Letter>,
    /// Where the next page begins; null on the last one.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// What a decision has come to.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = DeadLetterDecided)]
struct Decided {
    success: bool,
    resolution: &'static str,
    units_returned: i32,
    message: String,
}

/// Messages that became no order, the oldest first.
#[utoipa::path(
    get, path = "/api/v1/admin/dead-letters", operation_id = "listDeadLetters", tag = "Operators",
    params(
        ("saleId" = Option<Uuid>, Query, description = "Of this sale only."),
        ("state" = Option<String>, Query, description = "`unresolved` (the default), `resolved` or `all`."),
        ("cursor" = Option<String>, Query, description = "The `nextCursor` of the page before."),
        ("limit" = Option<i64>, Query, description = "How many at most; 50 unless told.", minimum = 1, maximum = 200),
    ),
    responses(
        (status = 200, description = "A page of them.", body = Page),
        (status = 400, description = "BAD_REQUEST, INVALID_FIELD"),
    ),
)]
pub(super) async fn list(request: HttpRequest, process: web::Data<Process>) -> Result<HttpResponse, Problem> {
    let filter = filter(&Query::of(&request, &["saleId", "state", "cursor", "limit"])?)?;
    // One more than asked for tells whether there is a next page.
    let one_more = LetterFilter { limit: filter.limit + 1, ..filter };
    let letters = process.ledger.dead_letters(&one_more).await.map_err(|error| Problem::unavailable(&error))?;
    let (letters, more) = page(letters, filter.limit);
    let next_cursor = letters.last().filter(|_| more).map(|last| cursor(last.created_at, last.id));
    Ok(HttpResponse::Ok().json(Page { dead_letters: letters.into_iter().map(Letter::of).collect(), next_cursor }))
}

/// One dead letter with its whole message.
#[utoipa::path(
    get, path = "/api/v1/admin/dead-letters/{id}", operation_id = "deadLetter", tag = "Operators",
    params(("id" = Uuid, Path)),
    responses(
        (status = 200, description = "The dead letter.", body = Letter),
        (status = 400, description = "INVALID_FIELD"),
        (status = 404, description = "DEAD_LETTER_NOT_FOUND"),
    ),
)]
pub(super) async fn show(path: web::Path<String>, process: web::Data<Process>) -> Result<HttpResponse, Problem> {
    let id = usual_uuid("id", &path)?;
    let letter = process.ledger.dead_letter(id).await.map_err(|error| Problem::unavailable(&error))?;
    Ok(HttpResponse::Ok().json(Letter::of(letter.ok_or_else(|| not_found(id))?)))
}

/// Tries again to make an order of a dead letter.
#[utoipa::path(
    post, path = "/api/v1/admin/dead-letters/{id}/redrive", operation_id = "redriveDeadLetter", tag = "Operators",
    params(("id" = Uuid, Path)),
    responses(
        (status = 200, description = "It is resolved.", body = Decided),
        (status = 400, description = "INVALID_FIELD"),
        (status = 404, description = "DEAD_LETTER_NOT_FOUND"),
        (status = 409, description = "DEAD_LETTER_RESOLVED, RECONCILE_RUNNING, REDRIVE_FAILED"),
    ),
)]
pub(super) async fn redrive(path: web::Path<String>, process: web::Data<Process>) -> Result<HttpResponse, Problem> {
    let id = usual_uuid("id", &path)?;
    let reconciler = process.reconciler.clone();
    // On a task of its own: a message of many reservations must not be left half done by an operator who hangs up.
    let redriven = actix_web::rt::spawn(async move { reconciler.redrive(id, OPERATOR).await });
    let verdict = redriven.await.map_err(|error| Problem::unavailable(&error))?;
    answer(id, verdict.map_err(|error: Error| Problem::unavailable(&error))?)
}

/// Gives up a dead letter; its units come back.
#[utoipa::path(
    post, path = "/api/v1/admin/dead-letters/{id}/discard", operation_id = "discardDeadLetter", tag = "Operators",
    params(("id" = Uuid, Path)),
    responses(
        (status = 200, description = "It is resolved.", body = Decided),
        (status = 400, description = "INVALID_FIELD"),
        (status = 404, description = "DEAD_LETTER_NOT_FOUND"),
        (status = 409, description = "DEAD_LETTER_RESOLVED, RECONCILE_RUNNING"),
    ),
)]
pub(super) async fn discard(path: web::Path<String>, process: web::Data<Process>) -> Result<HttpResponse, Problem> {
    let id = usual_uuid("id", &path)?;
    answer(id, process.ledger.discard(id, OPERATOR).await.map_err(|error| Problem::unavailable(&error))?)
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

/// What a query asks for: what is not resolved, unless it says otherwise.
fn filter(query: &Query) -> Result<LetterFilter, Problem> {
    Ok(LetterFilter {
        sale: query.parsed("saleId", sale_id)?,
        resolved: query.parsed("state", state)?.unwrap_or(Some(false)),
        after: query.parsed("cursor", after)?,
        limit: query.limit()?,
    })
}

fn state(text: &str) -> Result<Option<bool>, Problem> {
    match text {
        "unresolved" => Ok(Some(false)),
        "resolved" => Ok(Some(true)),
        "all" => Ok(None),
        _ => Err(Problem::field("state", &"must be unresolved, resolved or all")),
    }
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
    parse().ok_or_else(bad_cursor)
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
