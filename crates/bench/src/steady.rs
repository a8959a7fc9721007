//! Latency at a load that is no limit, beside the bare handler's: by k6, with `crates/bench/k6/steady.js`.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use domain::SaleId;
use serde::Deserialize;
use testkit::Stack;
use tokio::process::Command;

use crate::bench::{Bare, Effort, click, open_sale, until_taken};
use crate::figure::{Figure, Wanted};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/k6/steady.js");
/// A flash sale's.
const FEW: u32 = 100;
/// More than are bought in a round.
const PLENTY: u32 = 1_000_000;
/// Below it a single hiccup is the p99.
const SHORTEST: Duration = Duration::from_secs(5);

/// What k6 has seen.
#[derive(Debug, Deserialize)]
struct Seen {
    clicks: u64,
    /// Not even sent: nobody was free.
    dropped: u64,
    successes: u64,
    sold_out: u64,
    p99_ms: f64,
}

/// The p99 of purchases of new buyers at 2,000 a second, in milliseconds: in a flash sale, of which nearly everybody comes
/// too late, and in a sale that has a unit for everybody.
pub(crate) async fn measure(stack: &Stack, effort: Effort) -> Result<Vec<Figure>> {
    let api = stack.api().await;
    let time = effort.time.max(SHORTEST);
    let first_sale = open_sale(stack, &api, 1).await?;
    let success = click(&api.client, first_sale, "the-only-winner", "SUCCESS").await?;
    let bare = Bare::start(stack, &success, &success).await?;
    let (mut limit, mut flash, mut all_win) = (vec![], vec![], vec![]);
    for round in 0..effort.rounds {
        let run = format!("r{round}");
        limit.push(k6(&bare.url, first_sale, &run, time).await?.p99_ms);
        let sale = open_sale(stack, &api, FEW).await?;
        let seen = k6(api.client.url(), sale, &run, time).await?;
        ensure!(seen.successes == u64::from(FEW), "{FEW} units were for sale: {seen:?}");
        flash.push(seen.p99_ms);
        let sale = open_sale(stack, &api, PLENTY).await?;
        let seen = k6(api.client.url(), sale, &run, time).await?;
        until_taken(&api, &[sale], PLENTY, seen.successes).await;
        ensure!(seen.sold_out == 0, "there was enough for everybody: {seen:?}");
        all_win.push(seen.p99_ms);
    }
    Ok(vec![
        Figure::ratio("p99_ratio", &flash, &limit).wanted(Wanted::AtMost(3.0)),
        Figure::ratio("p99_all_win_ratio", &all_win, &limit),
        Figure::new("p99_ms", "ms", flash),
        Figure::new("p99_all_win_ms", "ms", all_win),
        Figure::new("bare_p99_ms", "ms", limit),
    ])
}

async fn k6(url: &str, sale: SaleId, run: &str, time: Duration) -> Result<Seen> {
    let program =
        std::env::var_os("FLASHSALE_BENCH_K6").context("FLASHSALE_BENCH_K6 is not set; run cargo xtask bench")?;
    let mut k6 = Command::new(program);
    // Nobody asks k6 how it goes, and somebody else's k6 may have the port.
    k6.args(["run", "--quiet", "--address", "", SCRIPT]);
    k6.env("K6_NO_USAGE_REPORT", "true").env("URL", url).env("SALE", sale.to_string()).env("RUN", run);
    k6.env("SECONDS", time.as_secs().to_string());
    let output = k6.stderr(Stdio::inherit()).kill_on_drop(true).output().await.context("run k6")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find(|line| line.starts_with('{')).with_context(|| format!("k6 said: {text}"))?;
    let seen: Seen = serde_json::from_str(line).with_context(|| format!("k6 said {line}"))?;
    ensure!(seen.successes + seen.sold_out == seen.clicks, "not everybody was answered: {seen:?}");
    ensure!(seen.dropped * 100 <= seen.clicks, "k6 could not keep its pace: {seen:?}");
    Ok(seen)
}
