//! One connection of a publisher and its channels.

use std::sync::{Arc, Mutex, MutexGuard};

use futures_util::Stream;
use lapin::options::ConfirmSelectOptions;
use lapin::{Channel, Event};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::outgoing::{Outgoing, judge};
use crate::connection::{Connection, answer, close, connect, on_own_channel};
use crate::topology::declare_exchange;
use crate::{Config, Error, PublishError};

/// A live connection. Each of its channels carries one unconfirmed message at a time, see [`Outgoing::publish`];
/// channels are opened as they are needed, up to `max_unconfirmed`.
pub(super) struct Session {
    connection: Connection,
    /// Channels without an unconfirmed message.
    idle: Mutex<Vec<Channel>>,
    /// One permit per message that may be unconfirmed.
    slots: Arc<Semaphore>,
    config: Config,
}

impl Session {
    /// Connects, and makes sure there is an exchange to publish to.
    pub(super) async fn open(config: &Config) -> Result<Self, Error> {
        let connection = connect(config, "publisher").await?;
        on_own_channel(&connection, config.answer_timeout(), declare_exchange).await?;
        let slots = Arc::new(Semaphore::new(config.max_unconfirmed));
        Ok(Self { connection, idle: Mutex::default(), slots, config: config.clone() })
    }

    /// What the broker says about the connection from now on.
    pub(super) fn events(&self) -> impl Stream<Item = Event> {
        self.connection.events_listener()
    }

    /// Whether another message may be published now.
    pub(super) fn has_room(&self) -> bool {
        self.slots.available_permits() > 0
    }

    /// Whether the connection still stands.
    pub(super) fn is_connected(&self) -> bool {
        self.connection.status().connected()
    }

    /// Takes one of the `max_unconfirmed` slots.
    pub(super) fn reserve(&self) -> Result<OwnedSemaphorePermit, PublishError> {
        Arc::clone(&self.slots)
            .try_acquire_owned()
            .map_err(|_| PublishError::NotSent(format!("{} messages are unconfirmed", self.config.max_unconfirmed)))
    }

    /// Publishes a message and waits for its confirm, however long that takes; `_slot` is taken until then.
    pub(super) async fn publish(&self, message: &Outgoing, _slot: OwnedSemaphorePermit) -> Result<(), PublishError> {
        let channel = self.channel().await.map_err(|error| PublishError::NotSent(error.to_string()))?;
        let confirmation = message.publish(&channel).await;
        if confirmation.is_ok() {
            self.idle().push(channel);
        }
        judge(confirmation)
    }

    /// Waits for outstanding confirms, then closes; each within its limit.
    pub(super) async fn close(&self) {
        let all = u32::try_from(self.config.max_unconfirmed).unwrap_or(u32::MAX);
        let settled = tokio::time::timeout(self.config.confirm_timeout(), self.slots.acquire_many(all)).await;
        if settled.is_err() {
            tracing::warn!("closing the publisher with unconfirmed messages; the sweep will resolve them");
        }
        // A publish that found this session before it was withdrawn gets no slot any more.
        self.slots.close();
        close(&self.connection, self.config.answer_timeout()).await;
    }

    async fn channel(&self) -> Result<Channel, Error> {
        let idle = self.idle().pop();
        match idle {
            Some(channel) => Ok(channel),
            None => answer(self.config.answer_timeout(), open_confirming(&self.connection)).await,
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Channel>> {
        self.idle.lock().expect("nothing panics while it holds the idle channels")
    }
}

/// Opens a channel on which every publish is confirmed.
async fn open_confirming(connection: &Connection) -> lapin::Result<Channel> {
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    Ok(channel)
}
