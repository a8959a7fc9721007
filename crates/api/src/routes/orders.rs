//! Orders: listed, read, cancelled.

use actix_web::http::header::{HeaderValue, RETRY_AFTER};
use actix_web::{HttpRequest, HttpResponse, web};
use chrono::{DateTime, Utc};
use domain::{OrderState, ReservationId, SaleId};
use ledger::{CancelBy, CancelVerdict, Order, OrderCursor, OrderOfUser, OrderView, Payment};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{OPERATOR, user_id, usual_uuid};
use crate::app::Process;
use crate::body::Body;
use crate::caller::Caller;
use crate::error::{Code, Problem};
use crate::pending::{self, Found};
use crate::query::{Query, bad_cursor, page};

/// Longest reason for a cancellation, in characters.
const LONGEST_REASON: usize = 500;

/// An order, or what is known of one on its way.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = Order)]
enum Answer {
    Written(Box<Written>),
    Pending(Pending),
}

/// An order that is written.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = WrittenOrder)]
struct Written {
    #[schema(value_type = Uuid)]
    order_id: ReservationId,
    #[schema(value_type = Uuid)]
    sale_id: SaleId,
    user_id: String,
    /// `HELD`, `PAYING`, `CONFIRMED`, `EXPIRED`, `CANCELLED` or `REFUSED`.
    status: &'static str,
    quantity: u32,
    unit_price_minor: i64,
    /// What is to be paid for all units.
    amount_minor: i64,
    currency: String,
    reserved_at: DateTime<Utc>,
    created_at: DateTime<Utc>,
    /// When its units go to somebody else unless something happens: `HELD`, unless it is being paid by then; `PAYING`,
    /// unless it is paid. Null in all other states.
    #[schema(required)]
    expires_at: Option<DateTime<Utc>>,
    #[schema(required)]
    payment: Option<PaymentAnswer>,
    /// What has happened to it, in order.
    timeline: Vec<Moment>,
}

/// An order on its way: it will be written in a moment.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PendingOrder)]
struct Pending {
    #[schema(value_type = Uuid)]
    order_id: ReservationId,
    /// Null where an operator has to decide about it.
    #[schema(value_type = Option<Uuid>, required)]
    sale_id: Option<SaleId>,
    #[schema(pattern = "^PENDING$")]
    status: &'static str,
}

/// The payment of an order.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Payment)]
pub(super) struct PaymentAnswer {
    /// `stripe` or `simulated`.
    provider: String,
    /// The provider's own name for it.
    #[schema(required)]
    provider_ref: Option<String>,
    /// `starting`, `pending`, `late`, `claiming`, `authorized`, `captured`, `releasing`, `released` or `failed`.
    state: &'static str,
    amount_minor: i64,
    currency: String,
    /// Until when it must be paid.
    pay_until: DateTime<Utc>,
    /// What the buyer's page hands to the provider to pay. Only in the answer to `pay`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) client_secret: Option<String>,
}

/// A moment in the life of an order.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = OrderMoment)]
struct Moment {
    at: DateTime<Utc>,
    /// `RESERVED`, `HELD`, `PAYING`, `CONFIRMED`, `EXPIRED`, `CANCELLED`, `REFUNDED` and others.
    event: String,
    /// Who did it, where it was not the shop itself.
    #[schema(required)]
    actor: Option<String>,
}

