//! Rate limits: how often one client may ask, and what it is told beyond that.
//!
//! Attempts to purchase are counted by the gate, in the same step that decides them; everything else by a script of its
//! own. Both are in Redis, so all replicas count together. Who was refused is remembered here until they may ask again:
//! until then they cost nobody anything.

pub(crate) mod known;

use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use actix_web::body::MessageBody;
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::middleware::{Next, from_fn};
use actix_web::{Error, FromRequest, HttpRequest, Route, web};
use boot::Outage;
use domain::{Epoch, Refusal, SaleId, UserId};
use inventory::{Inventory, LimitedBy, Limiter, Rate, Rates};

use self::known::Known;
use crate::app::Process;
use crate::client_ip::TrustedProxies;
use crate::error::{Code, Problem};
use crate::traffic::Ended;

/// How long Redis may take to say whether somebody may ask. Longer, and they may.
const LONGEST_QUESTION: Duration = Duration::from_millis(250);
/// How long Redis is not asked any more once it did not answer.
const PAUSE: Duration = Duration::from_secs(1);

/// Draft-ietf-httpapi-ratelimit-headers-10.
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// What a route counts as. Each group has a limit of its own.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Group {
    /// Not limited: probes, documents, and who proves who they are by a signature.
    Free,
    /// The click: limited where it is decided.
    Purchase,
    /// Reading.
    Read,
    /// Changing one's order.
    Order,
    /// Registering and logging in.
    Login,
}

/// A limit that a client has reached.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Reached {
    /// The limit's name.
    policy: &'static str,
    rate: Rate,
    retry: Duration,
}

impl Reached {
    /// Seconds to wait, at least one: what clients are told.
    fn retry_seconds(self) -> u64 {
        self.retry.as_millis().div_ceil(1_000).try_into().map_or(u64::MAX, |seconds: u64| seconds.max(1))
    }

    /// Tells clients when to come back.
    pub(crate) fn tell(self, mut insert: impl FnMut(HeaderName, HeaderValue)) {
        let (name, seconds) = (self.policy, self.retry_seconds());
        let policy = format!("\"{name}\";q={};w={}", self.rate.count(), self.rate.seconds());
        let fits = "digits and the name of a setting fit a header";
        insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        insert(RATE_LIMIT_POLICY, HeaderValue::try_from(policy).expect(fits));
        insert(RATE_LIMIT, HeaderValue::try_from(format!("\"{name}\";r=0;t={seconds}")).expect(fits));
    }

    pub(crate) fn problem(self) -> Problem {
        let (count, window) = (self.rate.count(), self.rate.seconds());
        let seconds = self.retry_seconds();
        let detail = format!("At most {count} requests in {window} s are answered; try again in {seconds} s");
        let mut problem = Problem::new(Code::RateLimited, detail);
        problem.reached = Some(self);
        problem
    }
}

/// The limits of this process, and who has reached one.
pub(crate) struct RateLimits {
    rates: boot::Limits,
    proxies: TrustedProxies,
    limiter: Limiter,
    redis: Mutex<Redis>,
    known: Known,
}

/// Whether Redis is asked.
struct Redis {
    /// Not before then.
    asked_from: Instant,
    outage: Outage,
}

impl RateLimits {
    pub(crate) fn new(rates: boot::Limits, inventory: Inventory) -> Self {
        let outage = Outage::of("requests cannot be counted, none is refused for coming too often");
        Self {
            proxies: TrustedProxies(rates.trusted_proxies.clone()),
            rates,
            limiter: Limiter::new(inventory),
            redis: Mutex::new(Redis { asked_from: Instant::now(), outage }),
            known: Known::default(),
        }
    }

    /// What the gate counts.
    pub(crate) fn of_purchases(&self) -> Rates {
        Rates { per_user: self.rates.purchase_per_user, per_address: self.rates.purchase_per_ip }
    }

    /// Whether the gate counts attempts.
    pub(crate) fn count_purchases(&self) -> bool {
        self.of_purchases() != Rates::default()
    }

    /// Whether reads are counted.
    pub(crate) fn count_reads(&self) -> bool {
        self.of_group(Group::Read).is_some()
    }

    fn of_group(&self, group: Group) -> Option<(&'static str, Rate)> {
        let (name, rate) = match group {
            Group::Free | Group::Purchase => return None,
            Group::Read => ("read-per-ip", self.rates.read_per_ip),
            Group::Order => ("order-per-ip", self.rates.order_per_ip),
            Group::Login => ("login-per-ip", self.rates.login_per_ip),
        };
        Some((name, rate?))
    }

    fn of_purchase(&self, by: LimitedBy) -> Option<(&'static str, Rate)> {
        match by {
            LimitedBy::User => Some(("purchase-per-user", self.rates.purchase_per_user?)),
            LimitedBy::Address => Some(("purchase-per-ip", self.rates.purchase_per_ip?)),
        }
    }

    /// Counts a request of this group.
    async fn admit(&self, group: Group, request: &HttpRequest) -> Result<(), Problem> {
        let Some((policy, rate)) = self.of_group(group) else { return Ok(()) };
        let address = self.proxies.client_of(request);
        let client = self.known.client(&(policy, address));
        if let Some((retry, _)) = self.known.wait_of(client, Instant::now()) {
            return Err(Reached { policy, rate, retry }.problem());
        }
        let Some(retry) = self.ask(policy, address, rate).await else { return Ok(()) };
        self.known.refused(client, Instant::now() + retry, None);
        Err(Reached { policy, rate, retry }.problem())
    }

