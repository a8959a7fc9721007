//! How deep a queue is, and whether the broker answers at all.

use std::sync::Arc;

use domain::{Epoch, SaleId};
use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use tokio::sync::Mutex;

use crate::connection::{Connection, connect, on_own_channel};
use crate::topology::queue_name;
use crate::{Config, Error};

/// What the broker counts on a queue.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Depth {
    /// Messages that wait for a consumer; those delivered and not yet acknowledged are not among them, so 0 does not
    /// prove a queue empty.
    pub ready: u32,
    /// Consumers.
    pub consumers: u32,
}

/// Asks the broker questions on a connection of its own, and connects again where that was lost.
pub struct Monitor {
    config: Config,
    connection: Mutex<Option<Arc<Connection>>>,
}

impl Monitor {
    /// A monitor that connects when it is first asked.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self { config: config.clone(), connection: Mutex::default() }
    }

    /// A monitor that is connected.
    ///
    /// # Errors
    /// [`Error`] if the broker is not reached or refuses.
    pub async fn connect(config: &Config) -> Result<Self, Error> {
        let monitor = Self::new(config);
        monitor.ping().await?;
        Ok(monitor)
    }

    /// The depth of an epoch's queue; `None` if there is no such queue.
    ///
    /// # Errors
    /// [`Error`] if the broker does not answer in time.
    pub async fn depth(&self, sale: SaleId, epoch: Epoch) -> Result<Option<Depth>, Error> {
        inspect(&*self.connection().await?, &self.config, sale, epoch).await
    }

    /// Asks for an answer, any answer.
    ///
    /// # Errors
    /// [`Error`] if the broker does not answer in time.
    pub async fn ping(&self) -> Result<(), Error> {
        let connection = self.connection().await?;
        on_own_channel(&connection, self.config.answer_timeout(), async |_| Ok(())).await
    }

    async fn connection(&self) -> Result<Arc<Connection>, Error> {
        let mut slot = self.connection.lock().await;
        if let Some(connection) = slot.as_ref().filter(|connection| connection.status().connected()) {
            return Ok(Arc::clone(connection));
        }
        let connection = Arc::new(connect(&self.config, "monitor").await?);
        *slot = Some(Arc::clone(&connection));
        Ok(connection)
    }
}

/// What the broker counts on an epoch's queue; `None` if there is no such queue.
pub(crate) async fn inspect(
    connection: &Connection,
    config: &Config,
    sale: SaleId,
    epoch: Epoch,
) -> Result<Option<Depth>, Error> {
    let options = QueueDeclareOptions::default().passive();
    let queue = queue_name(sale, epoch).into();
    let declare = async |channel: &lapin::Channel| channel.queue_declare(queue, options, FieldTable::default()).await;
    match on_own_channel(connection, config.answer_timeout(), declare).await {
        Ok(queue) => Ok(Some(Depth { ready: queue.message_count(), consumers: queue.consumer_count() })),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}
