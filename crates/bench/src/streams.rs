//! Streams of live status: what one costs the API in memory.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use domain::SaleId;
use futures_util::{StreamExt, TryStreamExt, stream};
use testkit::Stack;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::bench::{Effort, allow_files, resident_mib};
use crate::figure::{Figure, Wanted};

const STREAMS: u32 = 10_000;
/// The API holds two files for each connection, and half of its connections may be streams.
const FILES_EACH: u32 = 4;
const OTHER_FILES: u32 = 1_000;
/// Streams that are opened at the same time.
const AT_ONCE: usize = 100;
const PATIENCE: Duration = Duration::from_secs(30);

/// KiB each of ten thousand streams, once each has read its first state: of as many API processes as the limit of open
/// files takes.
pub(crate) async fn measure(stack: &Stack, effort: Effort) -> Result<Vec<Figure>> {
    let files = allow_files(u64::from(STREAMS * FILES_EACH + OTHER_FILES));
    let files = u32::try_from(files).unwrap_or(u32::MAX);
    ensure!(files > STREAMS + OTHER_FILES, "the limit of open files, {files}, allows no {STREAMS} streams");
    let apis = STREAMS.div_ceil((files - OTHER_FILES) / FILES_EACH);
    let share = STREAMS.div_ceil(apis);
    let (most_streams, most_connections) = ((share + 1).to_string(), (2 * share + 2).to_string());
    let changes =
        [("FLASHSALE__API__MAX_STREAMS", &*most_streams), ("FLASHSALE__API__MAX_CONNECTIONS", &*most_connections)];
    let mut each = vec![];
    for _ in 0..effort.rounds {
        let sale = stack.create_sale(1_000).await;
        stack.reconcile().await;
        let mut more_mib = 0.0;
        let mut open: Vec<TcpStream> = vec![];
        // New ones each time: memory that was once used stays with a process.
        let mut running = vec![];
        for _ in 0..apis {
            let api = stack.api_with(&changes).await;
            let address = api.client.url().trim_start_matches("http://");
            // What the first stream brings along is the price of none.
            drop(listen(address, sale).await?);
            let before = resident_mib(&api.process)?;
            let streams = stream::iter(0..share).map(|_| listen(address, sale)).buffer_unordered(AT_ONCE);
            open.extend(streams.try_collect::<Vec<_>>().await?);
            more_mib += resident_mib(&api.process)? - before;
            running.push(api);
        }
        each.push(more_mib * 1_024.0 / f64::from(apis * share));
    }
    Ok(vec![
        Figure::new("sse_kib_each", "KiB", each).wanted(Wanted::AtMost(12.0)),
        Figure::new("sse_streams", "1", vec![f64::from(apis * share)]),
        Figure::new("sse_processes", "1", vec![f64::from(apis)]),
    ])
}

/// An open stream that has read its first state.
async fn listen(address: &str, sale: SaleId) -> Result<TcpStream> {
    let mut wire = TcpStream::connect(address).await.context("connect to the API")?;
    let ask =
        format!("GET /api/v1/sale/{sale}/events HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\n\r\n");
    wire.write_all(ask.as_bytes()).await?;
    let mut said = Vec::new();
    let read = async {
        while !said.windows(5).any(|bytes| bytes == b"data:") {
            let read = wire.read_buf(&mut said).await?;
            ensure!(read > 0, "the API closed a stream");
        }
        Ok(())
    };
    let heard = timeout(PATIENCE, read).await.context("a first state in time").flatten();
    heard.with_context(|| format!("the API said {:?}", String::from_utf8_lossy(&said)))?;
    Ok(wire)
}
