//! One round: open a sale, let buyers in, break things, mend them, judge.

use std::time::Duration;

use domain::{SaleId, SaleState};
use failpoints::Point;
use testkit::{HUNG_AFTER, History, Pace, Process, Scene, new_sale, until};
use tokio::time::Instant;

use crate::fault::Fault;
use crate::schedule::{Round, Strike};

/// How long the sale goes on selling after everything is whole again.
const AFTERMATH: Duration = Duration::from_secs(1);
/// How long a new sale may take to open, and everything to be over.
const PATIENCE: Duration = Duration::from_secs(60);

/// What came of a round.
pub(crate) struct Told {
    pub(crate) sale: SaleId,
    pub(crate) history: History,
    pub(crate) attempts: usize,
    pub(crate) promised: usize,
    pub(crate) sold: i64,
    /// Faults that were really injected.
    pub(crate) fired: Vec<Fault>,
    /// The longest time without a decided answer at any API.
    pub(crate) outage: Duration,
    pub(crate) settled_after: Duration,
    /// Invariants that do not hold, and anything else that must not be.
    pub(crate) problems: Vec<String>,
}

/// Plays a round and judges it.
pub(crate) async fn play(scene: &mut Scene, round: &Round) -> Told {
    scene.sale = open_sale(scene, round.stock).await;
    let load = scene.load(Pace { buyers: 24, rest: Duration::from_millis(5), seed: round.seed });
    load.until_promised(1).await;
    let mut hired = Vec::new();
    let mut fired = strike(scene, round, &mut hired).await;
    for mut process in hired {
        // Whether it found something to do or gave up: it must come to an end.
        process.ended().await;
    }
    let (died, mut problems) = bury(scene);
    fired.retain(|fault| !matches!(fault, Fault::Crash(point) if !died.contains(point)));
    scene.raise().await;
    load.until_it_decides_again().await;
    tokio::time::sleep(AFTERMATH).await;
    let history = load.stop().await;
    let judgement = scene.judge(&history).await;
    if history.slowest() >= HUNG_AFTER {
        problems.push(format!("a request hung for {:?}", history.slowest()));
    }
    if !judgement.is_clean() {
        problems.push(judgement.to_string());
    }
    Told {
        sale: scene.sale,
        attempts: judgement.attempts,
        promised: judgement.promised,
        sold: judgement.sold,
        fired,
        outage: history.longest_outage(),
        settled_after: judgement.settled_after,
        history,
        problems,
    }
}

async fn open_sale(scene: &Scene, stock: u32) -> SaleId {
    let sale = scene.stack.create(&new_sale(stock)).await;
    for client in &scene.clients {
        let active = async || {
            let status = client.status(sale).await;
            (status.body["status"] == "ACTIVE" && scene.stack.sale(sale).await.state == SaleState::Open).then_some(())
        };
        until("the new sale is open", PATIENCE, active).await;
    }
    sale
}

/// Begins and ends each fault at its time.
async fn strike(scene: &mut Scene, round: &Round, hired: &mut Vec<Process>) -> Vec<Fault> {
    let start = Instant::now();
    let mut fired = Vec::new();
    let mut events: Vec<(Duration, bool, Strike)> = Vec::new();
    for strike in &round.strikes {
        events.extend([(strike.at, true, *strike), (strike.at + strike.lasts, false, *strike)]);
    }
    events.sort_by_key(|(at, ..)| *at);
    for (at, begins, Strike { fault, .. }) in events {
        tokio::time::sleep_until(start + at).await;
        if !begins {
            fault.end(scene);
        } else if fault.begin(scene, hired).await {
            fired.push(fault);
        }
    }
    tokio::time::sleep_until(start + round.length()).await;
    fired
}

/// Takes note of who has died: at a failpoint, or of something that is a problem.
fn bury(scene: &mut Scene) -> (Vec<Point>, Vec<String>) {
    let (mut died, mut problems) = (Vec::new(), Vec::new());
    for replica in scene.apis.iter_mut().chain(&mut scene.persisters).chain(&mut scene.keepers) {
        if let Some(log) = replica.bury_if_dead() {
            match Point::ALL.iter().find(|point| log.contains(&format!("failpoint {} fired", point.name()))) {
                Some(point) => died.push(*point),
                None => problems.push(format!("a process died by itself:\n{log}")),
            }
        }
        // One that waits for its failpoint would die in the next round.
        if replica.is_armed() {
            replica.kill();
        }
    }
    (died, problems)
}
