//! One client's stream.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use actix_web::web::Bytes;
use futures_util::stream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::sleep;

use super::Change;
use super::orders::Listener;
use crate::connections::Connection;

/// When clients come back after their stream has ended, in milliseconds: each at another moment of this span, because a
/// process that stops ends all of its streams at once.
const COME_BACK: std::ops::Range<u32> = 1_000..3_000;
/// A client that has taken nothing for so many heartbeats is gone.
const PATIENCE: u32 = 3;

/// What one client is told. The next event is made when there is room for it, of what is true then.
pub(crate) struct Stream {
    first: Option<Bytes>,
    sale: watch::Receiver<Change>,
    order: Option<Listener>,
    heartbeat: Duration,
    connection: Option<Rc<Connection>>,
    /// Free again when this is dropped.
    _place: OwnedSemaphorePermit,
}

impl Stream {
    pub(super) fn new(sale: watch::Receiver<Change>, place: OwnedSemaphorePermit, heartbeat: Duration) -> Self {
        Self { first: None, sale, order: None, heartbeat, connection: None, _place: place }
    }

    /// Begins with the present state, unless its id is the one that the client has `seen` last.
    pub(super) fn resumed_at(mut self, seen: Option<&[u8]>) -> Self {
        let now = self.sale.borrow_and_update();
        let snapshot = if seen == Some(now.id.as_bytes()) { &[] } else { &*now.event };
        let come_back = format!("retry: {}\n\n", rand::random_range(COME_BACK));
        self.first = Some([come_back.as_bytes(), snapshot].concat().into());
        drop(now);
        self
    }

    pub(super) fn with_order(mut self, order: Option<Listener>) -> Self {
        self.order = order;
        self
    }

    pub(super) fn on(mut self, connection: Option<Rc<Connection>>) -> Self {
        connection.iter().for_each(|connection| connection.stream(self.patience()));
        self.connection = connection;
        self
    }

    /// As the body of an answer.
    pub(crate) fn into_body(self) -> impl stream::Stream<Item = Result<Bytes, actix_web::Error>> {
        stream::unfold(self, async |mut stream| {
            let next = stream.next().await?;
            stream.connection.iter().for_each(|connection| connection.last_for(stream.patience()));
            Some((Ok(next), stream))
        })
    }

    /// What to say next; `None`: nothing more.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        tokio::select! {
            () = gone(self.connection.as_deref()) => None,
            changed = self.sale.changed() => {
                changed.ok()?;
                Some(self.sale.borrow_and_update().event.clone())
            }
            event = told(&mut self.order) => event,
            () = sleep(self.heartbeat) => Some(Bytes::from_static(b":\n\n")),
        }
    }

    fn patience(&self) -> Duration {
        self.heartbeat * PATIENCE
    }
}

/// Resolves where the client has gone. Whoever drives a connection polls its body when bytes, or their end, come in.
async fn gone(connection: Option<&Connection>) {
    poll_fn(|_| match connection {
        Some(connection) if connection.has_ended() => Poll::Ready(()),
        _ => Poll::Pending,
    })
    .await;
}

/// The order's next state; never, where none is listened to.
async fn told(order: &mut Option<Listener>) -> Option<Bytes> {
    match order {
        Some(order) => order.next().await,
        None => std::future::pending().await,
    }
}
