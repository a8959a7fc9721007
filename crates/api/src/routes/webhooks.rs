//! Events for the shop's back end, as they stand in the outbox: listed, read, and sent again at an operator's word.

use actix_web::{HttpRequest, HttpResponse, web};
use chrono::{DateTime, Utc};
use domain::{ReservationId, SaleId};
use ledger::{WEBHOOK_TYPES, WebhookFilter, WebhookState};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{OPERATOR, sale_id, usual_uuid};
use crate::app::Process;
use crate::error::{Code, Problem};
use crate::query::{Query, bad_cursor, page};

/// An event for the shop's back end, and what has become of sending it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Webhook {
    /// The `webhook-id` that the receiver knows it by.
    id: Uuid,
    /// Such as `order.confirmed`.
    r#type: String,
    #[schema(value_type = Uuid)]
    sale_id: SaleId,
    /// Null where the event is about the sale.
    #[schema(value_type = Option<Uuid>, required)]
    order_id: Option<ReservationId>,
    /// `pending` (it will be sent, perhaps again), `delivered` (a 2xx came back) or `failed` (given up).
    #[schema(value_type = String, example = "delivered")]
    state: &'static str,
    /// Attempts begun since it was written, or since it was last asked for again.
    attempts: i32,
    created_at: DateTime<Utc>,
    /// Null unless it is pending.
    #[schema(required)]
    next_attempt_at: Option<DateTime<Utc>>,
    #[schema(required)]
    last_attempt_at: Option<DateTime<Utc>>,
    #[schema(required)]
    delivered_at: Option<DateTime<Utc>>,
    /// The status of the last answer; null where none came.
    #[schema(required)]
    response_status: Option<i32>,
    /// Why the last attempt failed.
    #[schema(required)]
    last_error: Option<String>,
    /// The body that is sent.
    #[schema(value_type = Object)]
    payload: Value,
}

impl From<ledger::Webhook> for Webhook {
    fn from(event: ledger::Webhook) -> Self {
        Self {
            id: event.id,
            r#type: event.kind,
            sale_id: event.sale_id,
            order_id: event.order_id,
            state: event.state.as_str(),
            attempts: event.attempts,
            created_at: event.created_at,
            next_attempt_at: (event.state == WebhookState::Pending).then_some(event.due_at),
            last_attempt_at: event.last_attempt_at,
            delivered_at: event.delivered_at,
            response_status: event.response_status,
            last_error: event.last_error,
            payload: serde_json::from_str(&event.payload).unwrap_or_default(),
        }
    }
}

/// A page of events.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Webhooks)]
struct Page {
    webhooks: Vec<Webhook>,
    /// Where the next page begins; null on the last one.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// That an event will be sent again.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookAccepted)]
struct Accepted {
    success: bool,
    message: String,
}

/// Events for the shop's back end, the newest first.
#[utoipa::path(
    get, path = "/api/v1/admin/webhooks", operation_id = "listWebhooks", tag = "Webhooks",
    params(
        ("state" = Option<String>, Query, description = "`pending`, `delivered` or `failed` only."),
        ("type" = Option<String>, Query, description = "Of this type only, such as `order.confirmed`."),
        ("saleId" = Option<Uuid>, Query, description = "About this sale or its orders only."),
        ("cursor" = Option<String>, Query, description = "The `nextCursor` of the page before."),
        ("limit" = Option<i64>, Query, description = "How many at most; 50 unless told.", minimum = 1, maximum = 200),
    ),
    responses(
        (status = 200, description = "A page of them.", body = Page),
        (status = 400, description = "BAD_REQUEST, INVALID_FIELD"),
    ),
)]
pub(super) async fn list(request: HttpRequest, process: web::Data<Process>) -> Result<HttpResponse, Problem> {
    let filter = filter(&Query::of(&request, &["state", "type", "saleId", "cursor", "limit"])?)?;
    // One more than asked for tells whether there is a next page.
    let one_more = WebhookFilter { limit: filter.limit + 1, ..filter.clone() };
    let webhooks = process.ledger.webhooks(&one_more).await.map_err(|error| Problem::unavailable(&error))?;
    let (webhooks, more) = page(webhooks, filter.limit);
    let next_cursor = webhooks.last().filter(|_| more).map(|last| last.seq.to_string());
    Ok(HttpResponse::Ok().json(Page { webhooks: webhooks.into_iter().map(Webhook::from).collect(), next_cursor }))
}

/// One event, and what has become of sending it.
#[utoipa::path(
    get, path = "/api/v1/admin/webhooks/{id}", operation_id = "webhook", tag = "Webhooks",
    params(("id" = Uuid, Path)),
    responses(
        (status = 200, description = "The event.", body = Webhook),
        (status = 400, description = "INVALID_FIELD"),
        (status = 404, description = "WEBHOOK_NOT_FOUND"),
    ),
)]
pub(super) async fn show(path: web::Path<String>, process: web::Data<Process>) -> Result<HttpResponse, Problem> {
    let id = usual_uuid("id", &path)?;
    let webhook = process.ledger.webhook(id).await.map_err(|error| Problem::unavailable(&error))?;
    Ok(HttpResponse::Ok().json(Webhook::from(webhook.ok_or_else(|| not_found(id))?)))
}

/// Has an event sent at once and with all its attempts before it, whatever has become of it.
#[utoipa::path(
    post, path = "/api/v1/admin/webhooks/{id}/redeliver", operation_id = "redeliverWebhook", tag = "Webhooks",
    params(("id" = Uuid, Path)),
    responses(
        (status = 202, description = "A keeper will send it, under the same id.", body = Accepted),
        (status = 400, description = "INVALID_FIELD"),
        (status = 404, description = "WEBHOOK_NOT_FOUND"),
    ),
)]
pub(super) async fn redeliver(path: web::Path<String>, process: web::Data<Process>) -> Result<HttpResponse, Problem> {
    let id = usual_uuid("id", &path)?;
    let found = process.ledger.redeliver_webhook(id, OPERATOR).await.map_err(|error| Problem::unavailable(&error))?;
    if !found {
        return Err(not_found(id));
    }
    Ok(HttpResponse::Accepted().json(Accepted { success: true, message: format!("Event {id} will be sent again") }))
}

fn not_found(id: Uuid) -> Problem {
    Problem::new(Code::WebhookNotFound, format!("there is no event {id}, or it was delivered long ago"))
}

fn filter(query: &Query) -> Result<WebhookFilter, Problem> {
    let state = |text: &str| text.parse().map_err(|_| Problem::field("state", &"must be pending, delivered or failed"));
    let kind = |text: &str| {
        let known = WEBHOOK_TYPES.contains(&text).then(|| text.to_owned());
        known.ok_or_else(|| Problem::field("type", &format_args!("must be one of {}", WEBHOOK_TYPES.join(", "))))
    };
    Ok(WebhookFilter {
        state: query.parsed("state", state)?,
        kind: query.parsed("type", kind)?,
        sale: query.parsed("saleId", sale_id)?,
        before: query.parsed("cursor", |text| text.parse().map_err(|_| bad_cursor()))?,
        limit: query.limit()?,
    })
}
