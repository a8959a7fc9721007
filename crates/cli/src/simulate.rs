//! `flashsale simulate`: a sale of its own, real buyers over HTTP, and a verdict.

mod crowd;
mod history;
mod judge;
mod report;
mod shop;
mod stage;

use std::io::{IsTerminal, stderr};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use rand::random;
use secrecy::SecretString;
use tokio::signal;

use crate::api::Client;
use crate::error::Error;
use crate::output::{Output, complain};
use crate::times;
use crowd::{Counts, Crowd};
use shop::Shop;
use stage::Stage;

/// On the command line everybody on this machine could read it.
const WEBHOOK_SECRET: &str = "FLASHSALE_PAYMENTS_WEBHOOK_SECRET";
/// Long enough for every buyer to pay.
const HOLD_SECONDS: u64 = 600;
/// Ended by Ctrl-C, as shells have it.
const INTERRUPTED: u8 = 130;

/// How many buyers want how many units, and how they behave.
#[derive(Args)]
pub(crate) struct Command {
    /// How many buyers come
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    buyers: u32,
    /// How many units there are
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    stock: u32,
    /// How many units each buyer takes
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    quantity: u32,
    /// How many times more each buyer clicks, at the same moment: one half with the same Idempotency-Key, the other
    /// half without one
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=100))]
    duplicates: u32,
    /// Who gets a unit pays for it
    #[arg(long)]
    pay: bool,
    /// So many of a hundred payments fail; their units are sold again. This program speaks for the provider: it needs
    /// the API's payments.webhook_secret in FLASHSALE_PAYMENTS_WEBHOOK_SECRET
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(0..=100))]
    pay_failures: Option<u32>,
    /// So many buyers come each second; without it all come at once
    #[arg(long, value_name = "PER_SECOND", value_parser = rate)]
    rate: Option<f64>,
    /// Most requests under way at a time
    #[arg(long, default_value_t = 128, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4096))]
    connections: u16,
    /// How long a unit is held unpaid: 90s, 15m; with payments 10m without it
    #[arg(long, value_name = "SPAN", value_parser = times::seconds)]
    hold: Option<u64>,
    /// Leave the sale open; else it is ended
    #[arg(long)]
    keep: bool,
    /// Decides in which order they come and whose payments fail; another one each time without it
    #[arg(long)]
    seed: Option<u64>,
    /// The API's setting auth.issuer, where buyers need tokens (then set FLASHSALE__AUTH__HS256_SECRET)
    #[arg(long, env = "FLASHSALE__AUTH__ISSUER", default_value = "flashsale", hide_env_values = true)]
    issuer: String,
    /// The API's setting auth.audience
    #[arg(long, env = "FLASHSALE__AUTH__AUDIENCE", default_value = "flashsale", hide_env_values = true)]
    audience: String,
}

/// What is simulated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    buyers: u32,
    stock: u32,
    quantity: u32,
    duplicates: u32,
    /// Whether winners pay.
    pays: bool,
    /// How many of a hundred payments fail; `None`: the provider decides by itself.
    pay_failures: Option<u32>,
    rate: Option<f64>,
    connections: usize,
    hold_seconds: u64,
    seed: u64,
}

impl Command {
    fn plan(&self) -> Plan {
        let pays = self.pay || self.pay_failures.is_some();
        Plan {
            buyers: self.buyers,
            stock: self.stock,
            quantity: self.quantity,
            duplicates: self.duplicates,
            pays,
            pay_failures: self.pay_failures,
            rate: self.rate,
            connections: self.connections.into(),
            hold_seconds: self.hold.unwrap_or(if pays { HOLD_SECONDS } else { 0 }),
            // Small enough to be typed again.
            seed: self.seed.unwrap_or_else(|| random::<u32>().into()),
        }
    }

    /// What winners' payments are decided with.
    fn webhook_secret(&self) -> Result<Option<SecretString>, Error> {
        if self.pay_failures.is_none() {
            return Ok(None);
        }
        let secret = std::env::var(WEBHOOK_SECRET).ok().filter(|secret| !secret.is_empty());
        let secret = secret.ok_or_else(|| {
            Error::Usage(format!(
                "set {WEBHOOK_SECRET} to the API's setting payments.webhook_secret, or leave out --pay-failures"
            ))
        })?;
        Ok(Some(secret.into()))
    }
}

/// Simulates and judges. The sale is ended whatever happens, unless it is to be kept.
///
/// # Errors
/// It could not be simulated. What was simulated and is wrong is no error, but exit code 1.
pub(crate) async fn run(client: &Client, output: Output, command: &Command) -> Result<ExitCode, Error> {
    let plan = command.plan();
    if plan.pays && plan.hold_seconds == 0 {
        return Err(Error::Usage("what is not held cannot be paid for: leave out --hold 0".to_owned()));
    }
    let (secret, mint) = (command.webhook_secret()?, crate::token::mint(&command.issuer, &command.audience)?);
    let stage = Stage::new(client, &plan);
    let shop = Shop::new(client.url(), (stage.sale, plan.quantity), plan.connections, (mint, secret));
    let counts = Arc::new(Counts::default());
    let crowd = Arc::new(Crowd::new(plan, shop, stage.run.clone(), Arc::clone(&counts)));
    let bar = bar(output, &plan);
    let played = tokio::select! {
        played = play(&stage, &crowd, &counts, &bar) => played.map(Some),
        _ = signal::ctrl_c() => Ok(None),
    };
    bar.finish_and_clear();
    if !command.keep
        && let Err(error) = stage.end().await
    {
        complain(&format!(
            "the simulation's sale could not be ended: flashsale sale end {} --yes: {error}",
            stage.sale
        ));
    }
    match played? {
        Some(report) => Ok(report.print(output)),
        None => {
            complain(if command.keep { "interrupted; the sale goes on" } else { "interrupted; the sale is ended" });
            Ok(ExitCode::from(INTERRUPTED))
        }
    }
}

async fn play(
    stage: &Stage<'_>,
    crowd: &Arc<Crowd>,
    counts: &Counts,
    bar: &ProgressBar,
) -> Result<report::Report, Error> {
    bar.set_message("the sale opens");
    stage.open(crowd.shop()).await?;
    let buying = crowd.buy();
    tokio::pin!(buying);
    let history = loop {
        tokio::select! {
            history = &mut buying => break history,
            () = tokio::time::sleep(Duration::from_millis(100)) => show(bar, counts, stage.plan.pays),
        }
    };
    show(bar, counts, stage.plan.pays);
    bar.set_message("the books settle");
    stage.judge(history, &|buyer| crowd.name_of(buyer)).await
}

fn show(bar: &ProgressBar, counts: &Counts, pays: bool) {
    let of = |count: &std::sync::atomic::AtomicUsize| count.load(Ordering::Relaxed);
    bar.set_position(of(&counts.done) as u64);
    let paid = if pays { format!(", payments {}", of(&counts.paid)) } else { String::new() };
    bar.set_message(format!("won {}, refused {}{paid}", of(&counts.won), of(&counts.refused)));
}

fn bar(output: Output, plan: &Plan) -> ProgressBar {
    if output == Output::Json || !stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} {bar:20} {human_pos}/{human_len} buyers  {wide_msg}");
    let bar = ProgressBar::new(plan.buyers.into()).with_style(style.expect("a valid template"));
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse::<f64>().ok().filter(|rate| (0.1..=1_000_000.0).contains(rate));
    rate.ok_or_else(|| "must be a number from 0.1 to 1,000,000".to_owned())
}
