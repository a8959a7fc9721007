//! A crowd of buyers, and what each of them was told.

use std::sync::Arc;

use domain::SaleId;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::client::Client;

/// Most requests of one crowd that are open at a time.
const AT_ONCE: usize = 64;

/// What the buyers of a crowd were told.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// SUCCESS: the buyer and the order promised.
    pub promised: Vec<(String, String)>,
    /// SOLD_OUT or ALREADY_PURCHASED, or that the sale is not active.
    pub refused: Vec<String>,
    /// Anything else, a broken connection included: the buyer may have an order or not.
    pub unknown: Vec<String>,
}

/// Buyers `buyer-0` to `buyer-<count - 1>` buy one unit each, one after the other: each reservation gets a message of its
/// own. Returns each buyer with the order promised.
///
/// # Panics
/// One of them gets none.
pub async fn buy_one_by_one(client: &Client, sale: SaleId, count: usize) -> Vec<(String, String)> {
    let mut promised = Vec::with_capacity(count);
    for number in 0..count {
        let user = format!("buyer-{number}");
        let answer = client.purchase(sale, &user).await;
        promised.push((user, answer.order_id().expect("SUCCESS names its order").to_owned()));
    }
    promised
}

/// Buyers `<name>-<first>` to `<name>-<last>` buy one unit each, many at once.
///
/// # Panics
/// An answer is none of those that the contract knows.
pub async fn rush(client: &Client, sale: SaleId, name: &str, buyers: std::ops::Range<usize>) -> Told {
    let gate = Arc::new(Semaphore::new(AT_ONCE));
    let mut clicks = JoinSet::new();
    for number in buyers {
        let (client, gate, user) = (client.clone(), Arc::clone(&gate), format!("{name}-{number}"));
        clicks.spawn(async move {
            let _turn = gate.acquire().await.expect("it is never closed");
            let answer = client.try_purchase(sale, &user).await;
            (user, answer)
        });
    }
    let mut told = Told::default();
    while let Some(click) = clicks.join_next().await {
        let (user, answer) = click.expect("no click panics");
        match answer.as_ref().map(|answer| (answer.outcome(), answer.order_id(), answer.status.as_u16())) {
            Ok(("SUCCESS", Some(order), 200)) => told.promised.push((user, order.to_owned())),
            Ok(("SOLD_OUT" | "ALREADY_PURCHASED", _, 200) | (_, _, 400)) => told.refused.push(user),
            Ok((_, _, 503)) | Err(_) => told.unknown.push(user),
            Ok(other) => panic!("{user} was told {other:?}"),
        }
    }
    told
}

impl Told {
    /// What two crowds were told.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.promised.extend(other.promised);
        self.refused.extend(other.refused);
        self.unknown.extend(other.unknown);
        self
    }
}
