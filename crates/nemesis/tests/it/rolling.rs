//! Row 21: every process is restarted in good order, one after the other, while buyers click.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::time::Duration;

use testkit::{Attempt, Cast, History, Outcome, Own, Pace, Scene, new_sale};

use crate::broker::availability;

/// More than is sold meanwhile: every click that is let in wins.
const STOCK: u32 = 1_000_000;
const RESTARTS: usize = 20;
/// Two of each process are enough for a sale to go on; more than a busy machine takes between two answers.
const GOES_ON: Duration = Duration::from_secs(5);

/// Buyers whose click was let in and whose connection broke nevertheless. A click that reaches a connection which the
/// API has just closed was never let in; it is known by leaving nothing behind. One that was let in wins, since there
/// is enough for all: its buyer has an order and was told nothing of it, or reads of it at the next click.
fn let_in_and_cut_off(history: &History, owners: &HashSet<String>) -> Vec<String> {
    let mut by_user: HashMap<String, Vec<Attempt>> = HashMap::new();
    for attempt in history.attempts() {
        by_user.entry(attempt.user.clone()).or_default().push(attempt);
    }
    let cut_off = |(user, attempts): (String, Vec<Attempt>)| {
        match attempts.iter().find(|attempt| attempt.answered) {
            Some(first) => !attempts[0].answered && matches!(first.outcome, Outcome::Held(_)),
            None => owners.contains(&user),
        }
        .then_some(user)
    };
    by_user.into_iter().filter_map(cut_off).collect()
}

/// The clicks without an answer that no restart of an API explains.
fn unexplained(history: &History, restarts: &[Range<Duration>]) -> Vec<Attempt> {
    let mut attempts = history.attempts();
    attempts.retain(|one| !one.answered && !restarts.iter().any(|at| at.start <= one.ended && one.began <= at.end));
    attempts
}

async fn owners(scene: &Scene) -> HashSet<String> {
    let owners: Vec<String> = sqlx::query_scalar("SELECT user_id FROM orders WHERE sale_id = $1")
        .bind(scene.sale.0)
        .fetch_all(&mut scene.stack.database.connect().await)
        .await
        .unwrap();
    owners.into_iter().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_21_all_processes_are_restarted_in_turn_and_no_click_that_was_let_in_is_cut_off() {
    let cast = Cast { apis: 2, persisters: 2, keepers: 2 };
    let mut scene = Scene::with(Own::NONE, &new_sale(STOCK), cast, &[]).await;
    let load = scene.load(Pace { buyers: 32, rest: Duration::from_millis(5), ..Pace::default() });
    let history = load.history().clone();
    load.until_promised(100).await;
    let mut restarts = Vec::new();
    for round in 0..RESTARTS {
        let which = round / 3 % 2;
        let began = history.now();
        match round % 3 {
            0 => scene.apis[which].stop().await,
            1 => scene.persisters[which].stop().await,
            _ => scene.keepers[which].stop().await,
        }
        scene.raise().await;
        if round % 3 == 0 {
            restarts.push(began..history.now());
        }
        load.until_it_sells_again().await;
    }
    let history = load.stop().await;
    let judgement = scene.judge(&history).await;
    judgement.assert_clean();
    assert_eq!(let_in_and_cut_off(&history, &owners(&scene).await), [""; 0], "whoever is let in is answered");
    let unexplained = unexplained(&history, &restarts);
    assert!(unexplained.is_empty(), "of persisters and keepers buyers notice nothing: {unexplained:?}");
    let outage = history.longest_outage();
    availability(21, &format!("{RESTARTS} restarts in good order, two of each process"), outage);
    assert!(outage < GOES_ON, "the sale stood still for {outage:?}");
    scene.end().await;
}
