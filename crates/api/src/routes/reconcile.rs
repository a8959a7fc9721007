//! An operator's word to look at a sale now: what a keeper does each second, with a report.

use std::time::Instant;

use actix_web::{HttpRequest, HttpResponse, web};
use domain::SaleId;
use ledger::Sale;
use reconcile::{Error, Outcome, Plan, Reason, Reconciler, Report, Verification};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::admin::problem;
use super::{OPERATOR, sale_id};
use crate::app::Process;
use crate::error::{Code, Problem};
use crate::query::Query;

/// How far Redis and RabbitMQ have drifted from PostgreSQL, and what was done about it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Reconciliation {
    #[schema(value_type = Uuid)]
    sale_id: SaleId,
    /// Whether nothing was done.
    dry_run: bool,
    needed: Needed,
    /// Why a rebuild was needed; null where none was.
    #[schema(required)]
    reason: Option<Reason>,
    /// What the rebuild did; null where none was done.
    #[schema(required)]
    report: Option<Report>,
    /// The books after that.
    verification: Verification,
}

/// What the sale needed.
#[derive(Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
enum Needed {
    /// Nothing: the gate stands as it was installed, or the sale is over.
    Nothing,
    /// A new gate.
    Rebuild,
    /// To be marked as over.
    End,
}

/// Makes Redis and RabbitMQ agree with PostgreSQL about a sale.
///
/// A keeper does the same each second. With `dryRun=true` nothing is done: the answer tells what would be. Otherwise the
/// audit trail names who asked.
#[utoipa::path(
    post, path = "/api/v1/admin/sales/{saleId}/reconcile", operation_id = "reconcileSale", tag = "Operators",
    params(
        ("saleId" = Uuid, Path),
        ("dryRun" = Option<bool>, Query, description = "Tells what would be done and does nothing. No, unless told."),
    ),
    responses(
        (status = 200, description = "What was found and what was done.", body = Reconciliation),
        (status = 400, description = "BAD_REQUEST, INVALID_FIELD"),
        (status = 404, description = "SALE_NOT_FOUND"),
        (status = 409, description = "RECONCILE_RUNNING"),
    ),
)]
pub(super) async fn reconcile(
    path: web::Path<String>,
    request: HttpRequest,
    process: web::Data<Process>,
) -> Result<HttpResponse, Problem> {
    let id = sale_id(&path)?;
    let dry_run = Query::of(&request, &["dryRun"])?.parsed("dryRun", truth)?.unwrap_or(false);
    let sale = process.ledger.sale(id).await.map_err(|error| Problem::unavailable(&error))?;
    let sale = sale.ok_or_else(|| problem(Error::UnknownSale(id)))?;
    let job = job(process.clone().into_inner(), sale, dry_run);
    // On a task of its own: an operator who hangs up must not leave the sale half rebuilt.
    let answer = actix_web::rt::spawn(job).await.map_err(|error| Problem::unavailable(&error))??;
    Ok(HttpResponse::Ok().json(answer))
}

async fn job(process: std::sync::Arc<Process>, sale: Sale, dry_run: bool) -> Result<Reconciliation, Problem> {
    let reconciler = &process.reconciler;
    let (needed, reason, report) = if dry_run {
        match reconciler.planned(&sale).await.map_err(problem)? {
            Plan::Nothing => (Needed::Nothing, None, None),
            Plan::Rebuild(reason) => (Needed::Rebuild, Some(reason), None),
            Plan::End => (Needed::End, None, None),
        }
    } else {
        let noted = process.ledger.note(sale.id, "RECONCILE_ASKED", OPERATOR, &json!({ "epoch": sale.epoch })).await;
        noted.map_err(|error| Problem::unavailable(&error))?;
        let done = act(reconciler, &sale).await?;
        // The next request to this process meets the gate as it is now.
        process.view.refresh_after(Instant::now()).await.map_err(|error| Problem::unavailable(&error))?;
        done
    };
    let verification = reconciler.verify(sale.id).await.map_err(problem)?;
    Ok(Reconciliation { sale_id: sale.id, dry_run, needed, reason, report, verification })
}

/// A keeper's round for one sale, but for the sweep, which waits for entries to grow old.
async fn act(reconciler: &Reconciler, sale: &Sale) -> Result<(Needed, Option<Reason>, Option<Report>), Problem> {
    match reconciler.reconcile(sale).await.map_err(problem)? {
        Outcome::Intact => {
            reconciler.bring_up_to_date(sale).await.map_err(problem)?;
            Ok((Needed::Nothing, None, None))
        }
        Outcome::Rebuilt(report) => Ok((Needed::Rebuild, Some(report.reason), Some(report))),
        Outcome::Ended => Ok((Needed::End, None, None)),
        Outcome::Busy => {
            Err(Problem::new(Code::ReconcileRunning, "Another reconcile of this sale is running; try again"))
        }
    }
}

fn truth(text: &str) -> Result<bool, Problem> {
    text.parse().map_err(|_| Problem::field("dryRun", &"must be true or false"))
}
