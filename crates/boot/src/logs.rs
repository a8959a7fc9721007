//! Logs: for people on a terminal, JSON lines otherwise.

use std::io::{self, IsTerminal};

use serde::Deserialize;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{FilterExt, LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::settings::{InvalidSettings, Log};

/// What no filter switches on: lapin logs the frames that it sends, the one with the password of RabbitMQ included.
const NEVER: &[&str] = &["lapin", "amq_protocol"];

/// How a log line looks.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// `Human` where standard output is a terminal, `Json` otherwise.
    Auto,
    /// One coloured line per event.
    Human,
    /// One JSON object per line.
    Json,
}

/// Sends every log line of the process to standard output.
///
/// # Errors
/// The filter in `log.filter` cannot be understood.
///
/// # Panics
/// A log was started before.
pub fn start(log: &Log) -> Result<(), InvalidSettings> {
    let filter: Targets = log.filter.parse().map_err(|error| InvalidSettings::field("log.filter", &error))?;
    let harmless = NEVER.iter().map(|target| (*target, LevelFilter::OFF));
    let harmless = Targets::new().with_default(LevelFilter::TRACE).with_targets(harmless);
    let human = match log.format {
        LogFormat::Auto => io::stdout().is_terminal(),
        LogFormat::Human => true,
        LogFormat::Json => false,
    };
    let lines = tracing_subscriber::fmt::layer();
    let lines = if human { lines.boxed() } else { lines.json().flatten_event(true).with_span_list(false).boxed() };
    tracing_subscriber::registry().with(lines.with_filter(filter.and(harmless))).init();
    Ok(())
}
