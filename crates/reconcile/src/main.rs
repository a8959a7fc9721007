//! `flashsale-reconcile`: run before anything else starts. Migrates, then reconciles every sale, then ends.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use boot::Settings;
use clap::Parser;
use domain::SaleId;
use inventory::Inventory;
use ledger::Ledger;
use reconcile::{Outcome, Reconciler};
use tokio::task::JoinSet;

/// Brings the database up to date and makes Redis and RabbitMQ agree with it.
///
/// Configured by the environment: FLASHSALE__POSTGRES__URL, FLASHSALE__REDIS__URL, FLASHSALE__RABBITMQ__URL.
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

/// Pause between two tries.
const RETRY: Duration = Duration::from_millis(500);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let settings = Settings::load()?;
    boot::start_logs(&settings.log)?;
    let deadline = Instant::now() + Duration::from_secs(arguments.wait_seconds);

    let ledger = Ledger::new(&settings.postgres)?;
    let inventory = Inventory::new(&settings.redis)?;
    wait_for("PostgreSQL", deadline, || ledger.ping()).await?;
    wait_for("Redis", deadline, || inventory.ping()).await?;
    ledger.migrate().await.context("the database could not be migrated")?;
    if arguments.seed {
        for id in ledger.seed_demo().await.context("the demonstration sales could not be created")? {
            tracing::info!(sale = %id, "demonstration sale created");
        }
    }
    reconcile_all(&Reconciler::new(ledger, inventory, settings.rabbitmq), deadline).await
}

/// Asks until the server answers.
async fn wait_for<E: std::error::Error + Send + Sync + 'static>(
    server: &str,
    deadline: Instant,
    ping: impl AsyncFn() -> Result<(), E>,
) -> Result<()> {
    let mut told = false;
    while let Err(error) = ping().await {
        if Instant::now() >= deadline {
            return Err(error).with_context(|| format!("{server} did not answer in time"));
        }
        if !told {
            tracing::warn!(%error, "waiting for {server}");
            told = true;
        }
        tokio::time::sleep(RETRY).await;
    }
    Ok(())
}

/// Reconciles until every sale stands. All at once: a rebuild mostly waits, and one that fails must not keep the
/// others closed.
async fn reconcile_all(reconciler: &Reconciler, deadline: Instant) -> Result<()> {
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
        tokio::time::sleep(RETRY).await;
    }
}
