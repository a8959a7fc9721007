//! Payment providers: what takes the buyer's money, as far as the shop talks to it.
//!
//! A payment has two halves. The provider first *authorises*: the money is reserved, nothing has moved. Then the shop
//! *captures* it, once it knows that the units are the buyer's, or *releases* it. Who may do which when is decided in
//! PostgreSQL; this crate only carries it out. Every call may be repeated: a repetition meets what the first one did.
//!
//! The provider reports back by signed webhooks ([`Provider::event`]), and answers when asked ([`Provider::look_up`]):
//! a webhook that was lost is no loss.

mod config;
mod event;
mod signature;
mod simulated;
mod stripe;

use std::fmt;
use std::sync::Arc;

use domain::{Currency, ReservationId, SaleId};
use secrecy::SecretString;

pub use config::{Config, InvalidConfig, Kind};
pub use event::{Event, EventKind};
pub use signature::sign;

use simulated::Simulated;
use stripe::Stripe;

/// The header that carries a webhook's signature.
pub const SIGNATURE_HEADER: &str = "Stripe-Signature";

/// The order to be paid for.
#[derive(Clone, Copy, Debug)]
pub struct StartPayment {
    /// The order, which is paid for at most once.
    pub order: ReservationId,
    /// Its sale.
    pub sale: SaleId,
    /// What is to be paid, in the currency's minor units; more than 0.
    pub amount_minor: i64,
    /// The currency.
    pub currency: Currency,
}

/// A payment that the provider knows of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Started {
    /// The provider's name for the payment: unique, at most 255 characters.
    pub provider_ref: String,
    /// What the buyer's page needs to pay; `None` where there is no page to pay on. Only for the buyer's eyes.
    pub client_secret: Option<String>,
}

/// Where a payment stands at the provider.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Standing {
    /// The buyer has not paid yet, or the provider has not decided.
    Pending,
    /// The money is reserved: it may be captured or released.
    Authorized,
    /// The money was taken.
    Captured,
    /// The payment was refused. At Stripe the buyer could try again: release it before its units go to somebody else.
    Failed,
    /// No money was taken or all of it was given back, and none can be taken any more.
    Cancelled,
}

/// Why a provider did not do as asked.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Error {
    /// It is away, busy or misconfigured, or its answer was lost: the outcome is unknown, and the same call may succeed
    /// later.
    #[error("the payment provider gave no usable answer: {0}")]
    Transient(String),
    /// It refuses, and always will.
    #[error("the payment provider refuses: {0}")]
    Refused(String),
}

/// Why a webhook is not believed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum WebhookError {
    /// There is no signature, it is of another secret or body, or of another time.
    #[error("{0}")]
    Signature(&'static str),
    /// It is signed, and yet it cannot be read.
    #[error("{0}")]
    Body(String),
}

/// A payment provider. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Provider {
    kind: Which,
    webhook_secret: SecretString,
    now_ms: fn() -> u64,
}

#[derive(Clone)]
enum Which {
    Stripe(Arc<Stripe>),
    Simulated(Simulated),
}

impl Provider {
    /// The provider that the settings name; `None` where no payments are taken. `now_ms` reads the wall clock: Unix
    /// time in milliseconds.
    ///
    /// # Errors
    /// As [`Config::check`], or this machine has no certificates to know Stripe by.
    pub fn new(config: &Config, now_ms: fn() -> u64) -> Result<Option<Self>, InvalidConfig> {
        config.check()?;
        let kind = match config.provider {
            Kind::None => return Ok(None),
            Kind::Simulated => Which::Simulated(Simulated::new(config)),
            Kind::Stripe => Which::Stripe(Arc::new(Stripe::new(config)?)),
        };
        Ok(Some(Self { kind, webhook_secret: config.webhook_secret.clone(), now_ms }))
    }

    /// The provider's name, as it stands in `payments.provider`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self.kind {
            Which::Stripe(_) => "stripe",
            Which::Simulated(_) => "simulated",
        }
    }

    /// Makes the payment known to the provider. A repetition is answered the same payment, or another: the one whose name
    /// is written down first counts, and only for that one may the buyer be told how to pay.
    ///
    /// # Errors
    /// [`Error::Transient`]: it may be known or not. [`Error::Refused`]: this can never be paid here, such as an amount
    /// below the provider's least one.
    pub async fn start(&self, payment: &StartPayment) -> Result<Started, Error> {
        match &self.kind {
            Which::Stripe(stripe) => stripe.start(payment, (self.now_ms)()).await,
            Which::Simulated(simulated) => Ok(simulated.start(payment.order, (self.now_ms)())),
        }
    }

    /// What the buyer's page needs to go on with a payment that was started before.
    ///
    /// # Errors
    /// [`Error::Transient`], also where Stripe does not know the payment: the key is of another account.
    pub async fn client_secret(&self, provider_ref: &str) -> Result<Option<String>, Error> {
        match &self.kind {
            Which::Stripe(stripe) => stripe.client_secret(provider_ref).await,
            Which::Simulated(_) => Ok(None),
        }
    }

    /// Where the payment stands. The simulated provider keeps nothing, so it never answers [`Standing::Captured`]: what
    /// was captured there, the ledger alone knows.
    ///
    /// # Errors
    /// [`Error::Transient`], also where Stripe does not know the payment: the key is of another account.
    pub async fn look_up(&self, provider_ref: &str) -> Result<Standing, Error> {
        match &self.kind {
            Which::Stripe(stripe) => stripe.look_up(provider_ref).await,
            Which::Simulated(simulated) => simulated.look_up(provider_ref, (self.now_ms)()),
        }
    }

    /// Takes the money that is reserved. Succeeds too where it was taken before.
    ///
    /// # Errors
    /// [`Error::Transient`]: it may be taken or not. [`Error::Refused`]: it was not taken and never will be, for example
    /// because the reservation of the money has lapsed.
    pub async fn capture(&self, provider_ref: &str) -> Result<(), Error> {
        match &self.kind {
            Which::Stripe(stripe) => stripe.capture(provider_ref).await,
            Which::Simulated(simulated) => simulated.capture(provider_ref, (self.now_ms)()),
        }
    }

    /// Lets go of the money: cancels the payment or, where the money was taken, gives all of it back. Succeeds too where
    /// that was done before.
    ///
    /// # Errors
    /// [`Error::Transient`]: it may be released or not. [`Error::Refused`]: the provider cannot give the money back.
    pub async fn release(&self, provider_ref: &str) -> Result<(), Error> {
        match &self.kind {
            Which::Stripe(stripe) => stripe.release(provider_ref).await,
            Which::Simulated(simulated) => simulated.release(provider_ref),
        }
    }

    /// Reads a webhook: the header [`SIGNATURE_HEADER`] and the body, byte by byte as it came. `None`: it is ours, and of
    /// a kind that says nothing about an order.
    ///
    /// # Errors
    /// [`WebhookError`]: it must have no effect.
    pub fn event(&self, signature: Option<&[u8]>, body: &[u8]) -> Result<Option<Event>, WebhookError> {
        signature::check(&self.webhook_secret, signature, body, (self.now_ms)() / 1_000)?;
        event::read(body)
    }
}

impl fmt::Debug for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stripe(_) => "Stripe",
            Self::Simulated(_) => "Simulated",
        })
    }
}
