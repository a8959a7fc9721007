//! Paying for orders: the buyer begins, the provider reports.

use actix_web::http::header::HeaderValue;
use actix_web::{HttpRequest, HttpResponse, web};
use ledger::{Order, OrderView, PaymentEvent, PaymentNews, PaymentVerdict, StartVerdict};
use payments::{Error, EventKind, Provider, SIGNATURE_HEADER, StartPayment, Started, WebhookError};
use serde::Serialize;
use utoipa::ToSchema;

use super::orders::{Moved, amount, forbidden, not_found, order_id, written};
use crate::app::Process;
use crate::body::LongBody;
use crate::caller::Caller;
use crate::error::{Code, Problem};

/// The provider's name in the ledger where there is none and nothing to pay.
const NOBODY: &str = "none";

/// What the provider reads.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookReceived)]
struct Received {
    received: bool,
}

/// Begins to pay for an order.
///
/// A repetition answers the same payment again, and goes on where an earlier request did not get through to the
/// provider.
#[utoipa::path(
    post, path = "/api/v1/orders/{id}/pay", operation_id = "payOrder", tag = "Orders",
    security((), ("buyer" = [])), params(("id" = Uuid, Path)),
    responses(
        (status = 200, description = "It is being paid, or is paid, or costs nothing.", body = Moved),
        (status = 400, description = "INVALID_FIELD"),
        (status = 401, description = "TOKEN_NEEDED, INVALID_TOKEN"),
        (status = 404, description = "ORDER_NOT_FOUND"),
        (status = 409, description = "ORDER_STATE_FORBIDS, ORDER_PENDING, PAYMENT_REFUSED"),
        (status = 501, description = "PAYMENTS_OFF"),
    ),
)]
pub(super) async fn pay(
    path: web::Path<String>,
    process: web::Data<Process>,
    caller: Caller,
) -> Result<HttpResponse, Problem> {
    let view = written(&process, &caller, order_id(&path)?).await?;
    let id = view.order.id;
    let name = match &process.payments {
        Some(provider) => provider.name(),
        None if amount(&view.order) == 0 => NOBODY,
        None => return Err(payments_off()),
    };
    let away = |error: ledger::Error| Problem::unavailable(&error);
    let turn = process.turns.of(view.order.sale_id).await;
    let moved = process.ledger.start_payment(id, name, process.pay_limit_seconds).await.map_err(away)?;
    drop(turn);
    process.tell(moved.to_tell).await;
    let status = moved.status.ok_or_else(|| not_found(id))?;
    match (moved.verdict, moved.payment, &process.payments) {
        (StartVerdict::Started, Some(payment), Some(provider)) if payment.provider == name => {
            let answer = match payment.provider_ref.clone() {
                Some(provider_ref) => {
                    let client_secret = provider.client_secret(&provider_ref).await;
                    (Moved::of(id, status, Some(payment)), client_secret.map_err(|error| Problem::unavailable(&error))?)
                }
                None => start(&process, provider, view).await?,
            };
            Ok(with_secret(answer))
        }
        (StartVerdict::Started, payment, _) => {
            let whose = payment.map(|payment| payment.provider).unwrap_or_default();
            Err(Problem::unavailable(&format_args!("order {id} is being paid with {whose}, which is not configured")))
        }
        (StartVerdict::Confirmed | StartVerdict::Paid, payment, _) => {
            Ok(HttpResponse::Ok().json(Moved::of(id, status, payment)))
        }
        (StartVerdict::Expired | StartVerdict::Closed, ..) => {
            Err(forbidden(id, status, "it cannot be paid for any more"))
        }
        (StartVerdict::NotFound, ..) => Err(not_found(id)),
    }
}

/// Makes the payment known to the provider, and the provider's name for it to the ledger.
async fn start(process: &Process, provider: &Provider, view: OrderView) -> Result<(Moved, Option<String>), Problem> {
    let order = view.order;
    let currency = order.currency.parse().map_err(|invalid| Problem::unavailable(&invalid))?;
    let wish = StartPayment { order: order.id, sale: order.sale_id, amount_minor: amount(&order), currency };
    let Started { provider_ref, mut client_secret } = match provider.start(&wish).await {
        Ok(started) => started,
        Err(Error::Transient(error)) => return Err(Problem::unavailable(&error)),
        Err(Error::Refused(reason)) => return Err(refused(process, &order, &reason).await?),
    };
    let away = |error: ledger::Error| Problem::unavailable(&error);
    let turn = process.turns.of(order.sale_id).await;
    let moved = process.ledger.payment_started(order.id, &provider_ref).await.map_err(away)?;
    drop(turn);
    process.tell(moved.to_tell).await;
    let status = moved.status.ok_or_else(|| not_found(order.id))?;
    let Some(payment) = moved.payment.filter(|_| moved.verdict == PaymentVerdict::Applied) else {
        return Err(forbidden(order.id, status, "it cannot be paid for any more"));
    };
    // Another request was faster, and the provider took it for another payment: this one leads nowhere.
    if let Some(first) = payment.provider_ref.as_deref().filter(|first| *first != provider_ref) {
        client_secret = provider.client_secret(first).await.map_err(|error| Problem::unavailable(&error))?;
    }
    Ok((Moved::of(order.id, status, Some(payment)), client_secret))
}

