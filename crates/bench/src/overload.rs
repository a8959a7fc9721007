//! Ten times more clicks than can be served: as many are served as ever, and the others are sent away at once.

use std::time::Duration;

use anyhow::{Result, ensure};
use testkit::{Proxy, Stack, Wire};

use crate::bench::{Effort, allow_files, open_sale, until_taken};
use crate::figure::{Figure, Wanted};
use crate::load::{Crowd, Pace};

/// How long Redis's wire takes in each direction. It makes the gate the limit, and a low one: ten times as many clicks
/// can be offered on two cores. Two HTTP threads with 256 attempts in 200 ms each are 2,560 a second.
const WIRE: Duration = Duration::from_millis(100);
const HTTP_THREADS: &str = "2";
/// Two batches of each HTTP thread: one is out while the next one gathers.
const FULL: usize = 1_024;
/// More than can be waiting: each HTTP thread lets in a second's worth.
const PLENTY_OF_CONNECTIONS: usize = 4_000;
const FILES: u64 = 10_000;
const TIMES: f64 = 10.0;
/// The machine has other things to do, too; with less the figures would be of another load.
const HONEST_TIMES: f64 = 9.0;
const UNITS: u32 = 1_000_000;

/// Successes a second under a load that the gate can just carry, under ten times that, and under the former again.
pub(crate) async fn measure(stack: &Stack, effort: Effort) -> Result<Vec<Figure>> {
    let files = allow_files(FILES);
    ensure!(files > PLENTY_OF_CONNECTIONS as u64 + 200, "the limit of open files, {files}, is too low");
    let proxy = Proxy::before(stack.redis.url()).await;
    let url = proxy.url_of(stack.redis.url());
    let changes = [("FLASHSALE__REDIS__URL", &*url), ("FLASHSALE__API__HTTP_WORKERS", HTTP_THREADS)];
    let api = stack.api_with(&changes).await;
    proxy.set(Wire::Slow(WIRE));
    let (mut best, mut overloaded, mut again) = (vec![], vec![], vec![]);
    let (mut offered, mut shed_ms) = (vec![], vec![]);
    for round in 0..effort.rounds {
        let sale = open_sale(stack, &api, UNITS).await?;
        let crowd = async |phase: &str, connections, pace| {
            let (url, run) = (api.client.url().to_owned(), format!("r{round}-{phase}"));
            Crowd { url, sale, run, connections, pace, time: effort.time }.send().await
        };
        let calm = crowd("calm", FULL, Pace::AtOnce).await?;
        let rush = crowd("rush", PLENTY_OF_CONNECTIONS, Pace::PerSecond(TIMES * calm.won)).await?;
        ensure!(
            rush.offered >= HONEST_TIMES * calm.won,
            "{} clicks a second were offered, {TIMES} times {} were to be",
            rush.offered,
            calm.won
        );
        ensure!(!rush.shed_us.is_empty(), "nobody was sent away");
        let after = crowd("after", FULL, Pace::AtOnce).await?;
        until_taken(&api, &[sale], UNITS, calm.successes + rush.successes + after.successes).await;
        best.push(calm.won);
        overloaded.push(rush.won);
        again.push(after.won);
        offered.push(rush.offered);
        shed_ms.push(Duration::from_micros(rush.shed_us.value_at_quantile(0.99)).as_secs_f64() * 1_000.0);
    }
    Ok(vec![
        Figure::ratio("overload_goodput_ratio", &overloaded, &best).wanted(Wanted::AtLeast(0.8)),
        Figure::new("shed_p99_ms", "ms", shed_ms).wanted(Wanted::AtMost(5.0)),
        Figure::ratio("recovered_ratio", &again, &best).wanted(Wanted::AtLeast(0.8)),
        Figure::new("overload_offered_per_second", "1/s", offered),
        Figure::new("overload_best_per_second", "1/s", best),
    ])
}
