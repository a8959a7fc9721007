//! A wire to a server that can be cut, slowed and made silent in one direction. Its port stays bound all the while.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, tcp};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// Pieces read and not yet passed on, per direction: beyond that the sender is held up, as a full buffer would.
const LONGEST_QUEUE: usize = 1024;

/// The state of a wire.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wire {
    /// Both directions pass.
    Open,
    /// Both directions pass, this much later.
    Slow(Duration),
    /// What the server says is held back; what it is told passes.
    ServerMute,
    /// What the client says is held back; what it is told passes.
    ClientMute,
    /// Nothing passes and nothing ends: a black hole.
    Silent,
    /// Every connection ends, new ones as soon as they are accepted.
    Cut,
    /// This many more frames of the server pass (one frame: what it sent in one piece), then the wire is cut.
    CutAfter(u32),
}

/// Forwards connections to a server.
pub struct Proxy {
    address: SocketAddr,
    server: Arc<Mutex<String>>,
    state: watch::Sender<State>,
}

#[derive(Clone, Copy)]
struct State {
    wire: Wire,
    /// Connections of an older generation end.
    generation: u32,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Speaker {
    Client,
    Server,
}

impl Proxy {
    /// A proxy on a port of its own before the server of this URL, with an open wire.
    ///
    /// # Panics
    /// No port is free, or the URL names no `host:port`.
    pub async fn before(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound port");
        let server = Arc::new(Mutex::new(authority(url).to_owned()));
        let (state, _) = watch::channel(State { wire: Wire::Open, generation: 0 });
        let (target, wire) = (Arc::clone(&server), state.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = target.lock().expect("nothing panics with it").clone();
                tokio::spawn(forward(client, server, wire.clone()));
            }
        });
        Self { address, server, state }
    }

    /// The same URL by way of the proxy.
    #[must_use]
    pub fn url_of(&self, url: &str) -> String {
        url.replacen(authority(url), &self.address.to_string(), 1)
    }

    /// Changes the state of the wire.
    pub fn set(&self, wire: Wire) {
        self.state.send_modify(|state| state.wire = wire);
    }

    /// The state of the wire now: [`Wire::CutAfter`] has become [`Wire::Cut`] once it has fired.
    #[must_use]
    pub fn wire(&self) -> Wire {
        self.state.borrow().wire
    }

    /// Leads new connections to the server of another URL, as a failover does, and ends the present ones.
    ///
    /// # Panics
    /// The URL names no `host:port`.
    pub fn lead_to(&self, url: &str) {
        authority(url).clone_into(&mut self.server.lock().expect("nothing panics with it"));
        self.state.send_modify(|state| state.generation += 1);
    }
}

/// `host:port` of a URL.
fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    assert!(host.contains(':'), "a URL with a port");
    host
}

async fn forward(client: TcpStream, server: String, state: watch::Sender<State>) {
    let born = *state.borrow();
    if born.wire == Wire::Cut {
        return;
    }
    let Ok(server) = TcpStream::connect(server).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let mut seen = state.subscribe();
    let ended = seen.wait_for(|now| now.wire == Wire::Cut || now.generation != born.generation);
    tokio::select! {
        () = pass(Speaker::Client, from_client, to_server, &state) => {}
        () = pass(Speaker::Server, from_server, to_client, &state) => {}
        _ = ended => {}
    }
}

/// Reads at once and passes on when the wire allows: latency must not become a limit of throughput.
async fn pass(
    speaker: Speaker,
    mut from: tcp::OwnedReadHalf,
    mut to: tcp::OwnedWriteHalf,
    state: &watch::Sender<State>,
) {
    let (sender, mut queue) = mpsc::channel::<(Instant, Vec<u8>)>(LONGEST_QUEUE);
    let read = async move {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            let latency = match state.borrow().wire {
                Wire::Slow(latency) => latency,
                _ => Duration::ZERO,
            };
            if sender.send((Instant::now() + latency, buffer[..length].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let write = async move {
        let mut seen = state.subscribe();
        while let Some((at, piece)) = queue.recv().await {
            tokio::time::sleep_until(at).await;
            let passes = seen.wait_for(|state| !holds_back(state.wire, speaker)).await.map(|state| state.wire);
            // A cut wire delivers nothing of what a silent one held back.
            if !passes.is_ok_and(|wire| wire != Wire::Cut) || to.write_all(&piece).await.is_err() {
                return;
            }
            if speaker == Speaker::Server {
                state.send_if_modified(|state| count_down(&mut state.wire));
            }
        }
    };
    tokio::join!(read, write);
}

fn holds_back(wire: Wire, speaker: Speaker) -> bool {
    match wire {
        Wire::Silent => true,
        Wire::ServerMute => speaker == Speaker::Server,
        Wire::ClientMute => speaker == Speaker::Client,
        Wire::Open | Wire::Slow(_) | Wire::Cut | Wire::CutAfter(_) => false,
    }
}

fn count_down(wire: &mut Wire) -> bool {
    let Wire::CutAfter(left) = *wire else { return false };
    *wire = if left <= 1 { Wire::Cut } else { Wire::CutAfter(left - 1) };
    true
}
