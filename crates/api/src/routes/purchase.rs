//! `POST /api/v1/sale/purchase`: the click.

pub(crate) mod key;

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use actix_web::http::header::{self, ContentType, HeaderValue};
use actix_web::web::Bytes;
use actix_web::{HttpResponse, web};
use chrono::{DateTime, SecondsFormat, Utc};
use domain::{Halt, Quantity, Refusal, ReservationId, SaleId, SaleState, UserId};
use inventory::Attempt;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use self::key::{IDEMPOTENCY_REPLAYED, Key};
use super::{sale_id, user_id};
use crate::app::Process;
use crate::batcher::{Batcher, Promise, Verdict};
use crate::body::Body;
use crate::caller::Caller;
use crate::error::{Code, Problem};
use crate::limits::Origin;
use crate::traffic::Ended;
use crate::view::SaleView;

/// How long a replay looks for the end of its hold; without it the answer says less and is no less true.
const LONGEST_LOOK: Duration = Duration::from_millis(500);

/// What the buyer sends.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PurchaseRequest)]
struct Request<'a> {
    #[serde(borrow)]
    #[schema(value_type = Uuid)]
    sale_id: Option<Cow<'a, str>>,
    /// Who buys, 1 to 128 characters; not needed with a buyer's token.
    #[serde(borrow)]
    #[schema(value_type = Option<String>, max_length = 128)]
    user_id: Option<Cow<'a, str>>,
    /// Units of one order, up to the sale's `perUserLimit`; 1 without it.
    #[schema(minimum = 1, maximum = 10_000)]
    quantity: Option<u32>,
}

/// What the buyer reads.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PurchaseAnswer)]
struct Answer {
    success: bool,
    /// `SUCCESS`, `ALREADY_PURCHASED`, `SOLD_OUT` or `TRY_AGAIN`.
    status: &'static str,
    message: &'static str,
    /// The order that was promised, that the buyer has already, or that may have come of this.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Uuid>)]
    order_id: Option<ReservationId>,
    /// Units left in the sale.
    #[serde(skip_serializing_if = "Option::is_none")]
    remaining_stock: Option<i64>,
    /// Until when the units are held for the payment.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<DateTime<Utc>>)]
    expires_at: Option<String>,
}

/// A click: buys.
///
/// A reservation is made at once, and an order follows. With an `Idempotency-Key` a retry after any lost or unknown
/// answer is answered as the first attempt was.
#[utoipa::path(
    post, path = "/api/v1/sale/purchase", operation_id = "purchase", tag = "Purchases",
    params((
        "Idempotency-Key" = Option<String>, Header, min_length = 1,
        description = "The client's name for this purchase: 1 to 255 visible ASCII characters, bare or in quotes.",
    )),
    request_body = Request<'_>,
    security((), ("buyer" = [])),
    responses(
        (
            status = 200, description = "`SUCCESS`, `ALREADY_PURCHASED` or `SOLD_OUT`.", body = Answer,
            headers(("Idempotency-Replayed" = Option<bool>, description = "There where an earlier attempt with this key has won.")),
        ),
        (status = 400, description = "INVALID_FIELD, INVALID_IDEMPOTENCY_KEY, NOT_ACTIVE, QUANTITY_NOT_ALLOWED"),
        (status = 401, description = "INVALID_TOKEN, TOKEN_NEEDED"),
        (status = 403, description = "FORBIDDEN"),
        (status = 404, description = "SALE_NOT_FOUND"),
        (status = 422, description = "IDEMPOTENCY_KEY_REUSED"),
        (status = 503, description = "`TRY_AGAIN`; with an `orderId` the outcome is unknown.", body = Answer),
    ),
)]
pub(super) async fn purchase(
    Origin(address): Origin,
    Key(key): Key,
    caller: Caller,
    Body(body): Body,
    process: web::Data<Process>,
    batcher: web::Data<Batcher>,
) -> Result<HttpResponse, Problem> {
    let click = read(&body, &caller)?;
    let view = super::sales::find(&process, click.sale_id).await?;
    process.admit_buyer(click.sale_id, &click.user_id)?;
    let clicked = Clicked::now();
    match refuse(&process, &view, &click, clicked) {
        Some(refusal) => Ok(HttpResponse::Ok().content_type(ContentType::json()).body(refusal)),
        None => buy(&process, &batcher, &view, click, clicked, (address, key)).await,
    }
}

