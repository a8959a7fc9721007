//! The reconciler's side: empties the queue of a dead epoch and declares the next one.

use std::collections::HashMap;
use std::sync::{Mutex as StdMutex, MutexGuard};

use domain::{Epoch, SaleId};
use lapin::options::{BasicAckOptions, BasicGetOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use lapin::{Acker, Channel};
use tokio::sync::Mutex;

use crate::connection::{Connection, answer, close, connect, on_own_channel};
use crate::depth::inspect;
use crate::topology::{EXCHANGE, declare_epoch, lock_name, queue_name, routing_key};
use crate::{Config, Delivery, Depth, Error};

/// The right to drain one sale, held by an exclusive queue. That queue dies with its connection, and unacknowledged
/// deliveries go back with it: the right is held exactly as long as this process can hold messages.
///
/// Nothing recovers by itself: after a lost connection, drop the drain and lock again.
pub struct Drain {
    sale: SaleId,
    config: Config,
    /// Holds the lock and the deliveries.
    connection: Connection,
    /// The channel deliveries are fetched on. Absent while one is being fetched, so that a fetch that fails or is
    /// abandoned takes its channel with it, and the message it may have been given goes back to the queue.
    fetching: Mutex<Option<Channel>>,
    held: StdMutex<Held>,
}

/// Deliveries not yet acknowledged. The broker numbers them per channel; these tags never repeat.
#[derive(Default)]
struct Held {
    last_tag: u64,
    ackers: HashMap<u64, Acker>,
}

impl Drain {
    /// Connects and takes the lock of a sale; `None` if another reconciler has it. A released lock may take the broker
    /// a moment to free.
    ///
    /// # Errors
    /// [`Error`] if the broker is not reached or refuses.
    pub async fn lock(config: &Config, sale: SaleId) -> Result<Option<Self>, Error> {
        let connection = connect(config, "drain").await?;
        let declare = async |channel: &Channel| {
            let options = QueueDeclareOptions::exclusive();
            channel.queue_declare(lock_name(sale).into(), options, FieldTable::default()).await
        };
        match on_own_channel(&connection, config.answer_timeout(), declare).await {
            Ok(_) => {}
            Err(error) if error.is_locked() => {
                close(&connection, config.answer_timeout()).await;
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
        Ok(Some(Self {
            sale,
            config: config.clone(),
            connection,
            fetching: Mutex::default(),
            held: StdMutex::default(),
        }))
    }

    /// Takes the binding off an epoch's queue: from now on whatever is published to the epoch is returned. It is fine
    /// if there is no such queue.
    ///
    /// # Errors
    /// [`Error`] if the broker does not answer or refuses.
    pub async fn unbind(&self, epoch: Epoch) -> Result<(), Error> {
        let queue = queue_name(self.sale, epoch).into();
        let key = routing_key(self.sale, epoch).into();
        let unbind =
            async |channel: &Channel| channel.queue_unbind(queue, EXCHANGE.into(), key, FieldTable::default()).await;
        match on_own_channel(&self.connection, self.config.answer_timeout(), unbind).await {
            Err(error) if error.is_not_found() => Ok(()),
            outcome => outcome,
        }
    }

    /// The depth of an epoch's queue; `None` if there is no such queue.
    ///
    /// # Errors
    /// [`Error`] if the broker does not answer or refuses.
    pub async fn depth(&self, epoch: Epoch) -> Result<Option<Depth>, Error> {
        inspect(&self.connection, &self.config, self.sale, epoch).await
    }

    /// Fetches the next message of an epoch; `None` if its queue is empty or does not exist. A fetch that fails, is
    /// abandoned or finds no queue gives every held delivery back.
    ///
    /// # Errors
    /// [`Error`] if the broker does not answer or refuses.
    pub async fn get(&self, epoch: Epoch) -> Result<Option<Delivery>, Error> {
        let limit = self.config.answer_timeout();
        let mut slot = self.fetching.lock().await;
        let channel = match slot.take() {
            Some(channel) => channel,
            None => answer(limit, self.connection.create_channel()).await?,
        };
        let queue = queue_name(self.sale, epoch).into();
        let fetched = match answer(limit, channel.basic_get(queue, BasicGetOptions::default())).await {
            Ok(fetched) => fetched,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        *slot = Some(channel);
        Ok(fetched.map(|message| self.held().hold(message.delivery)))
    }

    /// Acknowledges a fetched delivery: it leaves the queue for good.
    ///
    /// # Errors
    /// [`Error`] if the delivery is not held any more; it will be fetched again.
    pub async fn ack(&self, tag: u64) -> Result<(), Error> {
        let acker = self.held().ackers.remove(&tag).ok_or(Error::NotHeld(tag))?;
        match answer(self.config.answer_timeout(), acker.ack(BasicAckOptions::default())).await? {
            true => Ok(()),
            false => Err(Error::NotHeld(tag)),
        }
    }

    /// Declares the exchange, the quorum queue and the binding of an epoch. Repeating it changes nothing.
    ///
    /// RabbitMQ 3.10 answers before all of it is on disk: promise nothing on the queue before it has settled, see
    /// [`Config::queue_settle_ms`].
    ///
    /// # Errors
    /// [`Error`] if the broker does not answer or refuses, for instance because the queue stands with another
    /// delivery limit.
    pub async fn declare(&self, epoch: Epoch) -> Result<(), Error> {
        let limit = self.config.delivery_limit;
        let declare = async |channel: &Channel| declare_epoch(channel, self.sale, epoch, limit).await;
        on_own_channel(&self.connection, self.config.answer_timeout(), declare).await
    }

    /// Deletes an epoch's queue with all it holds. It is fine if there is none.
    ///
    /// # Errors
    /// [`Error`] if the broker does not answer or refuses.
    pub async fn delete(&self, epoch: Epoch) -> Result<(), Error> {
        let queue = queue_name(self.sale, epoch).into();
        let delete = async |channel: &Channel| channel.queue_delete(queue, QueueDeleteOptions::default()).await;
        match on_own_channel(&self.connection, self.config.answer_timeout(), delete).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Gives the lock and every held delivery back.
    pub async fn release(self) {
        close(&self.connection, self.config.answer_timeout()).await;
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().expect("nothing panics while it holds the deliveries")
    }
}

impl Held {
    fn hold(&mut self, delivery: lapin::message::Delivery) -> Delivery {
        self.last_tag += 1;
        self.ackers.insert(self.last_tag, delivery.acker.clone());
        Delivery::new(self.last_tag, delivery)
    }
}
