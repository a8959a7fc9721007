//! What operators may do.

use actix_web::{HttpResponse, web};
use reconcile::{Error, Outcome};
use serde::{Deserialize, Serialize};
use std::time::Instant;

use super::sale_id;
use crate::app::Process;
use crate::body::Body;
use crate::error::{Code, Problem};

/// What `POST /api/v1/admin/reset` takes.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResetRequest {
    sale_id: Option<String>,
    /// Resets even while reservations are on their way: they are lost.
    #[serde(default)]
    force: bool,
}

#[derive(Serialize)]
struct Done {
    success: bool,
    message: String,
}

/// `POST /api/v1/admin/reset`: deletes what the sale has sold and opens it anew.
pub(super) async fn reset(Body(body): Body, process: web::Data<Process>) -> Result<HttpResponse, Problem> {
    let request: ResetRequest =
        serde_json::from_slice(&body).map_err(|error| Problem::new(Code::InvalidBody, error.to_string()))?;
    let text = request.sale_id.ok_or_else(|| Problem::field("saleId", &"is missing"))?;
    let sale = sale_id(&text)?;
    // On a task of its own: an operator who hangs up must not leave the sale half reset.
    let reconciler = process.reconciler.clone();
    let reset = actix_web::rt::spawn(async move { reconciler.reset(sale, "operator", request.force).await });
    let outcome = reset.await.map_err(|error| Problem::unavailable(&error))?.map_err(problem)?;
    if outcome == Outcome::Busy {
        return Err(Problem::new(Code::ReconcileRunning, "Another reconcile of this sale is running; try again"));
    }
    // The next request to this process meets the new gate.
    process.view.refresh_after(Instant::now()).await.map_err(|error| Problem::unavailable(&error))?;
    Ok(HttpResponse::Ok().json(Done { success: true, message: format!("Sale {sale} has been reset") }))
}

/// `GET /api/v1/admin/sales/{saleId}/verify`: every invariant of the sale, expected and actual.
pub(super) async fn verify(path: web::Path<String>, process: web::Data<Process>) -> Result<HttpResponse, Problem> {
    let sale = sale_id(&path)?;
    let reconciler = process.reconciler.clone();
    // On a task of its own: the row lock it takes must be let go whether or not the operator waits.
    let verification = actix_web::rt::spawn(async move { reconciler.verify(sale).await });
    let verification = verification.await.map_err(|error| Problem::unavailable(&error))?.map_err(problem)?;
    Ok(HttpResponse::Ok().json(verification))
}

fn problem(error: Error) -> Problem {
    match error {
        Error::UnknownSale(id) => Problem::new(Code::SaleNotFound, format!("there is no sale {id}")),
        Error::InFlight(_) => Problem::new(Code::SaleBusy, format!("{error}; wait, or send \"force\": true")),
        Error::TakenOver => Problem::new(Code::ReconcileRunning, "Another reconcile of this sale has taken over"),
        error => Problem::unavailable(&error),
    }
}
