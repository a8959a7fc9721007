//! The last line against a server that never answers.

use std::time::Duration;

use actix_web::Error;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;

use crate::error::Problem;
use crate::routes::OPERATORS;

/// All that the purchase path waits for takes less. A statement of PostgreSQL's may take longer: two seconds until there
/// is a connection and ten until PostgreSQL gives it up.
const DEADLINE: Duration = Duration::from_secs(10);
/// Operators wait for what takes time, such as a sale that is reset.
const OPERATORS_DEADLINE: Duration = Duration::from_secs(60);

/// Wraps a route: ends a request that has no answer in time. What it has begun may still come to its end.
///
/// For resources only: where a path is still to be matched nobody else may hold the request, and whoever wraps the
/// resource adds to this answer as to any other.
pub(crate) async fn deadline(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let asked = request.request().clone();
    let limit = if asked.path().starts_with(OPERATORS) { OPERATORS_DEADLINE } else { DEADLINE };
    match tokio::time::timeout(limit, next.call(request)).await {
        Ok(answered) => Ok(answered?.map_into_boxed_body()),
        Err(_) => {
            let problem = Problem::unavailable(&format_args!("{} had no answer in time", asked.path()));
            Ok(ServiceResponse::from_err(problem, asked))
        }
    }
}
