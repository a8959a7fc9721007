//! What buyers may read: the sales, one sale, their own purchase.

use std::sync::Arc;
use std::time::Instant;

use actix_web::{HttpResponse, web};
use chrono::{DateTime, Utc};
use domain::{ReservationId, SaleId, SaleState};
use serde::Serialize;

use super::{sale_id, user_id};
use crate::app::Process;
use crate::error::{Code, Problem};
use crate::view::SaleView;

/// One sale as buyers see it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status<'a> {
    sale_id: SaleId,
    name: &'a str,
    remaining_stock: i64,
    total_sold: i64,
    total_stock: i64,
    sale_active: bool,
    starts_at: DateTime<Utc>,
    ends_at: DateTime<Utc>,
    status: &'static str,
    per_user_limit: u32,
    unit_price_minor: i64,
    currency: &'a str,
    hold_seconds: u32,
}

impl<'a> Status<'a> {
    fn of(view: &'a SaleView, now_ms: i64) -> Self {
        let (sale, active) = (&view.sale, view.is_active(now_ms));
        Self {
            sale_id: sale.id,
            name: &sale.name,
            remaining_stock: view.remaining(),
            total_sold: sale.sold,
            total_stock: sale.total_stock,
            sale_active: active,
            starts_at: sale.starts_at,
            ends_at: sale.ends_at,
            status: if active { "ACTIVE" } else { "INACTIVE" },
            per_user_limit: sale.per_user_limit.get(),
            unit_price_minor: sale.terms.unit_price_minor,
            currency: sale.terms.currency.as_str(),
            hold_seconds: sale.terms.hold_seconds,
        }
    }
}

/// What a buyer has bought.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PurchaseOf {
    purchased: bool,
    order_id: Option<ReservationId>,
    status: &'static str,
}

/// `GET /api/v1/sales`
pub(super) async fn list(process: web::Data<Process>) -> Result<HttpResponse, Problem> {
    let views = match process.view.list() {
        Some(views) => views,
        None => {
            process.view.refresh_after(Instant::now()).await.map_err(|error| Problem::unavailable(&error))?;
            process.view.list().unwrap_or_default()
        }
    };
    let now_ms = process.view.now_ms();
    Ok(HttpResponse::Ok().json(views.iter().map(|view| Status::of(view, now_ms)).collect::<Vec<_>>()))
}

/// `GET /api/v1/sale/{saleId}/status`
pub(super) async fn status(path: web::Path<String>, process: web::Data<Process>) -> Result<HttpResponse, Problem> {
    let view = find(&process, sale_id(&path)?).await?;
    Ok(HttpResponse::Ok().json(Status::of(&view, process.view.now_ms())))
}

/// `GET /api/v1/sale/{saleId}/user/{userId}/purchase`
pub(super) async fn purchase_of(
    path: web::Path<(String, String)>,
    process: web::Data<Process>,
) -> Result<HttpResponse, Problem> {
    let (sale, user) = (sale_id(&path.0)?, user_id(&path.1)?);
    let view = find(&process, sale).await?;
    // PostgreSQL first: an order is more than a reservation. While it is away the gate still knows the buyer.
    let answer = match process.ledger.order_of(sale, &user).await {
        Ok(Some(order)) => {
            PurchaseOf { purchased: order.status.is_active(), order_id: Some(order.id), status: order.status.as_str() }
        }
        ledger => {
            let open = view.sale.state == SaleState::Open;
            let reserved = match open {
                true => process.inventory.holder(sale, view.sale.epoch, &user).await,
                false => Ok(None),
            };
            match (reserved, ledger) {
                (Ok(Some(id)), _) => PurchaseOf { purchased: true, order_id: Some(id), status: "PENDING" },
                (Ok(None), Ok(_)) if open || view.sale.state == SaleState::Ended => {
                    PurchaseOf { purchased: false, order_id: None, status: "NOT_PURCHASED" }
                }
                (_, Err(error)) => return Err(Problem::unavailable(&error)),
                (Err(error), _) => return Err(Problem::unavailable(&error)),
                (Ok(None), Ok(_)) => return Err(Problem::unavailable(&"the sale's gate is being rebuilt")),
            }
        }
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
