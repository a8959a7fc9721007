//! The one error table: every problem an answer may carry, with its status, code and text.
//!
//! Stores know no HTTP; their errors become one of these where a route handles them. Bodies follow RFC 9457, plus
//! `statusCode`, `message` and `error` for clients that are older than that. `docs/ERRORS.md` shows the same table.

use std::borrow::Cow;
use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;
use utoipa::ToSchema;

use crate::limits::Reached;

/// A problem that ends a request.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(crate) code: Code,
    /// What is wrong with this very request.
    detail: Cow<'static, str>,
    /// The limit that the client has reached, if that is the problem.
    pub(crate) reached: Option<Reached>,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $status:ident $text:literal, $title:literal;)+) => {
        /// The codes that clients switch on.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub(crate) enum Code { $($(#[$doc])* $name,)+ }

        impl Code {
            pub(crate) const ALL: &[Self] = &[$(Self::$name,)+];

            pub(crate) fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)+ }
            }

            pub(crate) fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            pub(crate) fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)+ }
            }
        }
    };
}

codes! {
    InvalidBody = BAD_REQUEST "INVALID_BODY", "The body cannot be read";
    InvalidField = BAD_REQUEST "INVALID_FIELD", "A field is missing or has a wrong value";
    InvalidIdempotencyKey = BAD_REQUEST "INVALID_IDEMPOTENCY_KEY", "The idempotency key cannot be used";
    QuantityNotAllowed = BAD_REQUEST "QUANTITY_NOT_ALLOWED", "The sale does not allow this quantity";
    NotActive = BAD_REQUEST "NOT_ACTIVE", "Sale is not currently active";
    InvalidSignature = BAD_REQUEST "INVALID_SIGNATURE", "The webhook's signature does not count";
    BadRequest = BAD_REQUEST "BAD_REQUEST", "The request cannot be understood";
    Unauthorized = UNAUTHORIZED "UNAUTHORIZED", "The operator's bearer token is needed";
    TokenNeeded = UNAUTHORIZED "TOKEN_NEEDED", "A buyer's token is needed";
    InvalidToken = UNAUTHORIZED "INVALID_TOKEN", "The buyer's token does not count";
    InvalidCredentials = UNAUTHORIZED "INVALID_CREDENTIALS", "There is no account with this e-mail and password";
    Forbidden = FORBIDDEN "FORBIDDEN", "The token does not allow this";
    SaleNotFound = NOT_FOUND "SALE_NOT_FOUND", "There is no such sale";
    OrderNotFound = NOT_FOUND "ORDER_NOT_FOUND", "There is no such order";
    DeadLetterNotFound = NOT_FOUND "DEAD_LETTER_NOT_FOUND", "There is no such dead letter";
    WebhookNotFound = NOT_FOUND "WEBHOOK_NOT_FOUND", "There is no such event";
    NoSuchRoute = NOT_FOUND "NO_SUCH_ROUTE", "There is nothing at this path";
    MethodNotAllowed = METHOD_NOT_ALLOWED "METHOD_NOT_ALLOWED", "This path does not answer this method";
    RequestTimeout = REQUEST_TIMEOUT "REQUEST_TIMEOUT", "The request came in too slowly";
    SaleBusy = CONFLICT "SALE_BUSY", "Reservations of this sale are on their way";
    ReconcileRunning = CONFLICT "RECONCILE_RUNNING", "Another reconcile of this sale is running";
    SaleExists = CONFLICT "SALE_EXISTS", "There is a sale of this id already";
    SaleStateForbids = CONFLICT "SALE_STATE_FORBIDS", "The sale has ended and does not allow this";
    StockTooLow = CONFLICT "STOCK_TOO_LOW", "More is sold or reserved than the stock would have";
    StockChangePending = CONFLICT "STOCK_CHANGE_PENDING", "An earlier change of the stock is still undecided";
    OrderStateForbids = CONFLICT "ORDER_STATE_FORBIDS", "The order's state does not allow this";
    OrderPending = CONFLICT "ORDER_PENDING", "The order is on its way and not written yet";
    PaymentRefused = CONFLICT "PAYMENT_REFUSED", "The payment provider refuses this payment";
    EmailTaken = CONFLICT "EMAIL_TAKEN", "There is an account with this e-mail already";
    DeadLetterResolved = CONFLICT "DEAD_LETTER_RESOLVED", "The dead letter has been resolved before";
    RedriveFailed = CONFLICT "REDRIVE_FAILED", "The dead letter was refused again and stays unresolved";
    BodyTooLarge = PAYLOAD_TOO_LARGE "BODY_TOO_LARGE", "The body is too large";
    IdempotencyKeyReused = UNPROCESSABLE_ENTITY "IDEMPOTENCY_KEY_REUSED", "The idempotency key belongs to another purchase";
    RateLimited = TOO_MANY_REQUESTS "RATE_LIMITED", "The client asks too often";
    Internal = INTERNAL_SERVER_ERROR "INTERNAL", "Something failed on our side";
    PaymentsOff = NOT_IMPLEMENTED "PAYMENTS_OFF", "This shop takes no payments";
    Unavailable = SERVICE_UNAVAILABLE "UNAVAILABLE", "A server that this answer needs is away";
    TooManyStreams = SERVICE_UNAVAILABLE "TOO_MANY_STREAMS", "There is no room for another stream";
    StatisticsTooSlow = SERVICE_UNAVAILABLE "STATISTICS_TOO_SLOW", "The statistics take too long";
}

