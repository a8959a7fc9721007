//! What every request and its answer have in common: an id, one log line, a body for each problem, and what browsers and
//! proxies may do with it.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

use actix_web::Error;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{ConnectionType, Method, StatusCode};
use actix_web::middleware::Next;
use uuid::Uuid;

use crate::connections::Connection;
use crate::error::{Code, Problem};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const LONGEST_ID: usize = 128;

thread_local! {
    /// Ids of one thread share a random half and count the other: unique, and cheap on the purchase path.
    static IDS: Cell<(u64, u64)> = Cell::new((rand::random(), 0));
}

/// Wraps a request: takes over or makes its `X-Request-Id`, puts it on the answer, and gives a problem its body.
pub(crate) async fn exchange(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let started = Instant::now();
    let id = id_of(request.headers());
    let connection = request.conn_data::<Rc<Connection>>().cloned();
    if let Some(connection) = &connection {
        connection.begin();
    }
    let answered = next.call(request).await;
    if let Some(connection) = &connection {
        connection.answered(Instant::now());
    }
    let mut response = answered?.map_into_boxed_body();
    if let Some(problem) = problem_of(&response) {
        let answer = problem.response(response.request().path(), id.to_str().unwrap_or_default());
        let kept = std::mem::take(response.headers_mut());
        response = response.into_response(answer);
        // What other middleware has added (CORS, Allow) stays; the body's own headers are the new ones.
        for (name, value) in kept.iter().filter(|(name, _)| **name != header::CONTENT_TYPE) {
            response.headers_mut().append(name.clone(), value.clone());
        }
        if matches!(problem.code, Code::RequestTimeout | Code::BodyTooLarge) {
            // The rest of the body is not waited for.
            response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
            connection.iter().for_each(|connection| connection.end_soon());
        }
    }
    let asked = response.request();
    log(asked.method(), asked.path(), response.status(), started, &id, asked.headers());
    finish(response.headers_mut(), id);
    Ok(response)
}

/// The one line of a request.
pub(crate) fn log(
    method: &Method,
    path: &str,
    status: StatusCode,
    started: Instant,
    id: &HeaderValue,
    headers: &HeaderMap,
) {
    tracing::debug!(
        %method,
        path,
        status = status.as_u16(),
        // Not a u128, which JSON logs would show as a text.
        took_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX),
        request_id = id.to_str().unwrap_or_default(),
        traceparent = headers.get("traceparent").and_then(|value| value.to_str().ok()),
        "answered"
    );
}

/// What every answer says: its request's id, that it is what its `Content-Type` says and nothing else, and, unless a
/// route knows better, that it is true for a moment only.
pub(crate) fn finish(headers: &mut HeaderMap, id: HeaderValue) {
    headers.insert(REQUEST_ID, id);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}

/// The problem that a route returned, or one for an error answer of the framework, which has no body of ours.
fn problem_of(response: &ServiceResponse) -> Option<Problem> {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return None;
    }
    if let Some(error) = response.response().error() {
        if let Some(problem) = error.as_error::<Problem>() {
            return Some(problem.clone());
        }
        return Some(Problem::of_status(status));
    }
    let ours =
        response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/"));
    (!ours).then(|| Problem::of_status(status))
}

/// The client's own id, where it is fit for a header and a log, or a new one.
pub(crate) fn id_of(headers: &HeaderMap) -> HeaderValue {
    given_id(headers).unwrap_or_else(new_id)
}

fn given_id(headers: &HeaderMap) -> Option<HeaderValue> {
    let id = headers.get(REQUEST_ID)?;
    let text = id.to_str().ok()?;
    let fits = (1..=LONGEST_ID).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| id.clone())
}

fn new_id() -> HeaderValue {
    let (thread, number) = IDS.get();
    IDS.set((thread, number.wrapping_add(1)));
    let mut digits = Uuid::encode_buffer();
    let digits = Uuid::from_u64_pair(thread, number).as_simple().encode_lower(&mut digits);
    HeaderValue::from_str(digits).expect("hexadecimal digits fit a header")
}
