//! What buyers may read: the sales, one sale, their own purchase.

use std::sync::Arc;
use std::time::Instant;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use chrono::{DateTime, SecondsFormat, Utc};
use domain::{Halt, ReservationId, SaleId, SaleState};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{sale_id, user_id};
use crate::app::Process;
use crate::caller::Caller;
use crate::error::{Code, Problem};
use crate::pending::{self, Had};
use crate::query::bad_cursor;
use crate::view::SaleView;

/// One sale as buyers see it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SaleStatus)]
struct Status<'a> {
    #[schema(value_type = Uuid)]
    sale_id: SaleId,
    name: &'a str,
    #[schema(required)]
    description: Option<&'a str>,
    #[schema(required)]
    image_url: Option<&'a str>,
    remaining_stock: i64,
    total_sold: i64,
    total_stock: i64,
    sale_active: bool,
    starts_at: DateTime<Utc>,
    ends_at: DateTime<Utc>,
    /// `ACTIVE` or `INACTIVE`.
    #[schema(value_type = String, example = "ACTIVE")]
    status: &'static str,
    /// Whether an operator has stopped it until further notice.
    paused: bool,
    /// Whether it is over: past its end, or ended by an operator.
    over: bool,
    per_user_limit: u32,
    unit_price_minor: i64,
    currency: &'a str,
    hold_seconds: u32,
    /// The clock that decides when a sale starts and ends, at the moment of this answer.
    #[schema(value_type = DateTime<Utc>)]
    server_time: String,
}

impl<'a> Status<'a> {
    fn of(view: &'a SaleView, now_ms: i64) -> Self {
        let (sale, active, over) = (&view.sale, view.is_active(now_ms), is_over(view, now_ms));
        Self {
            sale_id: sale.id,
            name: &sale.name,
            description: sale.description.as_deref(),
            image_url: sale.image_url.as_deref(),
            remaining_stock: view.remaining(),
            total_sold: sale.sold,
            total_stock: sale.total_stock,
            sale_active: active,
            starts_at: sale.starts_at,
            ends_at: sale.ends_at,
            status: if active { "ACTIVE" } else { "INACTIVE" },
            paused: sale.halted == Some(Halt::Paused) && !over,
            over,
            per_user_limit: sale.per_user_limit.get(),
            unit_price_minor: sale.terms.unit_price_minor,
            currency: sale.terms.currency.as_str(),
            hold_seconds: sale.terms.hold_seconds,
            server_time: DateTime::from_timestamp_millis(now_ms)
                .unwrap_or_default()
                .to_rfc3339_opts(SecondsFormat::Millis, true),
        }
    }
}

/// What a buyer has bought.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PurchaseOf {
    purchased: bool,
    #[schema(value_type = Option<Uuid>, required)]
    order_id: Option<ReservationId>,
    /// An order's state; `PENDING` while a reservation is on its way, `NOT_PURCHASED` where there is none.
    #[schema(value_type = String, example = "CONFIRMED")]
    status: &'static str,
}

/// Which sales to list. A field that is not known is nothing to us: who caches pages adds his own.
#[derive(Deserialize)]
struct Wanted {
    status: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
}

/// The sales, in the order of their start: all of them, unless told which.
#[utoipa::path(
    get, path = "/api/v1/sales", operation_id = "listSales", tag = "Sales",
    params(
        ("status" = Option<String>, Query, description = "`active`, `inactive`, `upcoming` or `ended` ones only."),
        ("limit" = Option<i64>, Query, description = "How many at most; all of them unless told.", minimum = 1, maximum = 200),
        ("cursor" = Option<String>, Query, description = "Part of the link to the next page."),
    ),
    responses(
        (status = 200, description = "The sales, as they stood a moment ago.", body = Vec<Status<'_>>,
         headers(("Link" = Option<String>, description = "The next page, with `rel=\"next\"`; none on the last one."))),
        (status = 400, description = "BAD_REQUEST, INVALID_FIELD"),
    ),
)]
pub(super) async fn list(request: HttpRequest, process: web::Data<Process>) -> Result<HttpResponse, Problem> {
    let wanted = web::Query::<Wanted>::from_query(request.query_string());
    let wanted = wanted.map_err(|error| Problem::new(Code::BadRequest, error.to_string()))?.into_inner();
    let is_wanted = status_filter(wanted.status.as_deref())?;
    let limit = wanted.limit.as_deref().map_or(Ok(usize::MAX), limit)?;
    let start = wanted.cursor.as_deref().map(after).transpose()?;
    let views = match process.view.list() {
        Some(views) => views,
        None => {
            process.view.refresh_after(Instant::now()).await.map_err(|error| Problem::unavailable(&error))?;
            process.view.list().unwrap_or_default()
        }
    };
    let now_ms = process.view.now_ms();
    let is_after = |view: &SaleView| start.is_none_or(|start| (view.sale.starts_at, view.sale.id) > start);
    let mut listed = views.iter().filter(|view| is_after(view) && is_wanted(view, now_ms));
    let page: Vec<&Arc<SaleView>> = listed.by_ref().take(limit).collect();
    let mut response = HttpResponse::Ok();
    if let (Some(last), Some(_)) = (page.last(), listed.next()) {
        let status = wanted.status.map(|status| format!("status={status}&")).unwrap_or_default();
        let cursor = cursor(last.sale.starts_at, last.sale.id);
        let link = format!("</api/v1/sales?{status}limit={limit}&cursor={cursor}>; rel=\"next\"");
        response.insert_header((header::LINK, link));
    }
    Ok(response.json(page.into_iter().map(|view| Status::of(view, now_ms)).collect::<Vec<_>>()))
}

