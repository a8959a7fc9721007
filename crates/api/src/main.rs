//! `flashsale-api`: answers buyers and operators over HTTP, until SIGTERM.

mod app;
mod batcher;
mod error;
mod exchange;
mod guard;
mod routes;
mod tally;
mod view;

use std::time::Duration;

use anyhow::Result;
use boot::Settings;

use crate::app::Process;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[actix_web::main]
async fn main() -> Result<()> {
    let settings = Settings::load()?;
    boot::start_logs(&settings.log)?;
    let process = Process::start(&settings)?;
    let server = app::listen(&process, &settings.api)?;
    let handle = server.handle();
    let serving = tokio::spawn(server);
    tokio::select! {
        stopped = boot::stop_requested() => stopped?,
        ended = process.background_failed() => ended?,
    }
    // Accepted requests finish first, then what they have counted is written.
    let _ = tokio::time::timeout(Duration::from_secs(settings.api.stop_seconds), handle.stop(true)).await;
    serving.await??;
    process.stop().await;
    Ok(())
}
