//! Keeps a publisher connected: one connection after the other, each until it fails.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use futures_util::StreamExt;
use lapin::Event;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Link;
use super::session::Session;
use crate::Config;

/// An outage that lasts is told again this often.
const REMIND_EVERY: Duration = Duration::from_secs(60);

/// How often the connection is looked at besides its events: not every way it can end is announced by one.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Connects, reports through `link`, and connects again after a loss, until `stop`. Ends with `link` dropped.
pub(super) async fn run(config: Config, link: watch::Sender<Link>, stop: CancellationToken) {
    let mut pauses = pauses();
    let mut told: Option<Instant> = None;
    let broker = config.address();
    while let Some(attempt) = stop.run_until_cancelled(Session::open(&config)).await {
        let reason = match attempt {
            Ok(session) => {
                tracing::info!(broker, "the publisher is connected to the broker");
                (pauses, told) = (self::pauses(), None);
                let session = Arc::new(session);
                let Some(reason) = stop.run_until_cancelled(follow(&session, &link)).await else {
                    link.send_replace(Link::Down("closed".into()));
                    return session.close().await;
                };
                reason
            }
            Err(error) => error.to_string(),
        };
        if told.is_none_or(|told| told.elapsed() >= REMIND_EVERY) {
            told = Some(Instant::now());
            tracing::warn!(broker, reason, "the publisher has no connection to the broker");
        }
        link.send_replace(Link::Down(reason.into()));
        let pause = pauses.next().expect("pauses without end");
        if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            break;
        }
    }
    link.send_replace(Link::Down("closed".into()));
}

/// Pauses between attempts to connect. Many processes lose the broker at the same moment; they must not all return at the
/// same one.
fn pauses() -> ExponentialBackoff {
    let (first, longest) = (Duration::from_millis(50), Duration::from_secs(1));
    let pauses = ExponentialBuilder::default().with_jitter().with_min_delay(first).with_max_delay(longest);
    pauses.without_max_times().build()
}

/// Reports what the broker says about a connection until it is lost; returns the reason.
async fn follow(session: &Arc<Session>, link: &watch::Sender<Link>) -> String {
    let mut events = pin!(session.events());
    link.send_replace(Link::Up(Arc::clone(session)));
    let mut look = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(Event::ConnectionBlocked(reason)) => {
                    tracing::warn!(reason, "the broker blocks publishers");
                    link.send_replace(Link::Blocked(reason.into()));
                }
                Some(Event::ConnectionUnblocked) => {
                    tracing::info!("the broker takes messages again");
                    link.send_replace(Link::Up(Arc::clone(session)));
                }
                // The error may concern a single channel, which whoever used it was told.
                Some(Event::Error(error)) if !session.is_connected() => return error.to_string(),
                Some(_) => {}
                None => return "the connection has ended".to_owned(),
            },
            _ = look.tick() => if !session.is_connected() {
                return "the connection has ended".to_owned();
            }
        }
    }
}