/// A page of a buyer's orders.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Orders)]
struct Page {
    orders: Vec<Row>,
    /// Where the next page begins; null on the last one.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// An order in a list.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = OrderRow)]
struct Row {
    #[schema(value_type = Uuid)]
    order_id: ReservationId,
    #[schema(value_type = Uuid)]
    sale_id: SaleId,
    sale_name: String,
    status: &'static str,
    quantity: u32,
    unit_price_minor: i64,
    amount_minor: i64,
    currency: String,
    reserved_at: DateTime<Utc>,
    /// Until when a `HELD` order holds its units; null in all other states.
    #[schema(required)]
    expires_at: Option<DateTime<Utc>>,
}

/// What has become of an order.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = OrderMoved)]
pub(super) struct Moved {
    #[schema(value_type = Uuid)]
    pub(super) order_id: ReservationId,
    pub(super) status: &'static str,
    #[schema(required)]
    pub(super) payment: Option<PaymentAnswer>,
    /// Until when it must be paid, where it is being paid.
    #[schema(required)]
    pub(super) pay_until: Option<DateTime<Utc>>,
}

/// What `POST /api/v1/admin/orders/{id}/cancel` takes.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = CancelOrder)]
struct Cancel {
    /// Whether the units go back on sale; else the sale's stock is lowered by them.
    #[schema(required, value_type = bool)]
    restock: Option<bool>,
    /// Why, for the audit trail: 1 to 500 characters.
    #[schema(required, value_type = String)]
    reason: Option<String>,
}

impl PaymentAnswer {
    pub(super) fn of(payment: Payment) -> Self {
        Self {
            provider: payment.provider,
            provider_ref: payment.provider_ref,
            state: payment.state.as_str(),
            amount_minor: payment.amount_minor,
            currency: payment.currency.to_string(),
            pay_until: payment.pay_until,
            client_secret: None,
        }
    }
}

impl Moved {
    /// An order as a call has left it.
    pub(super) fn of(order_id: ReservationId, status: OrderState, payment: Option<Payment>) -> Self {
        let pay_until = payment.as_ref().filter(|_| status == OrderState::Paying).map(|payment| payment.pay_until);
        Self { order_id, status: status.as_str(), payment: payment.map(PaymentAnswer::of), pay_until }
    }
}

impl Written {
    fn of(OrderView { order, payment, timeline }: OrderView) -> Self {
        let expires_at = match order.status {
            OrderState::Held => order.hold_until,
            OrderState::Paying => payment.as_ref().map(|payment| payment.pay_until),
            _ => None,
        };
        // The detail may name what is an operator's business only.
        let moment = |moment: ledger::Moment| Moment { at: moment.at, event: moment.event, actor: moment.actor };
        Self {
            order_id: order.id,
            sale_id: order.sale_id,
            status: order.status.as_str(),
            amount_minor: amount(&order),
            user_id: order.user_id.into(),
            quantity: order.quantity.get(),
            unit_price_minor: order.unit_price_minor,
            currency: order.currency,
            reserved_at: order.reserved_at,
            created_at: order.created_at,
            expires_at,
            payment: payment.map(PaymentAnswer::of),
            timeline: timeline.into_iter().map(moment).collect(),
        }
    }
}

impl Row {
    fn of(OrderOfUser { order, sale_name, .. }: OrderOfUser) -> Self {
        Self {
            order_id: order.id,
            sale_id: order.sale_id,
            sale_name,
            status: order.status.as_str(),
            quantity: order.quantity.get(),
            unit_price_minor: order.unit_price_minor,
            amount_minor: amount(&order),
            reserved_at: order.reserved_at,
            expires_at: order.hold_until.filter(|_| order.status == OrderState::Held),
            currency: order.currency,
        }
    }
}

/// What is to be paid for an order.
pub(super) fn amount(order: &Order) -> i64 {
    order.unit_price_minor.saturating_mul(order.quantity.get().into())
}

/// A buyer's orders, the latest sale first. Those on their way are not among them yet.
#[utoipa::path(
    get, path = "/api/v1/orders", operation_id = "listOrders", tag = "Orders", security((), ("buyer" = [])),
    params(
        ("userId" = Option<String>, Query, description = "The buyer; not needed where a token names them."),
        ("cursor" = Option<String>, Query, description = "The `nextCursor` of the page before."),
        ("limit" = Option<i64>, Query, description = "How many at most; 50 unless told.", minimum = 1, maximum = 200),
    ),
    responses(
        (status = 200, description = "A page of them.", body = Page),
        (status = 400, description = "BAD_REQUEST, INVALID_FIELD"),
        (status = 401, description = "TOKEN_NEEDED, INVALID_TOKEN"),
        (status = 403, description = "FORBIDDEN"),
    ),
)]
pub(super) async fn list(
    request: HttpRequest,
    process: web::Data<Process>,
    caller: Caller,
) -> Result<HttpResponse, Problem> {
    let query = Query::of(&request, &["userId", "cursor", "limit"])?;
    let buyer = caller.buyer(query.parsed("userId", user_id)?)?;
    let (after, limit) = (query.parsed("cursor", after)?, query.limit()?);
    let orders = process.ledger.orders_of_user(&buyer, after, limit + 1).await;
    let (orders, more) = page(orders.map_err(|error| Problem::unavailable(&error))?, limit);
    let next_cursor = orders.last().filter(|_| more).map(|last| cursor(last.cursor()));
    Ok(HttpResponse::Ok().json(Page { orders: orders.into_iter().map(Row::of).collect(), next_cursor }))
}

