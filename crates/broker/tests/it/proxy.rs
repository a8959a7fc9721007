//! A wire to the broker that can be cut.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, tcp};
use tokio::sync::watch;

/// The state of the wire.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) enum Wire {
    /// Both directions pass.
    Open,
    /// What the broker says is held back; what it is told passes.
    Mute,
    /// Every connection is reset, and new ones too.
    Cut,
}

/// Forwards connections to the server under test.
pub(crate) struct Proxy {
    address: SocketAddr,
    wire: watch::Sender<Wire>,
}

impl Proxy {
    /// A proxy on a port of its own, with an open wire.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, wire) = watch::channel(Wire::Open);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(forward(client, wire.clone()));
            }
        });
        Self { address, wire: sender }
    }

    /// The URL of the server under test, by way of the proxy.
    pub(crate) fn url(&self) -> String {
        super::fixture::url().replace(&broker_address(), &self.address.to_string())
    }

    /// Changes the state of the wire.
    pub(crate) fn set(&self, wire: Wire) {
        self.wire.send_replace(wire);
    }
}

/// The `host:port` of the server under test.
fn broker_address() -> String {
    let url = super::fixture::url();
    let authority = url.trim_start_matches("amqp://").split('/').next().unwrap();
    authority.rsplit('@').next().unwrap().to_owned()
}

async fn forward(client: TcpStream, mut wire: watch::Receiver<Wire>) {
    if *wire.borrow() == Wire::Cut {
        return;
    }
    let server = TcpStream::connect(broker_address()).await.unwrap();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let may_speak = wire.clone();
    tokio::select! {
        () = pass(from_client, to_server, None) => {}
        () = pass(from_server, to_client, Some(may_speak)) => {}
        _ = wire.wait_for(|wire| *wire == Wire::Cut) => {}
    }
}

async fn pass(mut from: tcp::OwnedReadHalf, mut to: tcp::OwnedWriteHalf, unless_mute: Option<watch::Receiver<Wire>>) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        // A cut wire delivers nothing of what a mute one held back.
        if let Some(mut wire) = unless_mute.clone()
            && !wire.wait_for(|wire| *wire != Wire::Mute).await.is_ok_and(|wire| *wire == Wire::Open)
        {
            return;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
