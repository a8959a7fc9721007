//! Sends batches and says when the broker has taken them.

mod outgoing;
mod session;
mod supervisor;

use std::sync::Arc;
use std::time::Duration;

use domain::ReservationBatch;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{Config, PublishError};
use outgoing::Outgoing;
use session::Session;

/// Whether a publish has a chance at all.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Status {
    /// The broker takes messages.
    Connected,
    /// The broker is short of memory or disk and takes none; its own words.
    Blocked(Arc<str>),
    /// There is no connection, and why.
    Down(Arc<str>),
}

/// What the supervisor tells the publishers.
#[derive(Clone)]
enum Link {
    Up(Arc<Session>),
    Blocked(Arc<str>),
    Down(Arc<str>),
}

/// A publisher with a connection of its own, which is replaced whenever it fails. Clones share it; it closes with the
/// last of them.
#[derive(Clone)]
pub struct Publisher {
    link: watch::Receiver<Link>,
    confirm_timeout: Duration,
    stop: CancellationToken,
    _stops_with_the_last_clone: Arc<DropGuard>,
}

impl Publisher {
    /// Starts to connect and returns at once; [`Publisher::status`] tells how it goes. Must be called on a tokio
    /// runtime, which has to live as long as the publisher.
    #[must_use]
    pub fn start(config: &Config) -> Self {
        let (sender, link) = watch::channel(Link::Down("not connected yet".into()));
        let stop = CancellationToken::new();
        tokio::spawn(supervisor::run(config.clone(), sender, stop.clone()));
        let guard = Arc::new(stop.clone().drop_guard());
        Self { link, confirm_timeout: config.confirm_timeout(), stop, _stops_with_the_last_clone: guard }
    }

    /// Whether the broker takes messages, as last heard from it. Cheap: no I/O, one short lock.
    ///
    /// A broker that runs out of memory says so only to a connection that publishes, so the first publish after that
    /// still ends as [`PublishError::Unknown`].
    #[must_use]
    pub fn status(&self) -> Status {
        match &*self.link.borrow() {
            Link::Up(_) => Status::Connected,
            Link::Blocked(reason) => Status::Blocked(Arc::clone(reason)),
            Link::Down(reason) => Status::Down(Arc::clone(reason)),
        }
    }

    /// Whether a publish would be sent now: connected, and fewer than `max_unconfirmed` outstanding.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        matches!(&*self.link.borrow(), Link::Up(session) if session.has_room())
    }

    /// Publishes one batch, persistent and mandatory, and waits for its confirm. A caller that stops waiting changes
    /// nothing: the message is on its way.
    ///
    /// # Errors
    /// Every error means: promise nothing. They differ in what is known, see [`PublishError`].
    pub async fn publish(&self, batch: &ReservationBatch) -> Result<(), PublishError> {
        let message = Outgoing::new(batch)?;
        let session = match &*self.link.borrow() {
            Link::Up(session) => Arc::clone(session),
            Link::Blocked(reason) => return Err(PublishError::NotSent(format!("blocked by the broker: {reason}"))),
            Link::Down(reason) => return Err(PublishError::NotSent(reason.to_string())),
        };
        let slot = session.reserve()?;
        // A task of its own holds the channel until the confirm is there, whatever becomes of this future: a channel
        // with an unconfirmed message must not be used for another.
        let publish = tokio::spawn(async move { session.publish(&message, slot).await });
        match tokio::time::timeout(self.confirm_timeout, publish).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(PublishError::Unknown("the runtime is stopping".to_owned())),
            Err(_) => Err(PublishError::Unknown(format!("no confirm within {:?}", self.confirm_timeout))),
        }
    }

    /// Refuses further publishes, waits for outstanding confirms (at most the confirm timeout) and closes the
    /// connection.
    pub async fn close(&self) {
        self.stop.cancel();
        let mut link = self.link.clone();
        // The supervisor drops its end when it is done.
        while link.changed().await.is_ok() {}
    }
}
