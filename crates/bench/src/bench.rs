//! What every measurement works with.

use std::time::Duration;

use anyhow::{Context, Result};
use domain::SaleId;
use serde_json::Value;
use testkit::{Api, Client, Process, Stack, new_sale};

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
        let path = format!("/api/v1/sale/{sale}/status");
        let active = async || (api.client.get(&path).await.body["saleActive"] == true).then_some(());
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

/// Resident memory of a process, in MiB.
pub(crate) fn resident_mib(process: &Process) -> Result<f64> {
    let path = format!("/proc/{}/status", process.id());
    let status = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("a line VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().context("a number of kB")?;
    Ok(kib / 1_024.0)
}
