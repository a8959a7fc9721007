//! What operators read: a sale's orders, its audit trail, and who works for the sales.

use actix_web::{HttpRequest, HttpResponse, web};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use domain::{Epoch, OrderState, ReservationId, SaleId, SaleState, UserId};
use ledger::{AuditEntry, Order, OrderFilter};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::live::ProcessSeen;
use super::sales::find;
use super::{sale_id, user_id};
use crate::app::Process;
use crate::error::Problem;
use crate::query::{Query, bad_cursor, page};

/// An order as an operator sees it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SaleOrder {
    #[schema(value_type = Uuid)]
    order_id: ReservationId,
    #[schema(value_type = String)]
    user_id: UserId,
    quantity: u32,
    /// As agreed, whatever the sale says now.
    unit_price_minor: i64,
    currency: String,
    #[schema(value_type = String, example = "CONFIRMED")]
    status: OrderState,
    /// Which incarnation of the sale's gate decided.
    #[schema(value_type = i64)]
    epoch: Epoch,
    /// When the gate decided, by Redis's clock.
    reserved_at: DateTime<Utc>,
    /// When the order was written, by PostgreSQL's clock.
    created_at: DateTime<Utc>,
    /// Until when it holds its units unpaid; null where there is no payment step.
    #[schema(required)]
    hold_until: Option<DateTime<Utc>>,
}

impl From<Order> for SaleOrder {
    fn from(order: Order) -> Self {
        Self {
            order_id: order.id,
            user_id: order.user_id,
            quantity: order.quantity.get(),
            unit_price_minor: order.unit_price_minor,
            currency: order.currency,
            status: order.status,
            epoch: order.epoch,
            reserved_at: order.reserved_at,
            created_at: order.created_at,
            hold_until: order.hold_until,
        }
    }
}

/// A page of a sale's orders.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SaleOrders {
    orders: Vec<SaleOrder>,
    /// Where the next page begins; null on the last one.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// Something that happened to a sale or to one of its orders.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AuditEvent {
    /// Rises with each event of a sale.
    id: i64,
    at: DateTime<Utc>,
    /// What happened.
    #[schema(example = "RESERVED")]
    event: String,
    #[schema(value_type = Option<Uuid>, required)]
    order_id: Option<ReservationId>,
    #[schema(required)]
    user_id: Option<String>,
    /// Who did it; null where the system did by itself.
    #[schema(required)]
    actor: Option<String>,
    /// More about it, of a shape that the event tells.
    #[schema(value_type = Option<Object>, required)]
    detail: Option<Value>,
}

impl From<AuditEntry> for AuditEvent {
    fn from(entry: AuditEntry) -> Self {
        let AuditEntry { id, at, event, order_id, user_id, actor, detail } = entry;
        Self { id, at, event, order_id, user_id, actor, detail }
    }
}

/// A page of a sale's audit trail.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AuditTrail {
    events: Vec<AuditEvent>,
    /// Where the next page begins; null on the last one.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// Who works for the sales that are not over. Of those who consume a queue RabbitMQ is asked, and not the workers: it
/// knows who is really there.
#[derive(Serialize, ToSchema)]
struct Workers {
    sales: Vec<WorkersOfSale>,
    /// Every process of ours, as it says of itself.
    processes: Vec<ProcessSeen>,
}

/// Who persists the reservations of a sale.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct WorkersOfSale {
    #[schema(value_type = Uuid)]
    sale_id: SaleId,
    name: String,
    #[schema(value_type = String, example = "open")]
    state: SaleState,
    #[schema(value_type = i64)]
    epoch: Epoch,
    /// Persisters that consume its queue; null where there is no queue.
    #[schema(required)]
    consumers: Option<u32>,
    /// Messages that wait in the queue for one of them; null where there is no queue.
    #[schema(required)]
    queued_messages: Option<u32>,
}

