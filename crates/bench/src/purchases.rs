//! Clicks: refused because everything is sold, and promised.

use anyhow::Result;
use testkit::Stack;

use crate::bench::{Bare, Effort, click, open_sale, resident_mib};
use crate::figure::{Figure, Wanted};
use crate::wrk::Clicks;

/// More units than are sold while it is measured.
const PLENTY: u32 = 5_000_000;

/// Sold-out answers and successes, each beside the bare handler with the same connections.
pub(crate) async fn measure(stack: &Stack, effort: Effort) -> Result<Vec<Figure>> {
    let api = stack.api().await;
    let url = api.client.url().to_owned();
    let sold_out_sale = open_sale(stack, &api, 1).await?;
    let success = click(&api.client, sold_out_sale, "the-only-winner", "SUCCESS").await?;
    let sold_out = click(&api.client, sold_out_sale, "somebody-else", "SOLD_OUT").await?;
    let (bare_sold_out, bare_success) =
        (Bare::start(stack, &sold_out, &sold_out).await?, Bare::start(stack, &success, &success).await?);
    let (mut bare, mut refused, mut bare_64, mut won_64, mut bare_512, mut won_512, mut memory) =
        (vec![], vec![], vec![], vec![], vec![], vec![], vec![]);
    for round in 0..effort.rounds {
        let run = format!("r{round}");
        let sale = [sold_out_sale];
        bare.push(Clicks::of(&bare_sold_out.url, 64, &run, &sale).send(effort.time).await?.per_second()?);
        refused.push(Clicks::of(&url, 64, &run, &sale).send(effort.time).await?.per_second()?);
        click(&api.client, sold_out_sale, "the-only-winner", "ALREADY_PURCHASED").await?;
        for (connections, limit, ours) in [(64, &mut bare_64, &mut won_64), (512, &mut bare_512, &mut won_512)] {
            // Each round sells from the beginning: nobody persists meanwhile.
            let sale = [open_sale(stack, &api, PLENTY).await?];
            limit.push(Clicks::of(&bare_success.url, connections, &run, &sale).send(effort.time).await?.per_second()?);
            ours.push(Clicks::of(&url, connections, &run, &sale).send(effort.time).await?.per_second()?);
        }
        memory.push(resident_mib(&api.process)?);
    }
    Ok(vec![
        Figure::ratio("sold_out_ratio", &refused, &bare).wanted(Wanted::AtLeast(0.85)),
        Figure::ratio("success_ratio", &won_512, &bare_512).wanted(Wanted::AtLeast(0.45)),
        Figure::ratio("success_ratio_64", &won_64, &bare_64).wanted(Wanted::AtLeast(0.28)),
        Figure::new("api_rss_mib", "MiB", memory).wanted(Wanted::AtMost(40.0)),
        Figure::new("bare_64_per_second", "1/s", bare),
        Figure::new("sold_out_64_per_second", "1/s", refused),
        Figure::new("bare_512_per_second", "1/s", bare_512),
        Figure::new("success_512_per_second", "1/s", won_512),
        Figure::new("success_64_per_second", "1/s", won_64),
    ])
}
