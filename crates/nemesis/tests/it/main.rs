//! The fault matrix: every row of `docs/RELIABILITY.md`, injected under load into real processes and judged.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod api;
mod broker;
#[cfg(target_os = "linux")]
mod clocks;
mod cut_off;
mod failover;
mod matrix;
mod messages;
mod operator;
mod payments;
mod planted;
mod poison;
mod postgres;
mod reconciler;
mod reconcilers;
mod redis;
mod reset;
mod rolling;
mod webhooks;
mod worker;

/// A new queue settles for as long as in production, so that what is measured is what an operator sees.
pub(crate) const SETTLES: (&str, &str) = ("FLASHSALE__RABBITMQ__QUEUE_SETTLE_MS", "3000");

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

/// Decides what a test leaves to chance. Set `FLASHSALE_NEMESIS_SEED` to take the decisions of one run again.
pub(crate) fn seed() -> u64 {
    let replay = std::env::var("FLASHSALE_NEMESIS_SEED").ok().map(|seed| seed.parse().expect("a whole number"));
    let seed = replay.unwrap_or_else(rand::random);
    println!("FLASHSALE_NEMESIS_SEED={seed}");
    seed
}