    /// How long the client has to wait; `None` also where nobody can say: a limit must not close the shop.
    async fn ask(&self, policy: &str, address: IpAddr, rate: Rate) -> Option<Duration> {
        if Instant::now() < self.redis().asked_from {
            return None;
        }
        let asked = tokio::time::timeout(LONGEST_QUESTION, self.limiter.ask(policy, &address.to_string(), rate)).await;
        let answer = asked.map_err(|_| "no answer in time".to_owned());
        let answer = answer.and_then(|answer| answer.map_err(|error| error.to_string()));
        let mut redis = self.redis();
        redis.outage.note(&answer);
        match answer {
            Ok(retry) => retry,
            Err(_) => {
                redis.asked_from = Instant::now() + PAUSE;
                None
            }
        }
    }

    fn redis(&self) -> MutexGuard<'_, Redis> {
        self.redis.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Purchases: what the gate has said about a client, kept until it would say something else.
impl Process {
    /// Refuses an attempt of a buyer who is known to have to wait.
    pub(crate) fn admit_buyer(&self, sale: SaleId, user: &UserId) -> Result<(), Problem> {
        let Some((policy, rate)) = self.limits.of_purchase(LimitedBy::User) else { return Ok(()) };
        self.known_to_wait(&(policy, sale, user), policy, rate)
    }

    /// Takes note of an attempt that the gate of `epoch` has refused, and makes the answer to it.
    pub(crate) fn came_too_often(
        &self,
        (sale, epoch): (SaleId, Epoch),
        (user, address): (&UserId, Option<IpAddr>),
        (by, retry): (LimitedBy, Duration),
    ) -> Problem {
        let Some((policy, rate)) = self.limits.of_purchase(by) else {
            return Problem::unavailable(&"the gate refuses for a limit that there is not");
        };
        let known = &self.limits.known;
        let client = match by {
            LimitedBy::User => known.client(&(policy, sale, user)),
            // In whatever sale: before the body is read nobody knows which.
            LimitedBy::Address => known.client(&(policy, address)),
        };
        known.refused(client, Instant::now() + retry, Some((sale, epoch)));
        self.tally.count(sale, epoch, Refusal::RateLimited, boot::clock::now_ms());
        Reached { policy, rate, retry }.problem()
    }

    fn known_to_wait(&self, client: &impl std::hash::Hash, policy: &'static str, rate: Rate) -> Result<(), Problem> {
        let known = &self.limits.known;
        let Some((retry, sale)) = known.wait_of(known.client(client), Instant::now()) else { return Ok(()) };
        if let Some((sale, epoch)) = sale {
            self.tally.count(sale, epoch, Refusal::RateLimited, boot::clock::now_ms());
        }
        self.traffic.count(Ended::Refusal, None, self.view.now_ms());
        Err(Reached { policy, rate, retry }.problem())
    }
}

/// Where a click comes from, as far as that is counted. Taken first and at once: a click from an address that has to wait
/// is refused before its body is read.
pub(crate) struct Origin(pub(crate) Option<IpAddr>);

impl FromRequest for Origin {
    type Error = Error;
    type Future = std::future::Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let process = request.app_data::<web::Data<Process>>().expect("every thread has the process");
        std::future::ready(origin(process, request).map_err(Error::from))
    }
}

fn origin(process: &Process, request: &HttpRequest) -> Result<Origin, Problem> {
    let Some((policy, rate)) = process.limits.of_purchase(LimitedBy::Address) else { return Ok(Origin(None)) };
    let address = Some(process.limits.proxies.client_of(request));
    process.known_to_wait(&(policy, address), policy, rate)?;
    Ok(Origin(address))
}

/// The route, limited as its group is.
pub(crate) fn limited(group: Group, route: Route) -> Route {
    match group {
        Group::Free | Group::Purchase => route,
        Group::Read | Group::Order | Group::Login => {
            route.wrap(from_fn(move |process, request, next| counted(group, process, request, next)))
        }
    }
}

async fn counted(
    group: Group,
    process: web::Data<Process>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    match process.limits.admit(group, request.request()).await {
        Ok(()) => Ok(next.call(request).await?.map_into_left_body()),
        // As an answer: see `guard`.
        Err(problem) => Ok(ServiceResponse::from_err(problem, request.into_parts().0).map_into_right_body()),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderMap;

    use super::*;

    #[test]
    fn a_limit_that_is_reached_is_told_in_the_headers_of_the_draft_and_in_whole_seconds() {
        let rate = "10/60".parse().expect("a rate");
        for (retry_ms, seconds) in [(1, "1"), (999, "1"), (1_000, "1"), (1_001, "2"), (59_999, "60")] {
            let reached = Reached { policy: "read-per-ip", rate, retry: Duration::from_millis(retry_ms) };
            let mut headers = HeaderMap::new();
            reached.tell(|name, value| {
                headers.insert(name, value);
            });
            assert_eq!(headers.get("retry-after").expect("a header"), seconds);
            assert_eq!(headers.get("ratelimit-policy").expect("a header"), "\"read-per-ip\";q=10;w=60");
            let limit = headers.get("ratelimit").expect("a header").to_str().expect("a text");
            assert_eq!(limit, format!("\"read-per-ip\";r=0;t={seconds}"));
        }
    }
}
