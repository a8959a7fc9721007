//! Lets operators in, and nobody else; and reads what a request brings to be let in.

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap};
use actix_web::middleware::Next;
use actix_web::{Error, web};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use crate::error::{Code, Problem};

/// The operator's token; `None` refuses everybody.
pub(crate) struct AdminToken(pub(crate) Option<SecretString>);

/// Refuses a request without the operator's bearer token.
pub(crate) async fn operators_only(
    token: web::Data<AdminToken>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let detail = match (&token.0, credentials(request.headers())) {
        (None, _) => "This API runs without an operator's token, so no admin request is answered",
        (Some(token), Credentials::Bearer(given)) if same(given, token) => {
            return Ok(next.call(request).await?.map_into_left_body());
        }
        (Some(_), _) => "Send the header Authorization: Bearer <the operator's token>",
    };
    // As an answer and not as an error, which would pass by the wrapper that gives problems their body.
    let refusal = Problem::new(Code::Unauthorized, detail);
    Ok(ServiceResponse::from_err(refusal, request.into_parts().0).map_into_right_body())
}

/// What a request says in its `Authorization` headers.
pub(crate) enum Credentials<'a> {
    /// Nothing.
    None,
    /// One bearer token.
    Bearer(&'a [u8]),
    /// Anything else.
    Other,
}

pub(crate) fn credentials(headers: &HeaderMap) -> Credentials<'_> {
    let mut given = headers.get_all(header::AUTHORIZATION);
    match (given.next(), given.next()) {
        (None, _) => Credentials::None,
        (Some(only), None) => bearer(only.as_bytes()).map_or(Credentials::Other, Credentials::Bearer),
        // Of two, one is another proxy's or an attacker's guess at which one counts: neither does.
        _ => Credentials::Other,
    }
}

fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = header.split_at_checked(b"Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
}

/// Takes as long for a near miss as for a far one. Only the length shows.
fn same(given: &[u8], token: &SecretString) -> bool {
    given.ct_eq(token.expose_secret().as_bytes()).into()
}
