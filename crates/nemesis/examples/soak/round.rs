//! One round: open a sale, let buyers in, break things, mend them, judge.

use std::time::Duration;

use domain::{SaleId, SaleState};
use failpoints::Point;
use testkit::{Client, HUNG_AFTER, History, Outcome, Pace, Process, Scene, new_sale, until};
use tokio::time::Instant;

use crate::fault::Fault;
use crate::schedule::{Round, Strike};

/// How long the sale goes on selling after everything is whole again.
const AFTERMATH: Duration = Duration::from_secs(1);
/// How long a new sale may take to open, and everything to be over.
const PATIENCE: Duration = Duration::from_secs(60);
/// I6: from when everything is whole again.
const SETTLES_WITHIN: Duration = Duration::from_secs(60);

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
    /// What the judge found broken.
    pub(crate) broken: Option<String>,
    /// Anything else that must not be.
    pub(crate) problems: Vec<String>,
}

/// Plays a round and judges it.
pub(crate) async fn play(scene: &mut Scene, round: &Round) -> Told {
    scene.sale = open_sale(scene, round.stock).await;
    let load = scene.load(Pace { buyers: 24, rest: Duration::from_millis(5), seed: round.seed });
    if round.strikes.iter().any(|strike| strike.fault.loses_redis()) {
        load.history().redis_forgets();
    }
    load.until_promised(1).await;
    let mut hired = Vec::new();
    let mut fired = strike(scene, round, &mut hired).await;
    let mut problems = dismiss(hired).await;
    let died = bury(scene, &mut problems);
    fired.retain(|fault| !matches!(fault, Fault::Crash(point) if !died.contains(point)));
    scene.raise().await;
    let healed = Instant::now();
    load.until_it_decides_again().await;
    for client in &scene.clients {
        serves(client, scene.sale, load.history()).await;
    }
    tokio::time::sleep(AFTERMATH).await;
    let history = load.stop().await;
    let mut judgement = scene.judge(&history).await;
    if judgement.books["books"]["available"].as_i64().is_some_and(|left| left > 0) {
        // What is said to be for sale can be bought.
        let buyer = format!("the last of {}", scene.sale);
        let bought = async || (click(scene.client(), scene.sale, &buyer, &history).await.is_promise()).then_some(());
        until("a unit that is left can be bought", PATIENCE, bought).await;
        judgement = scene.judge(&history).await;
    }
    if healed.elapsed() > SETTLES_WITHIN {
        problems.push(format!("I6 settled only {:?} after everything was whole again", healed.elapsed()));
    }
    if history.slowest() >= HUNG_AFTER {
        problems.push(format!("a request hung for {:?}", history.slowest()));
    }
    bury(scene, &mut problems);
    Told {
        sale: scene.sale,
        attempts: judgement.attempts,
        promised: judgement.promised,
        sold: judgement.sold,
        fired,
        outage: history.longest_outage(),
        settled_after: judgement.settled_after,
        broken: (!judgement.is_clean()).then(|| judgement.to_string()),
        history,
        problems,
    }
}

/// One more click of somebody who is not part of the load.
async fn click(client: &Client, sale: SaleId, buyer: &str, history: &History) -> Outcome {
    let began = history.now();
    let answer = client.try_purchase(sale, buyer).await;
    let outcome = Outcome::of(&answer);
    history.record(buyer, began, outcome.clone());
    outcome
}

/// Waits until this very API sells, or says that all is sold: another one must not hide it.
async fn serves(client: &Client, sale: SaleId, history: &History) {
    let buyer = format!("a tester of {}", client.url().rsplit(':').next().unwrap_or_default());
    let sells = async || {
        let outcome = click(client, sale, &buyer, history).await;
        (outcome.is_sale() || matches!(outcome, Outcome::Held(_))).then_some(())
    };
    until("each API sells", PATIENCE, sells).await;
}

/// Whether they found something to do or gave up: they must come to an end of their own.
async fn dismiss(hired: Vec<Process>) -> Vec<String> {
    let mut problems = Vec::new();
    for mut process in hired {
        let status = process.ended().await;
        if !matches!(status.code(), Some(0 | 1)) {
            problems.push(format!("a reconciler ended with {status}:\n{}", process.log()));
        }
    }
    problems
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
fn bury(scene: &mut Scene, problems: &mut Vec<String>) -> Vec<Point> {
    let mut died = Vec::new();
    for replica in scene.apis.iter_mut().chain(&mut scene.persisters).chain(&mut scene.keepers) {
        if let Some(log) = replica.bury_if_dead() {
            match Point::ALL.iter().find(|point| log.contains(&point.last_words())) {
                Some(point) => died.push(*point),
                None => problems.push(format!("a process died by itself:\n{log}")),
            }
        }
        // One that waits for its failpoint would die in the next round.
        replica.disarm();
    }
    died
}
