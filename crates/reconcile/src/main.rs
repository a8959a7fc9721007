//! `flashsale-reconcile`: run before anything else starts. Migrates, then reconciles every sale, then ends.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use backon::BackoffBuilder;
use boot::{Outage, Servers, Settings};
use clap::Parser;
use domain::SaleId;
use inventory::Inventory;
use ledger::Ledger;
use reconcile::{Outcome, Reconciler};
use tokio::task::JoinSet;

/// Brings the database up to date and makes Redis and RabbitMQ agree with it.
///
/// Configured by the environment: FLASHSALE__POSTGRES__URL, FLASHSALE__POSTGRES__OWNER_URL, FLASHSALE__REDIS__URL,
/// FLASHSALE__RABBITMQ__URL.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Create three demonstration sales where the database has none.
    #[arg(long)]
    seed: bool,
    /// How long to wait for the servers and for other reconcilers, in seconds.
    #[arg(long, default_value_t = 60)]
    wait_seconds: u64,
}

/// The first and the longest pause between two tries.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(1));
/// How long beyond the deadline an answer that is waited for may come.
const LAST_ANSWER: Duration = Duration::from_secs(3);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let settings = Settings::load()?;
    boot::start_logs(&settings.log)?;
    let deadline = Instant::now() + Duration::from_secs(arguments.wait_seconds);

    let servers = Servers::of(&settings);
    servers.tell();
    let ledger = Ledger::new(&settings.postgres)?;
    let inventory = Inventory::new(&settings.redis)?;
    let reconciler = Reconciler::new(ledger.clone(), inventory.clone(), settings.rabbitmq);
    wait_for(&format!("PostgreSQL at {}", servers.postgres), deadline, || ledger.ping()).await?;
    wait_for(&format!("Redis at {}", servers.redis), deadline, || inventory.ping()).await?;
    wait_for(&format!("RabbitMQ at {}", servers.rabbitmq), deadline, || reconciler.monitor().ping()).await?;
    Ledger::migrate(&settings.postgres).await.context("the database could not be migrated")?;
    if arguments.seed {
        for id in ledger.seed_demo().await.context("the demonstration sales could not be created")? {
            tracing::info!(sale = %id, "demonstration sale created");
        }
    }
    reconcile_all(&reconciler, deadline).await
}

/// Asks until the server does as asked.
async fn wait_for<E: std::error::Error + Send + Sync + 'static>(
    server: &str,
    deadline: Instant,
    ping: impl AsyncFn() -> Result<(), E>,
) -> Result<()> {
    let mut outage = Outage::of(format!("waiting for {server}"));
    loop {
        // A server whose machine has vanished answers nothing at all.
        let answer = tokio::time::timeout_at((deadline + LAST_ANSWER).into(), ping()).await;
        let answer = answer.map_err(|_| anyhow!("no answer")).and_then(|answer| answer.map_err(anyhow::Error::new));
        let Some(pause) = outage.note_and_pause(&answer, PAUSES) else { return Ok(()) };
        if Instant::now() + pause >= deadline {
            return answer.with_context(|| format!("{server} is not there in time, see --wait-seconds"));
        }
        tokio::time::sleep(pause).await;
    }
}

/// Reconciles until every sale stands. All at once: a rebuild mostly waits, and one that fails must not keep the
/// others closed.
async fn reconcile_all(reconciler: &Reconciler, deadline: Instant) -> Result<()> {
    let mut pauses = boot::pauses(PAUSES.0, PAUSES.1).build();
    loop {
        let mut rounds = JoinSet::new();
        for sale in reconciler.sales().await? {
            let reconciler = reconciler.clone();
            rounds.spawn(async move { (sale.id, reconciler.reconcile(&sale).await) });
        }
        let mut unfinished: BTreeMap<SaleId, String> = BTreeMap::new();
        while let Some(round) = rounds.join_next().await {
            match round? {
                (sale, Ok(Outcome::Intact)) => tracing::info!(%sale, "intact"),
                (_, Ok(Outcome::Ended | Outcome::Rebuilt(_))) => {}
                (sale, Ok(Outcome::Busy)) => drop(unfinished.insert(sale, "another reconciler is at work".to_owned())),
                (sale, Err(error)) => drop(unfinished.insert(sale, error.to_string())),
            }
        }
        if unfinished.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let list: Vec<String> = unfinished.iter().map(|(sale, why)| format!("{sale}: {why}")).collect();
            bail!("{} sales are not open:\n  {}", list.len(), list.join("\n  "));
        }
        tracing::warn!(?unfinished, "trying again");
        tokio::time::sleep(pauses.next().unwrap_or(PAUSES.1)).await;
    }
}