impl Problem {
    pub(crate) fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { code, detail: detail.into(), reached: None }
    }

    pub(crate) fn field(name: &str, problem: &dyn fmt::Display) -> Self {
        Self::new(Code::InvalidField, format!("{name} {problem}"))
    }

    /// A store failed where its answer was needed. What failed goes to the log, not to the client.
    pub(crate) fn unavailable(error: &dyn fmt::Display) -> Self {
        tracing::warn!(%error, "a request needs a server that is away");
        Self::new(Code::Unavailable, "Try again in a moment")
    }

    /// The problem of an answer that the framework made by itself.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        let code = match status {
            StatusCode::NOT_FOUND => Code::NoSuchRoute,
            StatusCode::METHOD_NOT_ALLOWED => Code::MethodNotAllowed,
            StatusCode::PAYLOAD_TOO_LARGE => Code::BodyTooLarge,
            StatusCode::REQUEST_TIMEOUT => Code::RequestTimeout,
            status if status.is_client_error() => Code::BadRequest,
            _ => Code::Internal,
        };
        Self::new(code, code.title())
    }

    /// The answer, for the request at `instance` with `request_id`.
    pub(crate) fn response(&self, instance: &str, request_id: &str) -> HttpResponse {
        let status = self.code.status();
        let mut response = HttpResponse::build(status);
        response.content_type(HeaderValue::from_static("application/problem+json"));
        match self.code {
            Code::Unavailable
            | Code::ReconcileRunning
            | Code::SaleBusy
            | Code::OrderPending
            | Code::StockChangePending => {
                response.insert_header((header::RETRY_AFTER, HeaderValue::from_static("1")));
            }
            Code::TooManyStreams | Code::StatisticsTooSlow => {
                response.insert_header((header::RETRY_AFTER, HeaderValue::from_static("10")));
            }
            Code::Unauthorized | Code::TokenNeeded | Code::InvalidCredentials => {
                response.insert_header((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")));
            }
            // RFC 6750, section 3.1.
            Code::InvalidToken => {
                let challenge = HeaderValue::from_static("Bearer error=\"invalid_token\"");
                response.insert_header((header::WWW_AUTHENTICATE, challenge));
            }
            _ => {}
        }
        if let Some(reached) = self.reached {
            reached.tell(|name, value| {
                response.insert_header((name, value));
            });
        }
        let title = self.code.title();
        response.json(Body {
            r#type: "about:blank",
            title,
            status: status.as_u16(),
            detail: &self.detail,
            instance,
            code: self.code.as_str(),
            request_id,
            status_code: status.as_u16(),
            // Old clients compare this text.
            message: if self.code == Code::NotActive { title } else { &self.detail },
            error: status.canonical_reason().unwrap_or_default(),
        })
    }
}

/// Why a request was not answered as asked (RFC 9457).
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Problem)]
pub(crate) struct Body<'a> {
    /// Always `about:blank`: the code tells the kind.
    r#type: &'a str,
    /// What the code means, in words.
    title: &'a str,
    /// The answer's status.
    status: u16,
    /// What is wrong with this very request.
    detail: &'a str,
    /// The path that was asked.
    instance: &'a str,
    /// What a client switches on.
    code: &'a str,
    /// As in the header `X-Request-Id`: what to name to whoever runs this.
    request_id: &'a str,
    /// `status` once more, for older clients; so are `message` and `error`.
    status_code: u16,
    message: &'a str,
    error: &'a str,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.detail)
    }
}

/// `exchange` writes the body: it knows the request's id and path.
impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.code.status()
    }

    fn error_response(&self) -> HttpResponse {
        HttpResponse::new(self.status_code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_table_is_this_table() {
        let documented = include_str!("../../../docs/ERRORS.md");
        let rows: Vec<&str> = documented.lines().filter(|line| line.starts_with("| `")).collect();
        let expected: Vec<String> = Code::ALL
            .iter()
            .map(|code| format!("| `{}` | {} | {} |", code.as_str(), code.status().as_u16(), code.title()))
            .collect();
        assert_eq!(rows, expected);
    }
}
