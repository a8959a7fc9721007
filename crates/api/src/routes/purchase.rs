//! `POST /api/v1/sale/purchase`: the click.

use std::borrow::Cow;

use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpResponse, web};
use domain::{Quantity, Refusal, ReservationId, SaleId, SaleState, UserId};
use inventory::Attempt;
use serde::{Deserialize, Serialize};

use super::{sale_id, user_id};
use crate::app::Process;
use crate::batcher::{Batcher, Verdict};
use crate::body::Body;
use crate::error::{Code, Problem};

/// What the buyer sends.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    #[serde(borrow)]
    sale_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    user_id: Option<Cow<'a, str>>,
    quantity: Option<u32>,
}

/// What the buyer reads.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    success: bool,
    status: &'static str,
    message: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    order_id: Option<ReservationId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remaining_stock: Option<i64>,
}

/// Decides one click.
pub(super) async fn purchase(
    Body(body): Body,
    process: web::Data<Process>,
    batcher: web::Data<Batcher>,
) -> Result<HttpResponse, Problem> {
    let now_ms = boot::clock::now_ms();
    let click = read(&body)?;
    let view = super::sales::find(&process, click.sale_id).await?;
    let id = ReservationId::new_v7(now_ms, &rand::random());
    let refuse = |reason| process.tally.count(click.sale_id, view.sale.epoch, reason, now_ms);
    if click.quantity > view.sale.per_user_limit {
        refuse(Refusal::QuantityNotAllowed);
        return Err(quantity_not_allowed(view.sale.per_user_limit));
    }
    let attempt = Attempt { id, user_id: click.user_id, quantity: click.quantity };
    let verdict = match view.sale.state {
        SaleState::Ended => Verdict::NotActive,
        _ => batcher.reserve(click.sale_id, attempt).await,
    };
    match verdict {
        Verdict::Reserved { remaining } => Ok(reserved(id, remaining)),
        Verdict::AlreadyPurchased(held) => {
            refuse(Refusal::AlreadyPurchased);
            Ok(already_purchased(held))
        }
        Verdict::SoldOut { remaining } => {
            refuse(Refusal::SoldOut);
            Ok(sold_out(remaining))
        }
        Verdict::NotActive => {
            refuse(Refusal::NotActive);
            Err(Problem::new(Code::NotActive, Code::NotActive.title()))
        }
        Verdict::Undecided => {
            refuse(Refusal::TryAgain);
            Ok(try_again(None))
        }
        // Not counted as refused: it may well become an order.
        Verdict::Unknown => Ok(try_again(Some(id))),
    }
}

/// A request that makes sense.
struct Click {
    sale_id: SaleId,
    user_id: UserId,
    quantity: Quantity,
}

fn quantity_not_allowed(limit: Quantity) -> Problem {
    Problem::new(Code::QuantityNotAllowed, format!("quantity must be at most {} in this sale", limit.get()))
}

fn read(body: &[u8]) -> Result<Click, Problem> {
    let request: Request<'_> =
        serde_json::from_slice(body).map_err(|error| Problem::new(Code::InvalidBody, error.to_string()))?;
    let missing = |name| Problem::field(name, &"is missing");
    let sale_id = sale_id(&request.sale_id.ok_or_else(|| missing("saleId"))?)?;
    let user_id = user_id(&request.user_id.ok_or_else(|| missing("userId"))?)?;
    let quantity = match request.quantity {
        None => Quantity::ONE,
        Some(units) => units.try_into().map_err(|invalid| Problem::field("quantity", &invalid))?,
    };
    Ok(Click { sale_id, user_id, quantity })
}

fn reserved(id: ReservationId, remaining: i64) -> HttpResponse {
    HttpResponse::Ok().json(Answer {
        success: true,
        status: "SUCCESS",
        message: "Purchase reserved successfully",
        order_id: Some(id),
        remaining_stock: Some(remaining),
    })
}

fn already_purchased(held: ReservationId) -> HttpResponse {
    HttpResponse::Ok().json(Answer {
        success: false,
        status: Refusal::AlreadyPurchased.as_str(),
        message: "You have already purchased from this sale",
        order_id: Some(held),
        remaining_stock: None,
    })
}

fn sold_out(remaining: i64) -> HttpResponse {
    HttpResponse::Ok().json(Answer {
        success: false,
        status: Refusal::SoldOut.as_str(),
        message: "Sale is sold out",
        order_id: None,
        remaining_stock: Some(remaining),
    })
}

/// The gate is closed, a server is away, or the outcome is unknown; then `order` names what may have been reserved.
fn try_again(order: Option<ReservationId>) -> HttpResponse {
    HttpResponse::ServiceUnavailable().insert_header((header::RETRY_AFTER, HeaderValue::from_static("1"))).json(
        Answer {
            success: false,
            status: Refusal::TryAgain.as_str(),
            message: "Please try again in a moment",
            order_id: order,
            remaining_stock: None,
        },
    )
}
