//! What every measurement works with.

use std::time::Duration;

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use domain::SaleId;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::Value;
use testkit::{Api, Client, Process, Stack, new_sale};
use tokio::time::{Instant, sleep, timeout};

/// Longest wait for what was promised to be there, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often PostgreSQL is asked how much is sold: its answers must not cost what is measured much.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// How often and how long is measured.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    pub(crate) rounds: usize,
    pub(crate) time: Duration,
}

/// The bare handler, which answers what our API has answered.
pub(crate) struct Bare {
    pub(crate) url: String,
    _process: Process,
}

impl Bare {
    pub(crate) async fn start(stack: &Stack, purchase: &Value, read: &Value) -> Result<Self> {
        let bodies = [("BARE_PURCHASE", purchase.to_string()), ("BARE_READ", read.to_string())];
        let bodies = bodies.each_ref().map(|(name, body)| (*name, body.as_str()));
        let process = stack.start_with("flashsale-bare", &[], &bodies);
        let line: Value = serde_json::from_str(&process.wait_for_log("listening").await)?;
        let address = line["address"].as_str().context("the bare handler says where it listens")?;
        Ok(Self { url: format!("http://{address}"), _process: process })
    }
}

/// A sale of so many units that is open, as `api` sees it too.
pub(crate) async fn open_sale(stack: &Stack, api: &Api, units: u32) -> Result<SaleId> {
    Ok(open_sales(stack, api, 1, units).await?[0])
}

/// Sales of so many units that are open, as `api` sees them too.
pub(crate) async fn open_sales(stack: &Stack, api: &Api, count: usize, units: u32) -> Result<Vec<SaleId>> {
    let mut sales = Vec::with_capacity(count);
    for _ in 0..count {
        sales.push(stack.create(&new_sale(units)).await);
    }
    stack.reconcile().await;
    for &sale in &sales {
        let active = async || (api.client.status(sale).await.body["saleActive"] == true).then_some(());
        testkit::until("the sale is open", Duration::from_secs(60), active).await;
    }
    Ok(sales)
}

/// One click, and what was answered.
pub(crate) async fn click(client: &Client, sale: SaleId, user: &str, outcome: &str) -> Result<Value> {
    let answer = client.purchase(sale, user).await;
    anyhow::ensure!(answer.outcome() == outcome, "{user} was to read {outcome}: {answer:?}");
    Ok(answer.body)
}

/// How many of these sales' units, `units` each, are taken as far as `api` knows: it looks four times a second.
pub(crate) async fn taken(api: &Api, sales: &[SaleId], units: u32) -> Result<u64> {
    let mut taken = 0;
    for &sale in sales {
        let status = api.client.status(sale).await.body;
        let left = status["remainingStock"].as_u64().with_context(|| format!("a stock: {status}"))?;
        taken += u64::from(units).saturating_sub(left);
    }
    Ok(taken)
}

/// Waits until `api` knows of at least so many units taken: each success has one.
pub(crate) async fn until_taken(api: &Api, sales: &[SaleId], units: u32, least: u64) {
    let enough = async || taken(api, sales, units).await.is_ok_and(|taken| taken >= least).then_some(());
    testkit::until("each success has taken a unit", Duration::from_secs(10), enough).await;
}

/// Waits until PostgreSQL has sold at least so many units; how many it were, and when.
pub(crate) async fn until_sold(stack: &Stack, sale: SaleId, least: i64) -> Result<(i64, Instant)> {
    let look = async {
        loop {
            let sold = stack.sale(sale).await.sold;
            if sold >= least {
                return (sold, Instant::now());
            }
            sleep(LOOK_EVERY).await;
        }
    };
    timeout(PATIENCE, look).await.with_context(|| format!("fewer than {least} units were sold within {PATIENCE:?}"))
}

/// Raises the limit of open files, our own and that of what we start, to `wanted` where we may; what it is then.
pub(crate) fn allow_files(wanted: u64) -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let (current, most) = (current.unwrap_or(u64::MAX), maximum.unwrap_or(u64::MAX));
    // The maximum itself can be raised by root only.
    for (files, maximum) in [(wanted, maximum.map(|maximum| maximum.max(wanted))), (wanted.min(most), maximum)] {
        if current < files && setrlimit(Resource::Nofile, Rlimit { current: Some(files), maximum }).is_ok() {
            return files;
        }
    }
    current
}

/// The wall clock.
#[expect(clippy::disallowed_methods, reason = "`boot::clock` is for our processes, and this is none")]
pub(crate) fn now() -> DateTime<Utc> {
    Utc::now()
}

/// Resident memory of a process, in MiB.
pub(crate) fn resident_mib(process: &Process) -> Result<f64> {
    let path = format!("/proc/{}/status", process.id());
    let status = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("a line VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().context("a number of kB")?;
    Ok(kib / 1_024.0)
}
