//! `GET /api/v1/sale/{saleId}/events`: a sale, and a buyer's order, as they change.

use std::rc::Rc;

use actix_web::http::header::{CONTENT_TYPE, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};
use domain::{ReservationId, SaleId};

use super::orders::{not_found, order_id};
use super::sale_id;
use super::sales::find;
use crate::app::Process;
use crate::caller::Caller;
use crate::connections::Connection;
use crate::error::Problem;
use crate::live::Listener;
use crate::pending::{self, Found};
use crate::query::Query;

/// The id of the last event that the client has seen.
const LAST_EVENT_ID: &str = "last-event-id";
/// A proxy that gathers an answer before it hands it on would gather for ever.
const UNBUFFERED: (&str, &str) = ("x-accel-buffering", "no");

/// A sale as it changes, and an order.
#[utoipa::path(
    get, path = "/api/v1/sale/{saleId}/events", operation_id = "saleEvents", tag = "Sales",
    params(
        ("saleId" = Uuid, Path),
        ("orderId" = Option<Uuid>, Query, description = "Tells of this order of the buyer's too."),
        ("Last-Event-ID" = Option<String>, Header, description = "The last event seen: it is not told again."),
    ),
    responses(
        (
            status = 200, content_type = "text/event-stream", body = String,
            description = "Server-Sent Events without an end: `sale` with a SaleNow, `order` with an OrderNow.",
            example = "retry: 2104\n\nid: 5a0ff1f30f4b4c1d\nevent: sale\ndata: {\"remainingStock\":100, ...}\n\n",
        ),
        (status = 400, description = "INVALID_FIELD, BAD_REQUEST"),
        (status = 401, description = "TOKEN_NEEDED, INVALID_TOKEN"),
        (status = 404, description = "SALE_NOT_FOUND, ORDER_NOT_FOUND"),
        (status = 503, description = "TOO_MANY_STREAMS"),
    ),
)]
pub(super) async fn events(
    request: HttpRequest,
    path: web::Path<String>,
    process: web::Data<Process>,
    caller: Result<Caller, Problem>,
) -> Result<HttpResponse, Problem> {
    let id = sale_id(&path)?;
    let order = Query::of(&request, &["orderId"])?.parsed("orderId", order_id)?;
    let view = find(&process, id).await?;
    let order = match order {
        Some(order) => Some(listener(&process, (id, order), caller?).await?),
        None => None,
    };
    let seen = request.headers().get(LAST_EVENT_ID).map(HeaderValue::as_bytes);
    let connection = request.conn_data::<Rc<Connection>>().cloned();
    let stream = process.live.listen(&view, seen, order, connection)?;
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, HeaderValue::from_static("text/event-stream")))
        .insert_header(UNBUFFERED)
        .force_close()
        .streaming(stream.into_body()))
}

/// Who listens to an order of this sale, be it written or on its way.
async fn listener(process: &Process, (sale, id): (SaleId, ReservationId), caller: Caller) -> Result<Listener, Problem> {
    let known = match pending::find(process, &caller, id).await? {
        Found::Order(view) if view.order.sale_id == sale => Some(view.order),
        Found::Pending(of) if of.is_none_or(|of| of == sale) => None,
        _ => return Err(not_found(id)),
    };
    process.live.orders().listen((sale, id), known, caller)
}
