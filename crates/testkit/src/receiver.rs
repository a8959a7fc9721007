//! The back end of a shop that listens to webhooks. It checks each signature with another library than the sender's, and
//! misbehaves as it is told.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rand::random;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::wait::until;

/// How far the sender's clock may be off, in seconds.
const TOLERANCE_SECONDS: u64 = 300;

/// What a receiver does with an event it has read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Manner {
    /// Answers with this status and a few words.
    Answers(u16),
    /// Answers with this status, and a body that never ends.
    Babbles(u16),
    /// Answers that it has moved to where it must not be followed.
    Moves,
    /// Never answers.
    Hangs,
    /// Hangs up without an answer.
    HangsUp,
}

/// An event that came in, with a signature that is good.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// The header `webhook-id`.
    pub id: String,
    /// The body.
    pub body: Value,
}

impl Delivery {
    /// The body's `type`.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.body["type"].as_str().unwrap_or_default()
    }
}

struct Desk {
    key: Vec<u8>,
    manner: Mutex<Manner>,
    received: Mutex<Vec<Result<Delivery, String>>>,
}

/// A receiver. It listens until it is dropped or [`Receiver::down`].
pub struct Receiver {
    desk: Arc<Desk>,
    address: SocketAddr,
    listening: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl Receiver {
    /// A receiver with a secret of its own, that answers 200.
    ///
    /// # Panics
    /// It cannot listen.
    pub async fn start() -> Self {
        let desk = Desk {
            key: random::<[u8; 32]>().to_vec(),
            manner: Mutex::new(Manner::Answers(200)),
            received: Mutex::default(),
        };
        let (desk, listener) = (Arc::new(desk), TcpListener::bind("127.0.0.1:0").await.expect("a free port"));
        let address = listener.local_addr().expect("an address");
        let listening = tokio::spawn(listen(Arc::clone(&desk), listener));
        Self { desk, address, listening }
    }

    /// The settings of a keeper that tells this receiver. It loses patience and tries again sooner than in production.
    #[must_use]
    pub fn settings(&self) -> Vec<(String, String)> {
        [
            ("URL", format!("http://{}/hooks", self.address)),
            ("SECRET", format!("whsec_{}", BASE64_STANDARD.encode(&self.desk.key))),
            ("POLL_MS", "50".to_owned()),
            ("TIMEOUT_MS", "1000".to_owned()),
            ("RETRY_MS", "100".to_owned()),
        ]
        .map(|(name, value)| (format!("FLASHSALE__WEBHOOKS__{name}"), value))
        .to_vec()
    }

    /// Does so from the next event on.
    pub fn behave(&self, manner: Manner) {
        *lock(&self.desk.manner) = manner;
    }

    /// Stops listening.
    pub async fn down(&mut self) {
        self.listening.abort();
        let _ = (&mut self.listening).await;
    }

    /// Listens again, at the same address.
    ///
    /// # Panics
    /// Somebody else has taken the port.
    pub async fn up(&mut self) {
        let listener = TcpListener::bind(self.address).await.expect("the port is still free");
        self.listening = tokio::spawn(listen(Arc::clone(&self.desk), listener));
    }

    /// Everything that came in, whatever it was answered.
    ///
    /// # Panics
    /// One of them was not as it should be.
    #[must_use]
    pub fn received(&self) -> Vec<Delivery> {
        lock(&self.desk.received).iter().map(|one| one.clone().expect("an event that is signed")).collect()
    }

    /// The ids of the events of this type that came in about this sale.
    #[must_use]
    pub fn ids(&self, kind: &str, sale: domain::SaleId) -> BTreeSet<String> {
        let sale = sale.to_string();
        let of = |one: &Delivery| one.kind() == kind && one.body["data"]["saleId"] == sale.as_str();
        self.received().into_iter().filter(of).map(|one| one.id).collect()
    }

    /// Waits until `count` events of this type about this sale have come in.
    pub async fn heard(&self, kind: &str, sale: domain::SaleId, count: usize, within: Duration) {
        let heard = async || (self.ids(kind, sale).len() >= count).then_some(());
        until(&format!("{count} {kind} have come in"), within, heard).await;
    }
}

async fn listen(desk: Arc<Desk>, listener: TcpListener) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((connection, _)) = listener.accept().await {
        // Dropped with this task: who is down has no connections.
        connections.spawn(serve(Arc::clone(&desk), connection));
    }
}

