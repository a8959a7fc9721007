//! Reads: a sale's status and the list of sales, beside the bare handler that answers the same bytes.

use anyhow::Result;
use testkit::Stack;

use crate::bench::{Bare, Effort, open_sale};
use crate::figure::{Figure, Wanted};
use crate::wrk;

const CONNECTIONS: usize = 64;

pub(crate) async fn measure(stack: &Stack, effort: Effort) -> Result<Vec<Figure>> {
    let api = stack.api().await;
    let sale = open_sale(stack, &api, 1_000).await?;
    let (status, list) = (format!("/api/v1/sale/{sale}/status"), "/api/v1/sales".to_owned());
    let (mut ratios, mut limits, mut statuses, mut lists) = (vec![], vec![], vec![], vec![]);
    for (path, ours) in [(status, &mut statuses), (list, &mut lists)] {
        let body = api.client.get(&path).await.body;
        let bare = Bare::start(stack, &body, &body).await?;
        let (limit, url) = (format!("{}{path}", bare.url), format!("{}{path}", api.client.url()));
        for _ in 0..effort.rounds {
            let limit = wrk::get(&limit, CONNECTIONS, effort.time).await?.per_second()?;
            let answered = wrk::get(&url, CONNECTIONS, effort.time).await?.per_second()?;
            limits.push(limit);
            ours.push(answered);
            ratios.push(answered / limit);
        }
    }
    Ok(vec![
        Figure::new("status_ratio", "ratio", ratios).wanted(Wanted::AtLeast(0.9)),
        Figure::new("bare_read_per_second", "1/s", limits),
        Figure::new("status_per_second", "1/s", statuses),
        Figure::new("list_per_second", "1/s", lists),
    ])
}
