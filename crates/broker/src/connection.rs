//! Connections and single commands, each with a limit on how long the broker may take.

use std::time::Duration;

use lapin::uri::AMQPUri;
use lapin::{Channel, Connection, ConnectionProperties};
use secrecy::ExposeSecret;

use crate::{Config, Error};

/// AMQP's reply code for an orderly close.
const REPLY_SUCCESS: u16 = 200;

/// Connects as `name` (what the broker's own tools show). Nothing recovers by itself: whoever owns the connection
/// replaces it, so that no channel ever comes back without its owner knowing.
///
/// The client library cannot take an attempt back: one that is given up keeps a thread until the peer closes.
pub(crate) async fn connect(config: &Config, name: &str) -> Result<Connection, Error> {
    let mut uri: AMQPUri = config.url.expose_secret().parse().map_err(|_| Error::Url)?;
    uri.query.heartbeat = Some(config.heartbeat_seconds);
    let properties = ConnectionProperties::default().with_connection_name(format!("flashsale {name}").into());
    answer(config.answer_timeout(), Connection::connect_uri(uri, properties)).await
}

/// Closes a connection in good order, or gives up after `limit`.
pub(crate) async fn close(connection: &Connection, limit: Duration) {
    if let Err(error) = answer(limit, connection.close(REPLY_SUCCESS, "OK".into())).await {
        tracing::debug!(%error, "the broker connection did not close in good order");
    }
}

/// Closes a channel in good order: what it held unacknowledged goes back to its queue.
pub(crate) async fn close_channel(channel: &Channel, limit: Duration) {
    if let Err(error) = answer(limit, channel.close(REPLY_SUCCESS, "OK".into())).await {
        tracing::debug!(%error, "the broker channel did not close in good order");
    }
}

/// Runs one command on a channel of its own, because a command that the broker refuses closes its channel.
pub(crate) async fn on_own_channel<T>(
    connection: &Connection,
    limit: Duration,
    command: impl AsyncFnOnce(&Channel) -> lapin::Result<T>,
) -> Result<T, Error> {
    let channel = answer(limit, connection.create_channel()).await?;
    let reply = answer(limit, command(&channel)).await?;
    close_channel(&channel, limit).await;
    Ok(reply)
}

/// Waits for the broker's answer, at most `limit`.
pub(crate) async fn answer<T>(limit: Duration, reply: impl Future<Output = lapin::Result<T>>) -> Result<T, Error> {
    match tokio::time::timeout(limit, reply).await {
        Ok(reply) => Ok(reply?),
        Err(_) => Err(Error::Timeout(limit)),
    }
}