/// The answer to a click where nothing is left and the buyer holds nothing, as far as this process knows; `None` where
/// only the gate can tell.
pub(crate) fn refuse(process: &Process, view: &SaleView, click: &Click, clicked: Clicked) -> Option<Bytes> {
    static NOTHING_LEFT: LazyLock<Vec<u8>> =
        LazyLock::new(|| serde_json::to_vec(&sold_out(0)).expect("an answer is JSON"));
    let now_ms = process.view.at(clicked.unix_ms);
    // Where attempts are counted each has to come to the gate.
    let refuses = !process.limits.count_purchases()
        && process.sold_out.refuses(view, &click.user_id, click.quantity, (clicked.at, now_ms));
    refuses.then(|| {
        process.traffic.count(Ended::Refusal, Some(clicked.at.elapsed()), now_ms);
        process.tally.count(click.sale_id, view.sale.epoch, Refusal::SoldOut, clicked.unix_ms);
        Bytes::from_static(&NOTHING_LEFT)
    })
}

/// Has the gate decide: the click of a buyer who is known and may ask, on a sale that there is.
pub(crate) async fn buy(
    process: &Process,
    batcher: &Batcher,
    view: &SaleView,
    Click { sale_id, user_id, quantity }: Click,
    clicked: Clicked,
    (address, key): (Option<IpAddr>, Option<String>),
) -> Result<HttpResponse, Problem> {
    let count = |reason| process.tally.count(sale_id, view.sale.epoch, reason, clicked.unix_ms);
    let id = match &key {
        None => ReservationId::new_v7(clicked.unix_ms, &rand::random()),
        Some(key) => ReservationId::keyed(sale_id, view.sale.valid_from_epoch, &user_id, key, quantity),
    };
    let attempt = Attempt { id, user_id: user_id.clone(), quantity, address };
    let verdict = decide(process, batcher, view, attempt, key.is_some()).await;
    process.traffic.count(ended(&verdict), Some(clicked.at.elapsed()), process.view.now_ms());
    match verdict {
        Verdict::Reserved(promise) if promise.is_replay && key.is_some() => {
            Ok(replayed(process, id, &user_id, view, promise).await)
        }
        Verdict::Reserved(promise) => Ok(HttpResponse::Ok().json(success(id, promise))),
        Verdict::AlreadyPurchased(held) if key.is_some() && held.has_key_of(id) => Err(key_reused()),
        Verdict::AlreadyPurchased(held) => {
            count(Refusal::AlreadyPurchased);
            Ok(HttpResponse::Ok().json(already_purchased(held)))
        }
        Verdict::SoldOut { remaining } => {
            count(Refusal::SoldOut);
            Ok(HttpResponse::Ok().json(sold_out(remaining)))
        }
        Verdict::NotActive => {
            count(Refusal::NotActive);
            Err(Problem::new(Code::NotActive, Code::NotActive.title()))
        }
        Verdict::OverLimit(limit) => {
            count(Refusal::QuantityNotAllowed);
            let detail = format!("quantity must be at most {} in this sale", limit.get());
            Err(Problem::new(Code::QuantityNotAllowed, detail))
        }
        Verdict::TooOften { by, retry } => {
            Err(process.came_too_often((sale_id, view.sale.epoch), (&user_id, address), (by, retry)))
        }
        Verdict::Undecided => {
            count(Refusal::TryAgain);
            Ok(try_again(None))
        }
        // Not counted as refused: it may well become an order.
        Verdict::Unknown => Ok(try_again(Some(id))),
    }
}

fn ended(verdict: &Verdict) -> Ended {
    match verdict {
        Verdict::Reserved(_) => Ended::Success,
        Verdict::Unknown => Ended::Unknown,
        _ => Ended::Refusal,
    }
}

/// A request that makes sense.
pub(crate) struct Click {
    pub(crate) sale_id: SaleId,
    user_id: UserId,
    quantity: Quantity,
}

/// When a click came.
#[derive(Clone, Copy)]
pub(crate) struct Clicked {
    pub(crate) at: Instant,
    /// Milliseconds, by this machine's clock.
    unix_ms: u64,
}

impl Clicked {
    pub(crate) fn now() -> Self {
        Self { at: Instant::now(), unix_ms: boot::clock::now_ms() }
    }
}

