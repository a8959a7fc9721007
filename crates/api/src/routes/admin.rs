//! What operators may do.

use actix_web::{HttpResponse, web};
use reconcile::{Error, Outcome, Verification};
use serde::{Deserialize, Serialize};
use std::time::Instant;
use utoipa::ToSchema;

use super::{OPERATOR, sale_id};
use crate::app::Process;
use crate::body::Body;
use crate::error::{Code, Problem};

/// Which sale to reset.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ResetRequest {
    #[schema(value_type = Uuid)]
    sale_id: Option<String>,
    /// Resets even while reservations are on their way: they are lost.
    #[serde(default)]
    force: bool,
}

/// That it was done.
#[derive(Serialize, ToSchema)]
struct Done {
    success: bool,
    message: String,
}

/// Deletes what a sale has sold and opens it anew.
#[utoipa::path(
    post, path = "/api/v1/admin/reset", operation_id = "resetSale", tag = "Operators",
    request_body = ResetRequest,
    responses(
        (status = 200, description = "It stands as on its first day.", body = Done),
        (status = 400, description = "INVALID_FIELD"),
        (status = 404, description = "SALE_NOT_FOUND"),
        (status = 409, description = "RECONCILE_RUNNING, SALE_BUSY"),
    ),
)]
pub(super) async fn reset(Body(body): Body, process: web::Data<Process>) -> Result<HttpResponse, Problem> {
    let request: ResetRequest =
        serde_json::from_slice(&body).map_err(|error| Problem::new(Code::InvalidBody, error.to_string()))?;
    let text = request.sale_id.ok_or_else(|| Problem::field("saleId", &"is missing"))?;
    let sale = sale_id(&text)?;
    // On a task of its own: an operator who hangs up must not leave the sale half reset.
    let reconciler = process.reconciler.clone();
    let reset = actix_web::rt::spawn(async move { reconciler.reset(sale, OPERATOR, request.force).await });
    let outcome = reset.await.map_err(|error| Problem::unavailable(&error))?.map_err(problem)?;
    if outcome == Outcome::Busy {
        return Err(Problem::new(Code::ReconcileRunning, "Another reconcile of this sale is running; try again"));
    }
    // The next request to this process meets the new gate.
    process.view.refresh_after(Instant::now()).await.map_err(|error| Problem::unavailable(&error))?;
    Ok(HttpResponse::Ok().json(Done { success: true, message: format!("Sale {sale} has been reset") }))
}

/// Every invariant of a sale, expected and actual.
#[utoipa::path(
    get, path = "/api/v1/admin/sales/{saleId}/verify", operation_id = "verifySale", tag = "Operators",
    params(("saleId" = Uuid, Path)),
    responses(
        (status = 200, description = "An exact reading, taken while the sale may be running.", body = Verification),
        (status = 400, description = "INVALID_FIELD"),
        (status = 404, description = "SALE_NOT_FOUND"),
        (status = 409, description = "RECONCILE_RUNNING"),
    ),
)]
pub(super) async fn verify(path: web::Path<String>, process: web::Data<Process>) -> Result<HttpResponse, Problem> {
    let sale = sale_id(&path)?;
    let reconciler = process.reconciler.clone();
    // On a task of its own: the row lock it takes must be let go whether or not the operator waits.
    let verification = actix_web::rt::spawn(async move { reconciler.verify(sale).await });
    let verification = verification.await.map_err(|error| Problem::unavailable(&error))?.map_err(problem)?;
    Ok(HttpResponse::Ok().json(verification))
}

pub(super) fn problem(error: Error) -> Problem {
    match error {
        Error::UnknownSale(id) => Problem::new(Code::SaleNotFound, format!("there is no sale {id}")),
        Error::InFlight(_) => Problem::new(Code::SaleBusy, format!("{error}; wait, or send \"force\": true")),
        Error::TakenOver => Problem::new(Code::ReconcileRunning, "Another reconcile of this sale has taken over"),
        error => Problem::unavailable(&error),
    }
}
