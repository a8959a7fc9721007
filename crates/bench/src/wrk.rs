//! Load by wrk, with the scripts in `crates/bench/wrk/`.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use domain::SaleId;
use serde::Deserialize;
use tokio::process::Command;

const PURCHASE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/wrk/purchase.lua");
const GET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/wrk/get.lua");
/// Threads of wrk: one for each core that we have been measured on.
pub(crate) const THREADS: usize = 2;

/// What wrk has seen.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Load {
    requests: u64,
    microseconds: u64,
    status_errors: u64,
    socket_errors: u64,
}

impl Load {
    /// Answers a second.
    ///
    /// # Errors
    /// Some were errors.
    pub(crate) fn per_second(self) -> Result<f64> {
        Ok(per_second(self.answers()?, Duration::from_micros(self.microseconds)))
    }

    /// All answers.
    ///
    /// # Errors
    /// Some were errors.
    pub(crate) fn answers(self) -> Result<u64> {
        ensure!(self.status_errors == 0 && self.socket_errors == 0, "not everybody was answered: {self:?}");
        Ok(self.requests)
    }
}

pub(crate) fn per_second(count: u64, took: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts of a benchmark are far below 2^52")]
    let count = count as f64;
    count / took.as_secs_f64()
}

/// Clicks of new buyers.
pub(crate) struct Clicks<'a> {
    pub(crate) url: &'a str,
    pub(crate) connections: usize,
    /// Makes the buyers new.
    pub(crate) run: &'a str,
    /// How many clicks a sale gets before the next one's turn; 0: each click goes to another sale.
    pub(crate) per_sale: u64,
    /// How many clicks in all, and a few more; 0: as many as there is time for.
    pub(crate) most: u64,
    pub(crate) sales: &'a [SaleId],
}

impl<'a> Clicks<'a> {
    /// As many as there is time for.
    pub(crate) fn of(url: &'a str, connections: usize, run: &'a str, sales: &'a [SaleId]) -> Self {
        Self { url, connections, run, sales, per_sale: 0, most: 0 }
    }

    pub(crate) async fn send(&self, time: Duration) -> Result<Load> {
        let share = self.most.div_ceil(THREADS as u64);
        let mut arguments = vec![self.run.to_owned(), self.per_sale.to_string(), share.to_string()];
        arguments.extend(self.sales.iter().map(ToString::to_string));
        wrk(PURCHASE, self.url, self.connections, time, &arguments).await
    }
}

/// Reads of one path.
pub(crate) async fn get(url: &str, connections: usize, time: Duration) -> Result<Load> {
    wrk(GET, url, connections, time, &[]).await
}

async fn wrk(script: &str, url: &str, connections: usize, time: Duration, arguments: &[String]) -> Result<Load> {
    let mut wrk = Command::new("wrk");
    wrk.arg(format!("-t{THREADS}")).arg(format!("-c{connections}")).arg(format!("-d{}s", time.as_secs().max(1)));
    wrk.args(["--timeout", "20s", "-s", script, url, "--"]).args(arguments);
    let output = wrk.stderr(Stdio::inherit()).kill_on_drop(true).output().await.context("run wrk")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find(|line| line.starts_with('{')).with_context(|| format!("wrk said: {text}"))?;
    serde_json::from_str(line).with_context(|| format!("wrk said {line}"))
}
