//! `flashsale-api`: answers buyers and operators over HTTP, until SIGTERM. `flashsale-api routes` prints what it answers.

mod app;
mod batcher;
mod body;
mod caller;
mod client_ip;
mod connections;
mod deadline;
mod error;
mod exchange;
mod fixed;
mod front;
mod guard;
mod limits;
mod live;
mod openapi;
mod pending;
mod query;
mod routes;
mod sold_out;
mod tally;
mod tokens;
mod traffic;
mod turns;
mod view;

use std::time::Duration;

use anyhow::Result;
use boot::{Settings, Watchdog, Worker};

use crate::app::Process;

/// How long writing the last counts and saying good-bye may take.
const LAST_WORDS: Duration = Duration::from_secs(4);
/// How much later than `stop_seconds` the process ends at the latest, an HTTP thread that is stuck or not: together
/// they stay below the 30 s after which orchestrators kill.
const END_AFTER_STOP_SECONDS: u64 = LAST_WORDS.as_secs() + 2;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[actix_web::main]
async fn main() -> Result<()> {
    if std::env::args().nth(1).as_deref() == Some("routes") {
        print!("{}", routes::listing());
        return Ok(());
    }
    let settings = Settings::load()?;
    boot::start_logs(&settings.log)?;
    boot::Servers::of(&settings).tell();
    let stop_seconds = settings.api.stop_seconds;
    let watchdog = Watchdog::start(&Worker {
        watchdog_seconds: settings.worker.watchdog_seconds,
        stop_seconds: stop_seconds.saturating_add(END_AFTER_STOP_SECONDS),
    })?;
    let process = Process::start(&settings)?;
    let server = app::listen(&process, &settings)?;
    let handle = server.handle();
    let serving = tokio::spawn(server);
    tokio::select! {
        stopped = watchdog.stop_requested() => stopped?,
        ended = process.background_failed() => ended?,
    }
    process.live.end();
    // Accepted requests finish first, then what they have counted is written.
    let _ = tokio::time::timeout(Duration::from_secs(stop_seconds), handle.stop(true)).await;
    // Never ends where a thread is blocked for good; the watchdog does not wait for it.
    serving.await??;
    if tokio::time::timeout(LAST_WORDS, process.stop()).await.is_err() {
        tracing::warn!(limit = ?LAST_WORDS, "a server does not let go of us, stopping without");
    }
    Ok(())
}