pub(crate) fn read(body: &[u8], caller: &Caller) -> Result<Click, Problem> {
    let request: Request<'_> =
        serde_json::from_slice(body).map_err(|error| Problem::new(Code::InvalidBody, error.to_string()))?;
    let sale_id = sale_id(&request.sale_id.ok_or_else(|| Problem::field("saleId", &"is missing"))?)?;
    let user_id = caller.buyer(request.user_id.as_deref().map(user_id).transpose()?)?;
    let quantity = match request.quantity {
        None => Quantity::ONE,
        Some(units) => units.try_into().map_err(|invalid| Problem::field("quantity", &invalid))?,
    };
    Ok(Click { sale_id, user_id, quantity })
}

/// Who has a key is answered from PostgreSQL once the sale is over, and not from the gate as long as that stands: a win
/// that was made before is published again, and nobody may read the queue any more.
async fn decide(process: &Process, batcher: &Batcher, view: &SaleView, attempt: Attempt, has_key: bool) -> Verdict {
    let sale = &view.sale;
    let has_ended = sale.state == SaleState::Ended;
    if has_key {
        let is_over = sale.window.has_passed(process.view.now_ms()) || sale.halted == Some(Halt::Ended);
        if has_ended || is_over {
            let known = after_the_end(process, view, &attempt).await;
            if has_ended || matches!(known, Verdict::Reserved(_) | Verdict::AlreadyPurchased(_)) {
                return known;
            }
        }
        // Its quantity may be what was allowed at the first attempt; the gate knows.
        return batcher.reserve(sale.id, attempt).await;
    }
    if has_ended {
        Verdict::NotActive
    } else if attempt.quantity > sale.per_user_limit {
        Verdict::OverLimit(sale.per_user_limit)
    } else {
        batcher.reserve(sale.id, attempt).await
    }
}

/// A sale that has ended has no gate any more: what an earlier attempt with this key has won is in PostgreSQL, as an
/// order or as a dead letter.
async fn after_the_end(process: &Process, view: &SaleView, attempt: &Attempt) -> Verdict {
    match process.ledger.reservation_of(view.sale.id, &attempt.user_id).await {
        Ok(Some(id)) if id == attempt.id => {
            Verdict::Reserved(Promise { remaining: view.remaining(), held_until: None, is_replay: true })
        }
        Ok(Some(id)) if id.has_key_of(attempt.id) => Verdict::AlreadyPurchased(id),
        Ok(_) => Verdict::NotActive,
        Err(error) => {
            tracing::debug!(%error, "it is not known what became of an earlier attempt");
            Verdict::Unknown
        }
    }
}

/// The answer of the first attempt once more. The gate no longer knows when it was decided; the order does, once it is
/// written and as long as it waits for its payment.
async fn replayed(
    process: &Process,
    id: ReservationId,
    user: &UserId,
    view: &SaleView,
    promise: Promise,
) -> HttpResponse {
    let mut held_until = None;
    if view.sale.terms.hold_seconds > 0
        && let Ok(Ok(Some(order))) =
            tokio::time::timeout(LONGEST_LOOK, process.ledger.order_of(view.sale.id, user)).await
        && let Some(until) = order.hold_until
    {
        held_until = Some((order.reserved_at + (until - order.created_at)).timestamp_millis());
    }
    HttpResponse::Ok()
        .insert_header((IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true")))
        .json(success(id, Promise { held_until, ..promise }))
}

fn success(id: ReservationId, promise: Promise) -> Answer {
    let time = promise.held_until.and_then(DateTime::<Utc>::from_timestamp_millis);
    Answer {
        success: true,
        status: "SUCCESS",
        message: "Purchase reserved successfully",
        order_id: Some(id),
        remaining_stock: Some(promise.remaining),
        expires_at: time.map(|time| time.to_rfc3339_opts(SecondsFormat::Millis, true)),
    }
}

fn already_purchased(held: ReservationId) -> Answer {
    Answer {
        success: false,
        status: Refusal::AlreadyPurchased.as_str(),
        message: "You have already purchased from this sale",
        order_id: Some(held),
        remaining_stock: None,
        expires_at: None,
    }
}

fn sold_out(remaining: i64) -> Answer {
    Answer {
        success: false,
        status: Refusal::SoldOut.as_str(),
        message: "Sale is sold out",
        order_id: None,
        remaining_stock: Some(remaining),
        expires_at: None,
    }
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
            expires_at: None,
        },
    )
}

fn key_reused() -> Problem {
    let detail = "This Idempotency-Key belongs to a purchase of another quantity; send that, or another key";
    Problem::new(Code::IdempotencyKeyReused, detail)
}
