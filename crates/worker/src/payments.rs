//! Payments: does with the provider what PostgreSQL has decided, and asks it what a lost webhook would have told.
//!
//! A step is taken with a lease, done without any transaction, and then written down. A keeper that dies in between leaves
//! it to the next one, which repeats it: every request names the order, and the provider does it once.

use std::sync::Arc;
use std::time::Duration;

use backon::BackoffBuilder;
use boot::{Outage, Watchdog};
use domain::PaymentState;
use failpoints::Point;
use ledger::{Ledger, Move, Payment, PaymentNews, PaymentVerdict};
use payments::{Provider, Standing, StartPayment};
use reconcile::Teller;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// For how long a step is nobody else's. It spares requests and no more: a step that two keepers take is done once.
const LEASE: Duration = Duration::from_secs(10);
/// Most steps of one keeper that wait for the provider at a time.
const AT_ONCE: usize = 16;
/// Pauses before a step is tried again, or a payment is looked up again.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Pauses after a refusal that only an operator can do something about.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_REFUSED_PAUSE: Duration = Duration::from_secs(3_600);

/// Takes payments further. Any number of these may run.
pub struct Payments {
    cashier: Arc<Cashier>,
    every: Duration,
    /// Whether PostgreSQL can be asked, and the provider.
    asking: Outage,
    provider: Outage,
    steps: JoinSet<Result<(), Error>>,
    /// Whether more may be due than could be taken at a time.
    more: bool,
}

/// What one step takes.
struct Cashier {
    ledger: Ledger,
    teller: Arc<Teller>,
    provider: Option<Provider>,
    grace: Duration,
    watchdog: Watchdog,
}

/// Why a step was not done.
#[derive(Debug)]
enum Error {
    /// It was not written down: it is due again when its lease is over.
    Ledger(ledger::Error),
    /// It was put off.
    Provider(payments::Error),
}

impl Payments {
    /// Over these stores; does nothing before [`Payments::run`]. Without a provider, what is due waits for one.
    #[must_use]
    pub fn new(
        (ledger, teller): (Ledger, Arc<Teller>),
        provider: Option<Provider>,
        settings: &boot::Keeper,
        watchdog: Watchdog,
    ) -> Self {
        let grace = Duration::from_secs(settings.late_payment_seconds.into());
        Self {
            cashier: Arc::new(Cashier { ledger, teller, provider, grace, watchdog }),
            every: Duration::from_millis(settings.payments_ms),
            asking: Outage::of("payments wait: PostgreSQL cannot be asked for what is due"),
            provider: Outage::of("payments wait for their provider"),
            steps: JoinSet::new(),
            more: false,
        }
    }

    /// Takes due steps until `stop` is cancelled, then waits for the provider's answers to those under way.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(self.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(self.wait(&mut ticks)).await.is_some() {
            self.note_ended_steps();
            let taken = self.take_due_steps().await;
            if let Some(pause) = self.asking.note_and_pause(&taken, (self.every, LONGEST_PAUSE)) {
                ticks.reset_after(pause);
            }
        }
        while self.steps.join_next().await.is_some() {}
    }

    /// Until the next tick or, where more is due than could be taken, until a step has ended.
    async fn wait(&mut self, ticks: &mut Interval) {
        tokio::select! {
            _ = ticks.tick() => {}
            Some(ended) = self.steps.join_next(), if self.more => self.note(ended),
        }
    }

    async fn take_due_steps(&mut self) -> Result<(), ledger::Error> {
        let room = AT_ONCE - self.steps.len().min(AT_ONCE);
        if room == 0 {
            return Ok(());
        }
        // Where PostgreSQL fails, the next tick comes first.
        self.more = false;
        let busy = self.cashier.watchdog.busy("reading which payments are due");
        let due = self.cashier.ledger.due_payments(LEASE, i64::try_from(room).unwrap_or(i64::MAX)).await?;
        drop(busy);
        self.more = due.len() == room;
        for payment in due {
            let cashier = Arc::clone(&self.cashier);
            self.steps.spawn(async move { cashier.step(&payment).await });
        }
        Ok(())
    }

    fn note_ended_steps(&mut self) {
        while let Some(ended) = self.steps.try_join_next() {
            self.note(ended);
        }
    }

    fn note(&mut self, ended: Result<Result<(), Error>, JoinError>) {
        match ended {
            Ok(Ok(())) => self.provider.note(&Ok::<_, payments::Error>(())),
            Ok(Err(Error::Provider(error))) => self.provider.note(&Err::<(), _>(error)),
            Ok(Err(Error::Ledger(error))) => self.asking.note(&Err::<(), _>(error)),
            Err(panic) => tracing::error!(%panic, "a step of a payment failed"),
        }
    }
}