/// The provider refuses for good: the order is cancelled and its units go back on sale.
async fn refused(process: &Process, order: &Order, reason: &str) -> Result<Problem, Problem> {
    let turn = process.turns.of(order.sale_id).await;
    let moved = process.ledger.payment_start_refused(order.id, reason).await;
    drop(turn);
    process.tell(moved.map_err(|error| Problem::unavailable(&error))?.to_tell).await;
    tracing::warn!(order = %order.id, reason, "the payment provider refuses to start a payment");
    Ok(Problem::new(Code::PaymentRefused, format!("the payment provider refuses this payment: {reason}")))
}

fn with_secret((mut answer, client_secret): (Moved, Option<String>)) -> HttpResponse {
    if let Some(payment) = &mut answer.payment {
        payment.client_secret = client_secret;
    }
    HttpResponse::Ok().json(answer)
}

/// What the payment provider reports.
///
/// Applied once, however often it comes; one that says nothing about an order of this shop is received all the same.
#[utoipa::path(
    post, path = "/api/v1/payments/webhook", operation_id = "paymentWebhook", tag = "Payments",
    params((
        "Stripe-Signature" = String, Header,
        description = "`t=<Unix seconds>,v1=<HMAC-SHA256 of \"<t>.<body>\" in hex>`, at most 5 minutes old.",
    )),
    request_body(content = Object, description = "An event of Stripe's, or one like it.", content_type = "application/json"),
    responses(
        (status = 200, description = "It is received.", body = Received),
        (status = 400, description = "INVALID_SIGNATURE"),
        (status = 501, description = "PAYMENTS_OFF"),
    ),
)]
pub(super) async fn webhook(
    request: HttpRequest,
    LongBody(body): LongBody,
    process: web::Data<Process>,
) -> Result<HttpResponse, Problem> {
    let provider = process.payments.as_ref().ok_or_else(payments_off)?;
    let mut signatures = request.headers().get_all(SIGNATURE_HEADER);
    // Of two, one is somebody's guess at which one counts: neither does.
    let signature = signatures.next().filter(|_| signatures.next().is_none());
    let event = match provider.event(signature.map(HeaderValue::as_bytes), &body) {
        Ok(event) => event,
        Err(WebhookError::Signature(problem)) => return Err(Problem::new(Code::InvalidSignature, problem)),
        Err(WebhookError::Body(problem)) => return Err(Problem::new(Code::InvalidBody, problem)),
    };
    if let Some(event) = event {
        let news = PaymentEvent {
            id: &event.id,
            provider: provider.name(),
            provider_ref: &event.provider_ref,
            order: event.order,
            news: news(event.kind),
        };
        let verdict = hear(&process, &news).await.map_err(|error| Problem::unavailable(&error))?;
        tracing::debug!(?event, ?verdict, "the payment provider reports");
    }
    Ok(HttpResponse::Ok().json(Received { received: true }))
}

async fn hear(process: &Process, event: &PaymentEvent<'_>) -> Result<PaymentVerdict, ledger::Error> {
    let Some(sale) = process.ledger.sale_of_event(event).await? else { return Ok(PaymentVerdict::Unknown) };
    let turn = process.turns.of(sale).await;
    let moved = process.ledger.payment_event(event).await?;
    drop(turn);
    process.tell(moved.to_tell).await;
    Ok(moved.verdict)
}

fn news(kind: EventKind) -> PaymentNews {
    match kind {
        EventKind::Authorized => PaymentNews::Authorized,
        EventKind::Failed => PaymentNews::Failed,
        EventKind::Captured => PaymentNews::Captured,
        EventKind::Cancelled => PaymentNews::Cancelled,
    }
}

fn payments_off() -> Problem {
    Problem::new(Code::PaymentsOff, "This shop takes no payments")
}