/// An order with its payment and its timeline.
#[utoipa::path(
    get, path = "/api/v1/orders/{id}", operation_id = "order", tag = "Orders", security((), ("buyer" = [])),
    params(("id" = Uuid, Path)),
    responses(
        (status = 200, description = "The order; with `Retry-After` while it is on its way.", body = Answer),
        (status = 400, description = "INVALID_FIELD"),
        (status = 401, description = "TOKEN_NEEDED, INVALID_TOKEN"),
        (status = 404, description = "ORDER_NOT_FOUND"),
    ),
)]
pub(super) async fn show(
    path: web::Path<String>,
    process: web::Data<Process>,
    caller: Caller,
) -> Result<HttpResponse, Problem> {
    let id = order_id(&path)?;
    match pending::find(&process, &caller, id).await? {
        Found::Order(order) => Ok(HttpResponse::Ok().json(Answer::Written(Box::new(Written::of(*order))))),
        Found::Pending(sale_id) => {
            let answer = Answer::Pending(Pending { order_id: id, sale_id, status: "PENDING" });
            Ok(HttpResponse::Ok().insert_header((RETRY_AFTER, HeaderValue::from_static("1"))).json(answer))
        }
        Found::Nowhere => Err(not_found(id)),
    }
}

/// Gives an order up that is not paid for. Its units go back on sale.
#[utoipa::path(
    post, path = "/api/v1/orders/{id}/cancel", operation_id = "cancelOrder", tag = "Orders",
    security((), ("buyer" = [])), params(("id" = Uuid, Path)),
    responses(
        (status = 200, description = "It is cancelled, by this request or an earlier one.", body = Moved),
        (status = 400, description = "INVALID_FIELD"),
        (status = 401, description = "TOKEN_NEEDED, INVALID_TOKEN"),
        (status = 404, description = "ORDER_NOT_FOUND"),
        (status = 409, description = "ORDER_STATE_FORBIDS, ORDER_PENDING"),
    ),
)]
pub(super) async fn cancel(
    path: web::Path<String>,
    process: web::Data<Process>,
    caller: Caller,
) -> Result<HttpResponse, Problem> {
    let order = written(&process, &caller, order_id(&path)?).await?;
    do_cancel(&process, &order.order, CancelBy::Buyer).await
}