/// The orders of a sale, by the buyers' ids.
#[utoipa::path(
    get, path = "/api/v1/admin/sales/{saleId}/orders", operation_id = "ordersOfSale", tag = "Operators",
    params(
        ("saleId" = Uuid, Path),
        ("status" = Option<String>, Query, description = "In this state only, such as `HELD`."),
        ("userId" = Option<String>, Query, description = "Of this buyer only."),
        ("cursor" = Option<String>, Query, description = "The `nextCursor` of the page before."),
        ("limit" = Option<i64>, Query, description = "How many at most; 50 unless told.", minimum = 1, maximum = 200),
    ),
    responses(
        (status = 200, description = "A page of them.", body = SaleOrders),
        (status = 400, description = "BAD_REQUEST, INVALID_FIELD"),
        (status = 404, description = "SALE_NOT_FOUND"),
    ),
)]
pub(super) async fn orders(
    path: web::Path<String>,
    request: HttpRequest,
    process: web::Data<Process>,
) -> Result<HttpResponse, Problem> {
    let sale = sale_id(&path)?;
    let query = Query::of(&request, &["status", "userId", "cursor", "limit"])?;
    let (status, user) = (query.parsed("status", status)?, query.parsed("userId", user_id)?);
    let (after, limit) = (query.parsed("cursor", buyer_after)?, query.limit()?);
    find(&process, sale).await?;
    // One more than asked for tells whether there is a next page.
    let filter = OrderFilter { sale, status, user, after, limit: limit + 1 };
    let orders = process.ledger.orders_of_sale(&filter).await.map_err(|error| Problem::unavailable(&error))?;
    let (orders, more) = page(orders, limit);
    let last = orders.last().filter(|_| more);
    let next_cursor = last.map(|last| BASE64_URL_SAFE_NO_PAD.encode(last.user_id.as_str()));
    Ok(HttpResponse::Ok().json(SaleOrders { orders: orders.into_iter().map(Into::into).collect(), next_cursor }))
}

/// What happened to a sale, the newest first.
#[utoipa::path(
    get, path = "/api/v1/admin/sales/{saleId}/audit", operation_id = "auditTrail", tag = "Operators",
    params(
        ("saleId" = Uuid, Path),
        ("cursor" = Option<String>, Query, description = "The `nextCursor` of the page before."),
        ("limit" = Option<i64>, Query, description = "How many at most; 50 unless told.", minimum = 1, maximum = 200),
    ),
    responses(
        (status = 200, description = "A page of its audit trail.", body = AuditTrail),
        (status = 400, description = "BAD_REQUEST, INVALID_FIELD"),
        (status = 404, description = "SALE_NOT_FOUND"),
    ),
)]
pub(super) async fn audit(
    path: web::Path<String>,
    request: HttpRequest,
    process: web::Data<Process>,
) -> Result<HttpResponse, Problem> {
    let sale = sale_id(&path)?;
    let query = Query::of(&request, &["cursor", "limit"])?;
    let before = query.parsed("cursor", |text| text.parse::<i64>().map_err(|_| bad_cursor()))?;
    let limit = query.limit()?;
    find(&process, sale).await?;
    let events = process.ledger.audit_trail(sale, before, limit + 1).await;
    let (events, more) = page(events.map_err(|error| Problem::unavailable(&error))?, limit);
    let next_cursor = events.last().filter(|_| more).map(|last| last.id.to_string());
    Ok(HttpResponse::Ok().json(AuditTrail { events: events.into_iter().map(Into::into).collect(), next_cursor }))
}

/// Who works for the sales that are not over, and how much waits for them.
#[utoipa::path(
    get, path = "/api/v1/admin/workers", operation_id = "workers", tag = "Operators",
    responses((status = 200, description = "As RabbitMQ counts them.", body = Workers)),
)]
pub(super) async fn workers(process: web::Data<Process>) -> Result<HttpResponse, Problem> {
    let sales = process.reconciler.sales().await.map_err(|error| Problem::unavailable(&error))?;
    let processes = process.ledger.processes().await.map_err(|error| Problem::unavailable(&error))?;
    let processes = processes.into_iter().map(ProcessSeen::from).collect();
    let mut answer = Workers { sales: Vec::with_capacity(sales.len()), processes };
    for sale in sales {
        let depth = process.reconciler.monitor().depth(sale.id, sale.epoch).await;
        let depth = depth.map_err(|error| Problem::unavailable(&error))?;
        answer.sales.push(WorkersOfSale {
            sale_id: sale.id,
            name: sale.name,
            state: sale.state,
            epoch: sale.epoch,
            consumers: depth.map(|depth| depth.consumers),
            queued_messages: depth.map(|depth| depth.ready),
        });
    }
    Ok(HttpResponse::Ok().json(answer))
}

fn status(text: &str) -> Result<OrderState, Problem> {
    text.parse().map_err(|_| {
        let names = OrderState::ALL.map(OrderState::as_str).join(", ");
        Problem::field("status", &format_args!("must be one of {names}"))
    })
}

/// The buyer of the last order of the page before.
fn buyer_after(text: &str) -> Result<UserId, Problem> {
    let user = BASE64_URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    user.and_then(|user| user.parse().ok()).ok_or_else(bad_cursor)
}
