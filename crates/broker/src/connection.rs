//! Connections and single commands, each with a limit on how long the broker may take.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::ops::Deref;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lapin::tcp::{AMQPUriTcpExt, AsyncTcpStream};
use lapin::uri::AMQPUri;
use lapin::{Channel, ConnectionProperties};
use secrecy::ExposeSecret;

use crate::{Config, Error};

/// AMQP's reply code for an orderly close.
const REPLY_SUCCESS: u16 = 200;

/// Largest frame, in bytes. The client library keeps room for 32 of them in each direction: 2 MiB in all, where the
/// broker's own limit would make it 8. A larger message is several frames.
const FRAME_MAX: u32 = 32 * 1024;

/// A connection that is gone when it is dropped, whatever the broker makes of it.
///
/// The client library runs each connection, and each attempt at one, on a thread that ends with its socket, and it takes
/// nothing back: left to itself, every attempt at a broker that accepts and then says nothing keeps a thread for good.
pub(crate) struct Connection {
    connection: lapin::Connection,
    _socket: Socket,
}

impl Deref for Connection {
    type Target = lapin::Connection;

    fn deref(&self) -> &Self::Target {
        &self.connection
    }
}

/// Connects as `name` (what the broker's own tools show). Nothing recovers by itself: whoever owns the connection
/// replaces it, so that no channel ever comes back without its owner knowing.
pub(crate) async fn connect(config: &Config, name: &str) -> Result<Connection, Error> {
    let mut uri: AMQPUri = config.url.expose_secret().parse().map_err(|_| Error::Url)?;
    uri.query.heartbeat = Some(config.heartbeat_seconds);
    uri.query.frame_max = Some(FRAME_MAX);
    let properties = ConnectionProperties::default().with_connection_name(format!("flashsale {name}").into());
    let limit = config.answer_timeout();
    // Shuts the socket down when this future fails or is dropped.
    let socket = Socket::default();
    let slot = Arc::clone(&socket.0);
    let runtime = lapin::runtime::default_runtime()?;
    let opened = lapin::Connection::connector(
        uri,
        runtime,
        async move |uri, runtime| {
            let opening = uri.connect_async(&runtime);
            // The library's thread waits for this one, also after the attempt was given up.
            let stream = tokio::time::timeout(limit, opening).await.map_err(io::Error::from).flatten()?;
            match &stream {
                AsyncTcpStream::Plain(plain) => fill(&slot, plain.get_ref().as_fd().try_clone_to_owned()?.into())?,
                _ => return Err(io::Error::from(io::ErrorKind::Unsupported).into()),
            }
            Ok(stream)
        },
        properties,
    );
    let connection = answer(limit, opened).await?;
    Ok(Connection { connection, _socket: socket })
}

/// A second handle on the socket of a connection, or of an attempt at one. Dropping it shuts the socket down.
#[derive(Default)]
struct Socket(Slot);

type Slot = Arc<Mutex<Stage>>;

#[derive(Default)]
enum Stage {
    #[default]
    Opening,
    Open(TcpStream),
    GivenUp,
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Stage::Open(socket) = std::mem::replace(&mut *stage(&self.0), Stage::GivenUp) {
            // It fails where the socket is closed already, which is what we want.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

/// Hands an open socket to whoever waits for the connection, if somebody still does.
fn fill(slot: &Slot, socket: TcpStream) -> io::Result<()> {
    let mut stage = stage(slot);
    if matches!(*stage, Stage::GivenUp) {
        return Err(io::ErrorKind::ConnectionAborted.into());
    }
    *stage = Stage::Open(socket);
    Ok(())
}

fn stage(slot: &Slot) -> MutexGuard<'_, Stage> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
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
