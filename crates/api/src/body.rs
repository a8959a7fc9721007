//! A request's body: small, and in time.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_web::web::{self, Bytes};
use actix_web::{Error, FromRequest, HttpRequest, dev};
use tokio::time::{Sleep, sleep, timeout};

use crate::error::{Code, Problem};

/// Largest body: a purchase has two ids and a number.
pub(crate) const LARGEST: usize = 4 * 1024;
/// Largest body that a payment provider sends: an event with a whole payment in it.
const LARGEST_EVENT: usize = 64 * 1024;
/// How long a client may take to send its body, all of it: a byte now and then does not help.
const LONGEST: Duration = Duration::from_secs(5);

/// A whole body of at most [`LARGEST`] bytes. A route that reads one takes it as this.
pub(crate) struct Body(pub(crate) Bytes);

impl FromRequest for Body {
    type Error = Error;
    type Future = Reading;

    fn from_request(request: &HttpRequest, payload: &mut dev::Payload) -> Reading {
        Reading { bytes: Bytes::from_request(request, payload), limit: None }
    }
}

/// A body on its way.
pub(crate) struct Reading {
    bytes: <Bytes as FromRequest>::Future,
    /// There is none as long as nobody waits: most bodies have come with their head.
    limit: Option<Pin<Box<Sleep>>>,
}

impl Future for Reading {
    type Output = Result<Body, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(bytes) = Pin::new(&mut self.bytes).poll(context) {
            return Poll::Ready(bytes.map(Body));
        }
        let limit = self.limit.get_or_insert_with(|| Box::pin(sleep(LONGEST)));
        ready!(limit.as_mut().poll(context));
        Poll::Ready(Err(Problem::new(Code::RequestTimeout, "The body came in too slowly").into()))
    }
}

/// A whole body of at most [`LARGEST_EVENT`] bytes, for who signs what they send.
pub(crate) struct LongBody(pub(crate) Bytes);

impl FromRequest for LongBody {
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Error>>>>;

    fn from_request(request: &HttpRequest, payload: &mut dev::Payload) -> Self::Future {
        let payload = web::Payload::from_request(request, payload);
        Box::pin(async move {
            let too_slow = |_| Problem::new(Code::RequestTimeout, "The body came in too slowly");
            let reading = timeout(LONGEST, payload.await?.to_bytes_limited(LARGEST_EVENT)).await.map_err(too_slow)?;
            let too_large = |_| Problem::new(Code::BodyTooLarge, "The body must have at most 64 KiB");
            Ok(Self(reading.map_err(too_large)??))
        })
    }
}
