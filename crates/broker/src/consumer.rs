//! The worker's side: takes messages and acknowledges them once they are persisted.

use std::time::Duration;

use domain::{Epoch, SaleId};
use futures_util::{FutureExt, StreamExt};
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel};

use crate::connection::{Connection, answer, close, close_channel, connect};
use crate::topology::queue_name;
use crate::{Config, Error};

/// One message as the broker handed it over; it stays ours until it is acknowledged or its channel ends.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Delivery {
    /// Names the delivery in `ack`; rises with each delivery of one [`Consumer`] or [`crate::Drain`].
    pub tag: u64,
    /// The message, see [`crate::decode`].
    pub body: Vec<u8>,
    /// Whether the broker handed it over before.
    pub redelivered: bool,
    /// How often it came back, as quorum queues count it (`x-delivery-count`); 0 where the broker does not say.
    pub delivery_count: i64,
}

impl Delivery {
    pub(crate) fn new(tag: u64, delivery: lapin::message::Delivery) -> Self {
        Self {
            tag,
            redelivered: delivery.redelivered,
            delivery_count: delivery_count(&delivery.properties),
            body: delivery.data,
        }
    }
}

/// A connection for consuming. It does not recover by itself: after a loss, connect again.
pub struct Consumers {
    connection: Connection,
    prefetch: u16,
    limit: Duration,
}

impl Consumers {
    /// Connects.
    ///
    /// # Errors
    /// [`Error`] if the broker is not reached or refuses.
    pub async fn connect(config: &Config) -> Result<Self, Error> {
        let connection = connect(config, "consumer").await?;
        Ok(Self { connection, prefetch: config.prefetch, limit: config.answer_timeout() })
    }

    /// Starts to consume the queue of an epoch, on a channel of its own; `None` if there is no such queue.
    ///
    /// The consumers of one queue draw lots, and as long as the first of them can take more the others get nothing: one
    /// writes large batches where several would wait for each other with small ones (docs/adr/0027).
    ///
    /// # Errors
    /// [`Error`] if the broker does not answer or refuses.
    pub async fn consume(&self, sale: SaleId, epoch: Epoch) -> Result<Option<Consumer>, Error> {
        let start = async {
            let channel = self.connection.create_channel().await?;
            // Not `global`: quorum queues know a limit per consumer only.
            channel.basic_qos(self.prefetch, BasicQosOptions { global: false }).await?;
            let options = BasicConsumeOptions::default();
            let queue = queue_name(sale, epoch).into();
            let mut arguments = FieldTable::default();
            arguments.insert("x-priority".into(), AMQPValue::LongInt(rand::random()));
            let deliveries = channel.basic_consume(queue, "".into(), options, arguments).await?;
            Ok((channel, deliveries))
        };
        match answer(self.limit, start).await {
            Ok((channel, deliveries)) => {
                Ok(Some(Consumer { channel, deliveries, has_ended: false, limit: self.limit }))
            }
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the connection stands, as last heard.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.connection.status().connected()
    }

    /// Closes the connection; what its consumers hold unacknowledged goes back to the queues.
    pub async fn close(self) {
        close(&self.connection, self.limit).await;
    }
}

/// A consumer of one queue. Close it rather than drop it: only then is it known that nothing is held any more.
pub struct Consumer {
    channel: Channel,
    deliveries: lapin::Consumer,
    /// The client library's stream never wakes again after its end.
    has_ended: bool,
    limit: Duration,
}

impl Consumer {
    /// The next delivery; waits for one. `None`: the queue was deleted or the channel is closed, and no more will
    /// come. Cancel-safe.
    pub async fn next(&mut self) -> Option<Result<Delivery, Error>> {
        if self.has_ended {
            return None;
        }
        let next = self.deliveries.next().await;
        self.has_ended = next.is_none();
        Some(next?.map(|delivery| Delivery::new(delivery.delivery_tag, delivery)).map_err(Error::from))
    }

    /// A delivery that is here already; `None` if there is none right now, or no more will come.
    pub fn try_next(&mut self) -> Option<Result<Delivery, Error>> {
        self.next().now_or_never().flatten()
    }

    /// Acknowledges a delivery, and with `multiple` every earlier one of this consumer too. `Ok` means the
    /// acknowledgement was sent: if it gets lost with the connection, the message comes again.
    ///
    /// # Errors
    /// [`Error`] if the channel is gone; the broker delivers the message again.
    pub async fn ack(&self, tag: u64, multiple: bool) -> Result<(), Error> {
        Ok(self.channel.basic_ack(tag, BasicAckOptions { multiple }).await?)
    }

    /// Closes the channel: everything unacknowledged goes back to the queue. No `basic.cancel` before it, which would
    /// leave a moment in which the consumer is gone from the queue's count and still holds messages.
    pub async fn close(self) {
        close_channel(&self.channel, self.limit).await;
    }
}

fn delivery_count(properties: &BasicProperties) -> i64 {
    let header = properties.headers().as_ref().and_then(|headers| headers.inner().get("x-delivery-count"));
    match header {
        Some(AMQPValue::LongLongInt(count)) => *count,
        Some(AMQPValue::LongInt(count)) => (*count).into(),
        Some(AMQPValue::LongUInt(count)) => (*count).into(),
        Some(AMQPValue::ShortInt(count)) => (*count).into(),
        Some(AMQPValue::ShortUInt(count)) => (*count).into(),
        Some(AMQPValue::ShortShortInt(count)) => (*count).into(),
        Some(AMQPValue::ShortShortUInt(count)) => (*count).into(),
        _ => 0,
    }
}
