//! Who asks: the buyer whom a verified token names or, behind a gateway that has authenticated them, whom the request
//! says.

use std::future::{Future, ready};
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest, web};
use domain::UserId;

use crate::app::Process;
use crate::error::{Code, Problem};
use crate::guard::{Credentials, credentials};

/// The buyer of a request. Every route that reads or writes what is a buyer's own takes one as an argument; where a
/// request may do without, the argument is a `Result<Caller, Problem>`.
#[derive(Clone, Debug)]
pub(crate) enum Caller {
    /// Whoever the request says: `auth.mode = "trusted"`.
    Trusted,
    /// The subject of a token that was verified.
    Subject(UserId),
}

impl Caller {
    /// For whom the request acts, where its path, query or body claims to be `claimed`.
    ///
    /// # Errors
    /// `INVALID_FIELD` where nobody is named; `FORBIDDEN` where somebody else than the token's subject is.
    pub(crate) fn buyer(&self, claimed: Option<UserId>) -> Result<UserId, Problem> {
        match (self, claimed) {
            (Self::Trusted, claimed) => claimed.ok_or_else(|| Problem::field("userId", &"is missing")),
            (Self::Subject(subject), Some(claimed)) if claimed != *subject => {
                Err(Problem::new(Code::Forbidden, "userId is not the subject of the token; leave it out or send that"))
            }
            (Self::Subject(subject), _) => Ok(subject.clone()),
        }
    }

    /// Whether what belongs to `owner` is this caller's to read. What is not reads as if it did not exist.
    pub(crate) fn may_read(&self, owner: &UserId) -> bool {
        self.subject().is_none_or(|subject| subject == owner)
    }

    /// The subject of the token; `None` where the request's own word counts.
    pub(crate) fn subject(&self) -> Option<&UserId> {
        match self {
            Self::Trusted => None,
            Self::Subject(subject) => Some(subject),
        }
    }
}

impl FromRequest for Caller {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let process = request.app_data::<web::Data<Process>>().expect("every thread has the process");
        if process.tokens.is_none() {
            return Box::pin(ready(Ok(Self::Trusted)));
        }
        let token = match credentials(request.headers()) {
            Credentials::Bearer(token) => token.to_vec(),
            Credentials::None => {
                let detail = "Log in, and send the header Authorization: Bearer <token>";
                return Box::pin(ready(Err(Problem::new(Code::TokenNeeded, detail))));
            }
            Credentials::Other => {
                let detail = "The header Authorization must be sent once, as Bearer <token>";
                return Box::pin(ready(Err(Problem::new(Code::InvalidToken, detail))));
            }
        };
        let process = process.clone();
        Box::pin(async move {
            let Some(tokens) = &process.tokens else { return Ok(Self::Trusted) };
            tokens.verify(&token).await.map(Self::Subject)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> UserId {
        name.parse().unwrap()
    }

    #[test]
    fn behind_a_gateway_the_request_says_who_buys() {
        assert_eq!(Caller::Trusted.buyer(Some(user("ann"))).unwrap(), user("ann"));
        assert_eq!(Caller::Trusted.buyer(None).unwrap_err().code, Code::InvalidField);
        assert!(Caller::Trusted.may_read(&user("ann")));
    }

    #[test]
    fn with_tokens_only_the_subject_counts() {
        let ann = Caller::Subject(user("ann"));
        assert_eq!(ann.buyer(None).unwrap(), user("ann"));
        assert_eq!(ann.buyer(Some(user("ann"))).unwrap(), user("ann"));
        for other in ["bob", "Ann", "ann "] {
            assert_eq!(ann.buyer(Some(user(other))).unwrap_err().code, Code::Forbidden, "{other}");
            assert!(!ann.may_read(&user(other)));
        }
        assert!(ann.may_read(&user("ann")));
    }
}