/// Reads requests and answers them, one after the other, until the sender goes.
async fn serve(desk: Arc<Desk>, mut connection: TcpStream) {
    let mut read = Vec::new();
    while let Some((head, body)) = request(&mut connection, &mut read).await {
        lock(&desk.received).push(desk.check(&head, &body));
        let manner = *lock(&desk.manner);
        let answer = match manner {
            Manner::Answers(status) => format!("HTTP/1.1 {status} Said\r\ncontent-length: 4\r\n\r\nwell"),
            Manner::Babbles(status) => format!("HTTP/1.1 {status} Said\r\ntransfer-encoding: chunked\r\n\r\n"),
            Manner::Moves => "HTTP/1.1 307 Moved\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n".to_owned(),
            Manner::Hangs => std::future::pending().await,
            Manner::HangsUp => return,
        };
        let mut sent = connection.write_all(answer.as_bytes()).await;
        while sent.is_ok() && matches!(manner, Manner::Babbles(_)) {
            sent = connection.write_all(b"4\r\nblah\r\n").await;
        }
        if sent.is_err() {
            return;
        }
    }
}

/// The next request's head and body; `None` where there is none.
async fn request(connection: &mut TcpStream, read: &mut Vec<u8>) -> Option<(String, Vec<u8>)> {
    let mut head_ends = None;
    let (head_ends, length) = loop {
        head_ends = head_ends.or_else(|| read.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4));
        if let Some(ends) = head_ends {
            let head = str::from_utf8(&read[..ends]).ok()?;
            let length: usize = header(head, "content-length")?.parse().ok()?;
            if read.len() >= ends + length {
                break (ends, length);
            }
        }
        if connection.read_buf(read).await.ok()? == 0 {
            return None;
        }
    };
    let mut request: Vec<u8> = read.drain(..head_ends + length).collect();
    let body = request.split_off(head_ends);
    Some((String::from_utf8(request).ok()?, body))
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

impl Desk {
    /// The event, if one of its signatures is good.
    fn check(&self, head: &str, body: &[u8]) -> Result<Delivery, String> {
        if !head.starts_with("POST /hooks HTTP/1.1\r\n") {
            return Err(format!("nobody was to ask this: {head}"));
        }
        let field = |name: &str| header(head, name).ok_or_else(|| format!("no {name}: {head}"));
        let (id, sent_at, signatures) =
            (field("webhook-id")?, field("webhook-timestamp")?, field("webhook-signature")?);
        let seconds: u64 = sent_at.parse().map_err(|_| format!("not a time: {sent_at}"))?;
        if seconds.abs_diff(boot::clock::now_ms() / 1_000) > TOLERANCE_SECONDS {
            return Err(format!("sent at {sent_at}"));
        }
        let signed = [id.as_bytes(), b".", sent_at.as_bytes(), b".", body].concat();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.key);
        let is_good = |signature: &str| {
            let mac = signature.strip_prefix("v1,").and_then(|mac| BASE64_STANDARD.decode(mac).ok());
            mac.is_some_and(|mac| hmac::verify(&key, &signed, &mac).is_ok())
        };
        if !signatures.split(' ').any(is_good) {
            return Err(format!("{signatures} is no signature of {}", String::from_utf8_lossy(body)));
        }
        let body: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        if body["id"] != id {
            return Err(format!("{id} is the id of {body}"));
        }
        Ok(Delivery { id: id.to_owned(), body })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
