//! Growth: whether a sale that has sold a lot sells as fast as small ones do, and many sales at once as fast as one.

use std::time::Duration;

use anyhow::{Result, ensure};
use testkit::{Api, Stack};

use crate::bench::{Effort, open_sale, open_sales, taken, until_taken};
use crate::figure::{Figure, Wanted};
use crate::wrk::{Clicks, THREADS};

const CONNECTIONS: usize = 512;
const LARGE: u32 = 1_000_000;
/// Longest load: within it a large sale is not sold out, at 100,000 a second.
const LONGEST: Duration = Duration::from_secs(10);
const SMALL: u32 = 1_000;
/// More than are sold within a second, even where one thread of wrk sends most of the clicks. They are opened in as
/// many steps as there are seconds: a reconcile must not take too long.
const SMALL_SALES_A_SECOND: usize = 100;
const MANY: usize = 100;

/// A large sale beside small ones that are sold one after the other, and many sales beside one. Nobody persists.
pub(crate) async fn measure(stack: &Stack, effort: Effort) -> Result<Vec<Figure>> {
    let effort = Effort { time: effort.time.min(LONGEST), ..effort };
    let (mut large, mut small) = (vec![], vec![]);
    for round in 0..effort.rounds {
        // The hundreds of sales of one round are no burden of the next.
        let own = Stack::new().await;
        let (of_large, of_small) = large_and_small(&own, effort.time, round).await?;
        own.close().await;
        large.push(of_large);
        small.push(of_small);
    }
    let (many, one) = many_and_one(stack, effort).await?;
    Ok(vec![
        Figure::ratio("growth_ratio", &large, &small).wanted(Wanted::AtLeast(0.9)),
        Figure::ratio("many_sales_ratio", &many, &one).wanted(Wanted::AtLeast(0.8)),
        Figure::new("large_sale_per_second", "1/s", large),
        Figure::new("small_sales_per_second", "1/s", small),
        Figure::new("many_sales_per_second", "1/s", many),
        Figure::new("one_sale_per_second", "1/s", one),
    ])
}

/// Both with the same API, which knows all the sales all the time.
async fn large_and_small(stack: &Stack, time: Duration, round: usize) -> Result<(f64, f64)> {
    let api = stack.api().await;
    let (url, run) = (api.client.url(), format!("r{round}"));
    let large = [open_sale(stack, &api, LARGE).await?];
    let mut small = Vec::new();
    for _ in 0..time.as_secs().max(1) {
        small.extend(open_sales(stack, &api, SMALL_SALES_A_SECOND, SMALL).await?);
    }
    let of_large = sell(&api, &Clicks::of(url, CONNECTIONS, &run, &large), LARGE, time).await?;
    // Each thread of wrk counts its own clicks, and passes from sale to sale by itself.
    let per_sale = u64::from(SMALL) / THREADS as u64;
    let clicks = Clicks { per_sale, ..Clicks::of(url, CONNECTIONS, &run, &small) };
    let of_small = sell(&api, &clicks, SMALL, time).await?;
    let untouched = taken(&api, &small[small.len() - 1..], SMALL).await? == 0;
    ensure!(untouched, "{} small sales were too few for {of_small} clicks a second", small.len());
    Ok((of_large, of_small))
}

async fn many_and_one(stack: &Stack, effort: Effort) -> Result<(Vec<f64>, Vec<f64>)> {
    let api = stack.api().await;
    let url = api.client.url();
    let sales = open_sales(stack, &api, MANY, LARGE).await?;
    let (mut many, mut one) = (vec![], vec![]);
    for round in 0..effort.rounds {
        let run = format!("r{round}");
        let sale = [open_sale(stack, &api, LARGE).await?];
        one.push(sell(&api, &Clicks::of(url, CONNECTIONS, &run, &sale), LARGE, effort.time).await?);
        many.push(sell(&api, &Clicks::of(url, CONNECTIONS, &run, &sales), LARGE, effort.time).await?);
    }
    Ok((many, one))
}

/// Successes a second: each answer has taken one of the sales' units, `units` each.
async fn sell(api: &Api, clicks: &Clicks<'_>, units: u32, time: Duration) -> Result<f64> {
    let before = taken(api, clicks.sales, units).await?;
    let load = clicks.send(time).await?;
    until_taken(api, clicks.sales, units, before + load.answers()?).await;
    load.per_second()
}