impl Cashier {
    /// Does what the payment is due for, and writes down what came of it.
    async fn step(&self, payment: &Payment) -> Result<(), Error> {
        // The provider's answer has a limit of its own; this is for the two stores.
        let _busy = self.watchdog.busy_with_much(2, "a step of a payment");
        let done = match self.provider.as_ref().filter(|provider| provider.name() == payment.provider) {
            Some(provider) => self.do_step(provider, payment).await,
            None => Err(Error::Provider(payments::Error::Transient(format!(
                "the payment was started with the provider {}, which is not the one of payments.provider",
                payment.provider
            )))),
        };
        match done {
            Ok(moved) => {
                // Best effort: the keeper's own rounds do it otherwise.
                if let Some(sale) = moved.and_then(|moved| moved.to_tell)
                    && let Err(error) = self.teller.tell(sale).await
                {
                    tracing::debug!(%sale, %error, "the gate is told later");
                }
                Ok(())
            }
            Err(Error::Provider(error)) => {
                let pauses = match &error {
                    payments::Error::Transient(_) => (FIRST_PAUSE, LONGEST_PAUSE),
                    payments::Error::Refused(reason) => {
                        let (order, state) = (payment.order_id, payment.state);
                        tracing::error!(%order, %state, reason, "the provider refuses, somebody should look into it");
                        (REFUSED_PAUSE, LONGEST_REFUSED_PAUSE)
                    }
                };
                let wait = pause(pauses, payment.attempts);
                self.ledger.put_off_payment(payment, wait, Some(&error.to_string())).await.map_err(Error::Ledger)?;
                match error {
                    payments::Error::Transient(_) => Err(Error::Provider(error)),
                    // It did answer.
                    payments::Error::Refused(_) => Ok(()),
                }
            }
            Err(error) => Err(error),
        }
    }

    async fn do_step(&self, provider: &Provider, payment: &Payment) -> Result<Option<Move<PaymentVerdict>>, Error> {
        let (ledger, order) = (&self.ledger, payment.order_id);
        let moved = match (payment.state, payment.provider_ref.as_deref()) {
            // Whoever was to start it has died, or was not answered. The provider starts it once.
            (PaymentState::Starting, _) => {
                let start = StartPayment {
                    order,
                    sale: payment.sale_id,
                    amount_minor: payment.amount_minor,
                    currency: payment.currency,
                };
                match provider.start(&start).await {
                    Ok(started) => ledger.payment_started(order, &started.provider_ref).await,
                    Err(payments::Error::Refused(reason)) => ledger.payment_start_refused(order, &reason).await,
                    Err(error) => return Err(Error::Provider(error)),
                }
            }
            (PaymentState::Pending | PaymentState::Late, Some(provider_ref)) => {
                match news(provider.look_up(provider_ref).await)? {
                    Some(news) => ledger.payment_news(order, news).await,
                    None => {
                        let wait = pause((FIRST_PAUSE, LONGEST_PAUSE), payment.attempts);
                        ledger.payment_undecided(payment, wait, self.grace).await.map_err(Error::Ledger)?;
                        return Ok(None);
                    }
                }
            }
            (PaymentState::Authorized, Some(provider_ref)) => match provider.capture(provider_ref).await {
                Ok(()) => {
                    failpoints::reach(Point::KeeperCaptured);
                    ledger.payment_captured(order).await
                }
                Err(payments::Error::Refused(reason)) => ledger.payment_capture_refused(order, &reason).await,
                Err(error) => return Err(Error::Provider(error)),
            },
            (PaymentState::Releasing, Some(provider_ref)) => {
                provider.release(provider_ref).await.map_err(Error::Provider)?;
                ledger.payment_released(order).await
            }
            // It is cancelled so that its buyer cannot try again; where there is nothing to cancel, all the better.
            (PaymentState::Failed, Some(provider_ref)) => match provider.release(provider_ref).await {
                Ok(()) => ledger.payment_released(order).await,
                Err(payments::Error::Refused(_)) => ledger.failed_payment_is_over(order).await,
                Err(error) => return Err(Error::Provider(error)),
            },
            // It has no step with the provider.
            _ => return Ok(None),
        };
        moved.map(Some).map_err(Error::Ledger)
    }
}

/// What a look-up tells, if anything. A provider that does not know the payment tells nothing: it may be asked with
/// another account's key. The payment's time decides then.
fn news(standing: Result<Standing, payments::Error>) -> Result<Option<PaymentNews>, Error> {
    match standing {
        Ok(Standing::Pending) | Err(payments::Error::Refused(_)) => Ok(None),
        Ok(Standing::Authorized) => Ok(Some(PaymentNews::Authorized)),
        Ok(Standing::Captured) => Ok(Some(PaymentNews::Captured)),
        Ok(Standing::Failed) => Ok(Some(PaymentNews::Failed)),
        Ok(Standing::Cancelled) => Ok(Some(PaymentNews::Cancelled)),
        Err(error) => Err(Error::Provider(error)),
    }
}

/// How long to wait after so many attempts: ever longer, lengthened by chance.
fn pause((first, longest): (Duration, Duration), attempts: i32) -> Duration {
    let attempts = usize::try_from(attempts.clamp(0, 16)).unwrap_or_default();
    boot::pauses(first, longest).build().nth(attempts).unwrap_or(longest)
}
