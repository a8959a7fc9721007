//! From the first click to the last order in PostgreSQL, and what is left of it in Redis.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use testkit::Stack;
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use crate::bench::{Effort, click, open_sale, until_sold};
use crate::figure::{Figure, Wanted};
use crate::wrk::{Clicks, per_second};

const ORDERS: u32 = 100_000;
const CONNECTIONS: usize = 512;
/// More than all clicks take. wrk waits for its end although it has nothing left to do.
const CLICKING: Duration = Duration::from_secs(15);
/// Readings of Redis's memory that differ by less, in bytes, are the same: less than one byte a buyer.
const SAME: f64 = 65_536.0;

/// Orders a second, clicks of new buyers by wrk until everything is sold. Redis's memory grows by the buyers, who stay.
pub(crate) async fn measure(stack: &Stack, effort: Effort) -> Result<Vec<Figure>> {
    let api = stack.api().await;
    let _workers = [stack.persister(), stack.persister(), stack.persister(), stack.keeper()];
    let (mut orders, mut bytes) = (vec![], vec![]);
    for round in 0..effort.rounds {
        let before = redis_memory().await?;
        let sale = open_sale(stack, &api, ORDERS + 1).await?;
        // A persister has found the sale, as in one that was opened in time.
        click(&api.client, sale, "the-first", "SUCCESS").await?;
        until_sold(stack, sale, 1).await?;
        let (run, sales) = (format!("r{round}"), [sale]);
        let clicks = Clicks { most: ORDERS.into(), ..Clicks::of(api.client.url(), CONNECTIONS, &run, &sales) };
        let began = Instant::now();
        let clicking = async { clicks.send(CLICKING).await?.answers() };
        let (answers, (_, ended)) = tokio::try_join!(clicking, until_sold(stack, sale, (ORDERS + 1).into()))?;
        ensure!(answers >= ORDERS.into(), "only {answers} clicks were answered");
        orders.push(per_second(ORDERS.into(), ended - began));
        stack.settled(&api.client, sale).await;
        bytes.push((redis_memory().await? - before) / f64::from(ORDERS + 1));
    }
    Ok(vec![
        Figure::new("end_to_end_per_second", "1/s", orders).wanted(Wanted::AtLeast(20_000.0)),
        Figure::new("redis_bytes_per_buyer", "B", bytes).wanted(Wanted::AtMost(110.0)),
    ])
}

/// Redis's memory in bytes once it has come to rest: what is deleted it frees later.
async fn redis_memory() -> Result<f64> {
    let mut last = used_memory().await?;
    for _ in 0..60 {
        sleep(Duration::from_secs(1)).await;
        let now = used_memory().await?;
        if (now - last).abs() < SAME {
            return Ok(now);
        }
        last = now;
    }
    bail!("Redis's memory does not come to rest: {last} bytes");
}

async fn used_memory() -> Result<f64> {
    let url = std::env::var("FLASHSALE_TEST_REDIS_OPERATOR_URL").context("not set; run cargo xtask bench")?;
    let mut ask = Command::new("redis-cli");
    ask.args(["-u", &url, "--no-auth-warning", "info", "memory"]).stderr(Stdio::inherit()).kill_on_drop(true);
    let output = ask.output().await.context("run redis-cli")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let value = text.lines().find_map(|line| line.strip_prefix("used_memory:"));
    value.with_context(|| format!("Redis said: {text}"))?.trim().parse().context("a number of bytes")
}