/// Whether a sale is one of those that are asked for, at this time.
type IsWanted = fn(&SaleView, i64) -> bool;

fn status_filter(status: Option<&str>) -> Result<IsWanted, Problem> {
    // The answers say ACTIVE: who sends that back is understood.
    match status.map(str::to_ascii_lowercase).as_deref() {
        None => Ok(|_, _| true),
        Some("active") => Ok(SaleView::is_active),
        Some("inactive") => Ok(|view, now_ms| !view.is_active(now_ms)),
        Some("upcoming") => Ok(|view, now_ms| !is_over(view, now_ms) && now_ms < view.sale.window.starts_ms),
        Some("ended") => Ok(is_over),
        Some(_) => Err(Problem::field("status", &"must be active, inactive, upcoming or ended")),
    }
}

/// Whether nothing brings it back to selling.
pub(crate) fn is_over(view: &SaleView, now_ms: i64) -> bool {
    view.sale.state == SaleState::Ended || view.sale.rules().are_over(now_ms)
}

fn limit(text: &str) -> Result<usize, Problem> {
    let limit = text.parse().ok().filter(|limit| (1..=200).contains(limit));
    limit.ok_or_else(|| Problem::field("limit", &"must be a whole number from 1 to 200"))
}

/// `<microseconds since 1970>.<sale id>`: the last sale of the page before.
pub(super) fn cursor(starts_at: DateTime<Utc>, id: SaleId) -> String {
    format!("{}.{id}", starts_at.timestamp_micros())
}

pub(super) fn after(text: &str) -> Result<(DateTime<Utc>, SaleId), Problem> {
    let parse = || {
        let (micros, id) = text.split_once('.')?;
        Some((DateTime::from_timestamp_micros(micros.parse().ok()?)?, id.parse().ok()?))
    };
    parse().ok_or_else(bad_cursor)
}

/// One sale.
#[utoipa::path(
    get, path = "/api/v1/sale/{saleId}/status", operation_id = "saleStatus", tag = "Sales",
    params(("saleId" = Uuid, Path)),
    responses(
        (status = 200, description = "The sale, as it stood a moment ago.", body = Status<'_>),
        (status = 400, description = "INVALID_FIELD"),
        (status = 404, description = "SALE_NOT_FOUND"),
    ),
)]
pub(super) async fn status(path: web::Path<String>, process: web::Data<Process>) -> Result<HttpResponse, Problem> {
    let view = find(&process, sale_id(&path)?).await?;
    Ok(HttpResponse::Ok().json(Status::of(&view, process.view.now_ms())))
}

/// The body of [`status`].
pub(crate) fn status_json(view: &SaleView, now_ms: i64) -> Vec<u8> {
    json(&Status::of(view, now_ms))
}

/// The body of [`list`] where all of them are wanted.
pub(crate) fn list_json(views: &[Arc<SaleView>], now_ms: i64) -> Vec<u8> {
    json(&views.iter().map(|view| Status::of(view, now_ms)).collect::<Vec<_>>())
}

fn json(body: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(body).expect("plain fields become JSON, and memory takes everything")
}

/// What a buyer has bought from a sale.
#[utoipa::path(
    get, path = "/api/v1/sale/{saleId}/user/{userId}/purchase", operation_id = "purchaseOf", tag = "Purchases",
    security((), ("buyer" = [])), params(("saleId" = Uuid, Path), ("userId" = String, Path)),
    responses(
        (status = 200, description = "The purchase, or that there is none.", body = PurchaseOf),
        (status = 400, description = "INVALID_FIELD"),
        (status = 401, description = "TOKEN_NEEDED, INVALID_TOKEN"),
        (status = 403, description = "FORBIDDEN"),
        (status = 404, description = "SALE_NOT_FOUND"),
    ),
)]
pub(super) async fn purchase_of(
    caller: Caller,
    path: web::Path<(String, String)>,
    process: web::Data<Process>,
) -> Result<HttpResponse, Problem> {
    let (sale, user) = (sale_id(&path.0)?, caller.buyer(Some(user_id(&path.1)?))?);
    let view = find(&process, sale).await?;
    let answer = match pending::find_of(&process, &view.sale, &user).await? {
        Had::Order(order) => {
            PurchaseOf { purchased: order.status.is_active(), order_id: Some(order.id), status: order.status.as_str() }
        }
        Had::Pending(id) => PurchaseOf { purchased: true, order_id: Some(id), status: "PENDING" },
        Had::Nothing => PurchaseOf { purchased: false, order_id: None, status: "NOT_PURCHASED" },
    };
    Ok(HttpResponse::Ok().json(answer))
}

/// The sale, looked up in PostgreSQL where this process has not seen it: it may have been created a moment ago.
/// Lookups of many unknown ids share one reading.
pub(super) async fn find(process: &Process, id: SaleId) -> Result<Arc<SaleView>, Problem> {
    if let Some(view) = process.view.get(id) {
        return Ok(view);
    }
    process.view.refresh_after(Instant::now()).await.map_err(|error| Problem::unavailable(&error))?;
    process.view.get(id).ok_or_else(|| Problem::new(Code::SaleNotFound, format!("there is no sale {id}")))
}
