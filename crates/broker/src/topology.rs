//! The names on the broker, and how they are declared. One direct exchange; one quorum queue per sale and epoch.

use domain::{Epoch, SaleId};
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, ExchangeKind};

/// The exchange all reservations are published to: direct, durable.
pub const EXCHANGE: &str = "flashsale.reservations";

/// The queue of one epoch of a sale.
#[must_use]
pub fn queue_name(sale: SaleId, epoch: Epoch) -> String {
    format!("{EXCHANGE}.{sale}.{epoch}")
}

/// The routing key that leads to the queue of one epoch of a sale.
#[must_use]
pub fn routing_key(sale: SaleId, epoch: Epoch) -> String {
    format!("{sale}.{epoch}")
}

/// The exclusive queue whose holder may drain a sale. It never carries a message.
pub(crate) fn lock_name(sale: SaleId) -> String {
    format!("flashsale.drain.{sale}")
}

/// Declares the exchange. Anyone may: it does nothing where the exchange stands.
pub(crate) async fn declare_exchange(channel: &Channel) -> lapin::Result<()> {
    let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
    channel.exchange_declare(EXCHANGE.into(), ExchangeKind::Direct, options, FieldTable::default()).await
}

/// Declares exchange, queue and binding of an epoch. Only the reconciler does.
pub(crate) async fn declare_epoch(
    channel: &Channel,
    sale: SaleId,
    epoch: Epoch,
    delivery_limit: u32,
) -> lapin::Result<()> {
    declare_exchange(channel).await?;
    let queue = ShortString::from(queue_name(sale, epoch));
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    // Spelled out because its default differs: none in RabbitMQ 3, 20 (then dropped) in RabbitMQ 4.
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(delivery_limit.into()));
    channel.queue_declare(queue.clone(), QueueDeclareOptions::durable(), arguments).await?;
    let key = routing_key(sale, epoch).into();
    channel.queue_bind(queue, EXCHANGE.into(), key, QueueBindOptions::default(), FieldTable::default()).await
}