/// Cancels an order in whatever state; its money is given back.
#[utoipa::path(
    post, path = "/api/v1/admin/orders/{id}/cancel", operation_id = "cancelOrderAsOperator", tag = "Operators",
    params(("id" = Uuid, Path)), request_body = Cancel,
    responses(
        (status = 200, description = "It is cancelled, by this request or an earlier one.", body = Moved),
        (status = 400, description = "INVALID_FIELD"),
        (status = 404, description = "ORDER_NOT_FOUND"),
        (status = 409, description = "ORDER_STATE_FORBIDS, ORDER_PENDING"),
    ),
)]
pub(super) async fn cancel_as_operator(
    path: web::Path<String>,
    Body(body): Body,
    process: web::Data<Process>,
) -> Result<HttpResponse, Problem> {
    let id = order_id(&path)?;
    let wish: Cancel =
        serde_json::from_slice(&body).map_err(|error| Problem::new(Code::InvalidBody, error.to_string()))?;
    let restock = wish.restock.ok_or_else(|| Problem::field("restock", &"is missing"))?;
    let reason = wish.reason.ok_or_else(|| Problem::field("reason", &"is missing"))?;
    if !(1..=LONGEST_REASON).contains(&reason.trim().chars().count()) {
        return Err(Problem::field("reason", &format_args!("must have 1 to {LONGEST_REASON} characters")));
    }
    let order = written(&process, &Caller::Trusted, id).await?;
    let by = CancelBy::Operator { actor: OPERATOR, restock, reason: reason.trim() };
    do_cancel(&process, &order.order, by).await
}

async fn do_cancel(process: &Process, order: &Order, by: CancelBy<'_>) -> Result<HttpResponse, Problem> {
    let id = order.id;
    let turn = process.turns.of(order.sale_id).await;
    let moved = process.ledger.cancel_order(id, by).await.map_err(|error| Problem::unavailable(&error))?;
    drop(turn);
    process.tell(moved.to_tell).await;
    match (moved.verdict, moved.status) {
        (CancelVerdict::Cancelled, Some(status)) => Ok(HttpResponse::Ok().json(Moved::of(id, status, moved.payment))),
        (CancelVerdict::Paid, Some(status)) => Err(forbidden(id, status, "only an operator may cancel it now")),
        (CancelVerdict::Closed, Some(status)) => Err(forbidden(id, status, "there is nothing to cancel")),
        (CancelVerdict::NotFound, _) | (_, None) => Err(not_found(id)),
    }
}

/// The order, where the caller may move it and PostgreSQL has it.
pub(super) async fn written(process: &Process, caller: &Caller, id: ReservationId) -> Result<OrderView, Problem> {
    match pending::find(process, caller, id).await? {
        Found::Order(order) => Ok(*order),
        Found::Pending(_) => Err(Problem::new(Code::OrderPending, format!("order {id} is on its way; try again"))),
        Found::Nowhere => Err(not_found(id)),
    }
}

pub(super) fn not_found(id: ReservationId) -> Problem {
    Problem::new(Code::OrderNotFound, format!("there is no order {id}"))
}

/// The state does not allow what was asked for.
pub(super) fn forbidden(id: ReservationId, status: OrderState, why: &str) -> Problem {
    Problem::new(Code::OrderStateForbids, format!("order {id} is {status}: {why}"))
}

pub(super) fn order_id(text: &str) -> Result<ReservationId, Problem> {
    usual_uuid("id", text).map(ReservationId)
}

/// `<microseconds since 1970>.<sale id>`: when the sale of the last order of the page before starts, and that sale.
fn cursor(last: OrderCursor) -> String {
    format!("{}.{}", last.sale_starts_at.timestamp_micros(), last.sale_id)
}

fn after(text: &str) -> Result<OrderCursor, Problem> {
    let parse = || {
        let (micros, id) = text.split_once('.')?;
        let sale_starts_at = DateTime::from_timestamp_micros(micros.parse().ok()?)?;
        Some(OrderCursor { sale_starts_at, sale_id: SaleId(id.parse::<Uuid>().ok()?) })
    };
    parse().ok_or_else(bad_cursor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back() {
        let sale_starts_at = DateTime::from_timestamp_micros(1_763_683_200_123_456).unwrap();
        let place = OrderCursor { sale_starts_at, sale_id: SaleId(Uuid::from_u128(7)) };
        assert_eq!(after(&cursor(place)).unwrap(), place);
        for text in ["", ".", "1.", "x.00000000-0000-0000-0000-000000000007", "9223372036854775807.7"] {
            assert!(after(text).is_err(), "{text}");
        }
    }
}
