//! A connection to the API without an HTTP client: for what no client would send.

use std::future::pending;
use std::io;
use std::time::Duration;

use testkit::Client;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::fixture::{PURCHASE, SOON};

/// One connection.
pub(crate) struct Line(pub(crate) TcpStream);

impl Line {
    pub(crate) async fn to(client: &Client) -> Self {
        let address = client.url().strip_prefix("http://").unwrap();
        Self(TcpStream::connect(address).await.unwrap())
    }

    /// Sends, to an API that reads.
    pub(crate) async fn say(&mut self, text: impl AsRef<[u8]>) {
        timeout(SOON, self.0.write_all(text.as_ref())).await.expect("the API reads").unwrap();
    }

    /// What the API says until it closes the connection, however it does that, and that it does so within `limit`.
    pub(crate) async fn hear_out(&mut self, limit: Duration) -> String {
        let mut said = Vec::new();
        let end = timeout(limit, self.0.read_to_end(&mut said)).await;
        let heard = String::from_utf8_lossy(&said).into_owned();
        match end.unwrap_or_else(|_| panic!("still open after {limit:?}, said {heard:?}")) {
            Err(error) if error.kind() != io::ErrorKind::ConnectionReset => panic!("{error}"),
            _ => heard,
        }
    }

    /// Hears at least `enough` bytes, of a connection that may stay open.
    pub(crate) async fn hear(&mut self, enough: usize) -> String {
        let mut said = Vec::new();
        while said.len() < enough {
            let read = timeout(SOON, self.0.read_buf(&mut said)).await.expect("an answer in time").unwrap();
            assert_ne!(read, 0, "closed after {:?}", String::from_utf8_lossy(&said));
        }
        String::from_utf8_lossy(&said).into_owned()
    }

    /// Sends the bytes of `text` over and over, one each `pause`, and hears what the API says until it closes the
    /// connection, which must be within `limit`.
    pub(crate) async fn drip(&mut self, text: &str, pause: Duration, limit: Duration) -> String {
        let (mut from, mut to) = self.0.split();
        let drip = async {
            let mut pause = tokio::time::interval(pause);
            for byte in text.bytes().cycle() {
                pause.tick().await;
                if to.write_all(&[byte]).await.is_err() {
                    break;
                }
            }
            // The end is what the other side hears.
            pending::<()>().await;
        };
        let mut said = Vec::new();
        let end = timeout(limit, async {
            tokio::select! {
                end = from.read_to_end(&mut said) => end.map(drop),
                () = drip => Ok(()),
            }
        });
        assert!(end.await.is_ok(), "still open after {limit:?}, said {:?}", String::from_utf8_lossy(&said));
        String::from_utf8_lossy(&said).into_owned()
    }
}

/// The head of a click with this body length, or with a chunked body.
pub(crate) fn click_head(length: Option<usize>) -> String {
    let body = length.map_or("transfer-encoding: chunked".to_owned(), |length| format!("content-length: {length}"));
    format!("POST {PURCHASE} HTTP/1.1\r\nhost: shop\r\ncontent-type: application/json\r\n{body}\r\n")
}
