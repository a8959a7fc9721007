//! One lazily made, multiplexed connection that is replaced when it can no longer be trusted.
//!
//! `redis::aio::ConnectionManager` does not serve here: it needs a runtime when it is created, makes callers wait
//! through its backoff, and keeps a connection that times out (a cut wire) or leads to a replica (`READONLY`).

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, FromRedisValue, IntoConnectionInfo, Pipeline, RedisError,
    ServerErrorKind,
};
use secrecy::ExposeSecret;

use crate::{Config, Error};

/// A connection in the making or made. All who ask for it at once wait for the same attempt and share its outcome.
type Wire = Shared<BoxFuture<'static, Result<MultiplexedConnection, RedisError>>>;

pub(crate) struct Connection {
    client: Client,
    timeouts: AsyncConnectionConfig,
    wire: Mutex<Option<Wire>>,
}

impl Connection {
    /// Not connected yet; needs no runtime.
    pub(crate) fn new(config: &Config) -> Result<Self, Error> {
        let address = config.url.expose_secret().into_connection_info().map_err(Error::Url)?;
        // A batch must not wait for the acknowledgement of the one before (Nagle).
        let address = address.set_tcp_settings(TcpSettings::default().set_nodelay(true));
        let timeouts = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(Duration::from_millis(config.connect_timeout_ms)))
            .set_response_timeout(Some(Duration::from_millis(config.response_timeout_ms)));
        Ok(Self { client: Client::open(address).map_err(Error::Url)?, timeouts, wire: Mutex::new(None) })
    }

    /// Sends a command once.
    pub(crate) async fn call<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Error> {
        let (wire, mut connection) = self.connected().await?;
        let answer = command.query_async(&mut connection).await;
        self.judge(&wire, answer)
    }

    /// Sends a command, and if it cannot be known whether it ran then `again`, once. For idempotent commands only, of
    /// which the second does nothing that the first has done.
    ///
    /// `read` makes sense of an answer. That the epoch is lost says nothing of a first call that may have run before
    /// it was: what that one wrote may be on disk, so its own error stands.
    pub(crate) async fn call_repeatable<T: FromRedisValue, R>(
        &self,
        command: &Cmd,
        again: impl FnOnce() -> Cmd,
        read: impl FnOnce(T) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let (wire, mut connection) = self.connected().await?;
        let (first, second) = match command.query_async(&mut connection).await {
            // Over the same wire, so that Redis cannot run the late first call after the second: what the second
            // call is told stays true.
            Err(error) if error.is_timeout() => {
                let answer = again().query_async(&mut connection).await;
                (error, self.judge(&wire, answer))
            }
            Err(error) if error.is_connection_dropped() => {
                self.forget(&wire);
                (error, self.call(&again()).await)
            }
            answer => return self.judge(&wire, answer).and_then(read),
        };
        match second.and_then(read) {
            Err(Error::Lost(_)) => Err(Error::Unreachable(first)),
            told => told,
        }
    }

    /// Sends several commands in one go, once.
    pub(crate) async fn pipeline<T: FromRedisValue>(&self, commands: &Pipeline) -> Result<T, Error> {
        let (wire, mut connection) = self.connected().await?;
        let answer = commands.query_async(&mut connection).await;
        self.judge(&wire, answer)
    }

    async fn connected(&self) -> Result<(Wire, MultiplexedConnection), Error> {
        let wire = self.slot().get_or_insert_with(|| self.connect()).clone();
        match wire.clone().await {
            Ok(connection) => Ok((wire, connection)),
            Err(error) => {
                self.forget(&wire);
                Err(Error::Unreachable(error))
            }
        }
    }

    fn connect(&self) -> Wire {
        let (client, timeouts) = (self.client.clone(), self.timeouts.clone());
        async move { client.get_multiplexed_async_connection_with_config(&timeouts).await }.boxed().shared()
    }

    /// Sorts an answer and lets go of a wire that gave a bad one.
    fn judge<T>(&self, wire: &Wire, answer: Result<T, RedisError>) -> Result<T, Error> {
        if answer.as_ref().is_err_and(discredits_its_wire) {
            self.forget(wire);
        }
        answer.map_err(Error::from)
    }

    /// The next call makes a new connection, unless another caller has replaced this one already.
    fn forget(&self, wire: &Wire) {
        let mut slot = self.slot();
        if slot.as_ref().is_some_and(|current| current.ptr_eq(wire)) {
            *slot = None;
        }
    }

    fn slot(&self) -> MutexGuard<'_, Option<Wire>> {
        self.wire.lock().expect("nothing panics while holding the slot")
    }
}

/// Whether another connection may do better: this one is broken, silent, or ends at a server that became a replica.
fn discredits_its_wire(error: &RedisError) -> bool {
    error.is_timeout() || error.is_unrecoverable_error() || error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
}
