//! One message on its way out, and what its confirm means.

use domain::ReservationBatch;
use failpoints::Point;
use lapin::options::BasicPublishOptions;
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel, Confirmation};

use crate::message::{check_reservations, encode};
use crate::topology::{EXCHANGE, routing_key};
use crate::{MAX_BODY_BYTES, PublishError};

/// `delivery-mode` 2: the message survives a restart of the broker.
const PERSISTENT: u8 = 2;

/// A batch, encoded and addressed.
pub(super) struct Outgoing {
    routing_key: ShortString,
    body: Vec<u8>,
}

impl Outgoing {
    /// Encodes a batch; [`PublishError::NotSent`] if a worker would refuse to read it.
    pub(super) fn new(batch: &ReservationBatch) -> Result<Self, PublishError> {
        check_reservations(batch).map_err(|error| PublishError::NotSent(error.to_string()))?;
        let body = encode(batch);
        if body.len() > MAX_BODY_BYTES {
            return Err(PublishError::NotSent(format!("the body has {} bytes", body.len())));
        }
        Ok(Self { routing_key: routing_key(batch.sale_id, batch.epoch).into(), body })
    }

    /// Publishes on a confirming channel that carries no other unconfirmed message, and waits for the confirm.
    ///
    /// The channel must not be used again unless this returned a [`Confirmation`]. One message at a time, because the
    /// client library hands a returned message to whichever confirm it resolves next: with several outstanding, the
    /// confirm of an unroutable message could look like a success.
    pub(super) async fn publish(&self, channel: &Channel) -> lapin::Result<Confirmation> {
        let options = BasicPublishOptions { mandatory: true, immediate: false };
        let properties =
            BasicProperties::default().with_delivery_mode(PERSISTENT).with_content_type("application/json".into());
        let key = self.routing_key.clone();
        let confirm = channel.basic_publish(EXCHANGE.into(), key, options, &self.body, properties).await?;
        failpoints::reach(Point::BrokerPublished);
        confirm.await
    }
}

/// What may be promised after a confirm: only `Ack(None)` means that a queue has the message.
pub(super) fn judge(confirmation: lapin::Result<Confirmation>) -> Result<(), PublishError> {
    match confirmation {
        Ok(Confirmation::Ack(None)) => Ok(()),
        Ok(Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_))) => Err(PublishError::Returned),
        Ok(Confirmation::Nack(None)) => Err(PublishError::Unknown("the broker could not store it".to_owned())),
        Ok(Confirmation::NotRequested) => Err(PublishError::Unknown("the channel does not confirm".to_owned())),
        Err(error) => Err(PublishError::Unknown(error.to_string())),
    }
}
