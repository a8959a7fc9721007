//! `flashsale-reconcile`: run before anything else starts. Migrates, then reconciles every sale, then ends.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use backon::BackoffBuilder;
use boot::{Outage, Servers, Settings};
use clap::Parser;
use domain::SaleId;
use inventory::Inventory;
use ledger::{Ledger, Sale};
use reconcile::{Outcome, Reconciler};
use tokio::sync::watch;
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
    /// How long to wait for the servers and for other reconcilers, in seconds. A rebuild that makes progress may take longer.
    #[arg(long, default_value_t = 60)]
    wait_seconds: u64,
}

/// The first and the longest pause between two tries.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(1));
/// How long beyond the deadline a server's first answer may come.
const FIRST_ANSWER: Duration = Duration::from_secs(3);

/// How long everything may take.
#[derive(Clone, Copy)]
struct Limits {
    /// No try begins later.
    deadline: Instant,
    /// How long beyond it an answer may come.
    grace: Duration,
}

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
    let first = Limits { deadline, grace: FIRST_ANSWER };
    insist(&format!("PostgreSQL at {} is not there", servers.postgres), first, |_| true, || ledger.ping()).await?;
    insist(&format!("Redis at {} is not there", servers.redis), first, |_| true, || inventory.ping()).await?;
    let ping = || reconciler.monitor().ping();
    insist(&format!("RabbitMQ at {} is not there", servers.rabbitmq), first, |_| true, ping).await?;

    // Longer than any server may take to answer, which the settings were checked for.
    let limits = Limits { deadline, grace: Duration::from_secs(settings.worker.watchdog_seconds) };
    let passes = ledger::Error::is_transient;
    insist("the database cannot be migrated", limits, passes, || Ledger::migrate(&settings.postgres)).await?;
    if arguments.seed {
        let seed = || ledger.seed_demo();
        for id in insist("the demonstration sales cannot be created", limits, passes, seed).await? {
            tracing::info!(sale = %id, "demonstration sale created");
        }
    }
    reconcile_all(&reconciler, limits).await
}

/// Asks until the answer is there, it is too late, or the failure is none that passes. `problem` says what is wrong until
/// then.
async fn insist<T, E: std::error::Error + Send + Sync + 'static>(
    problem: &str,
    limits: Limits,
    passes: impl Fn(&E) -> bool,
    ask: impl AsyncFn() -> Result<T, E>,
) -> Result<T> {
    let mut outage = Outage::of(problem);
    loop {
        // A server whose machine has vanished answers nothing at all.
        let answer = match tokio::time::timeout_at((limits.deadline + limits.grace).into(), ask()).await {
            Err(_) => Err(anyhow!("no answer")),
            Ok(Err(error)) if !passes(&error) => return Err(anyhow!(error).context(problem.to_owned())),
            Ok(answer) => answer.map_err(anyhow::Error::new),
        };
        let pause = outage.note_and_pause(&answer, PAUSES).unwrap_or_default();
        if answer.is_ok() || Instant::now() + pause >= limits.deadline {
            return answer.with_context(|| format!("{problem} in time, see --wait-seconds"));
        }
        tokio::time::sleep(pause).await;
    }
}

/// Reconciles until every sale stands.
async fn reconcile_all(reconciler: &Reconciler, limits: Limits) -> Result<()> {
    let mut pauses = boot::pauses(PAUSES.0, PAUSES.1).build();
    let passes = |error: &reconcile::Error| matches!(error, reconcile::Error::Ledger(error) if error.is_transient());
    loop {
        let sales = insist("the sales cannot be read", limits, passes, || reconciler.sales()).await?;
        let unfinished = reconcile_each(reconciler, sales, limits).await?;
        if unfinished.is_empty() {
            return Ok(());
        }
        if Instant::now() >= limits.deadline {
            let list: Vec<String> = unfinished.iter().map(|(sale, why)| format!("{sale}: {why}")).collect();
            bail!("{} sales are not open:\n  {}", list.len(), list.join("\n  "));
        }
        tracing::warn!(?unfinished, "trying again");
        tokio::time::sleep(pauses.next().unwrap_or(PAUSES.1)).await;
    }
}

/// One try for each sale; returns those that do not stand, and why. All at once: a rebuild mostly waits, and one that fails
/// must not keep the others closed. A long rebuild goes on after the deadline as long as any of them makes progress.
async fn reconcile_each(reconciler: &Reconciler, sales: Vec<Sale>, limits: Limits) -> Result<BTreeMap<SaleId, String>> {
    let (tell, progress) = watch::channel(Instant::now());
    let reconciler = reconciler.telling(move || tell.send_modify(|at| *at = Instant::now()));
    let mut unfinished: BTreeMap<SaleId, String> = sales.iter().map(|sale| (sale.id, "no answer".to_owned())).collect();
    let mut rounds = JoinSet::new();
    for sale in sales {
        let reconciler = reconciler.clone();
        rounds.spawn(async move { (sale.id, reconciler.reconcile(&sale).await) });
    }
    loop {
        let give_up = limits.deadline.max(*progress.borrow()) + limits.grace;
        let (sale, why) = match tokio::time::timeout_at(give_up.into(), rounds.join_next()).await {
            Err(_) if *progress.borrow() + limits.grace > Instant::now() => continue,
            Err(_) | Ok(None) => return Ok(unfinished),
            Ok(Some(round)) => match round? {
                (sale, Ok(Outcome::Intact)) => {
                    tracing::info!(%sale, "intact");
                    (sale, None)
                }
                (sale, Ok(Outcome::Ended | Outcome::Rebuilt(_))) => (sale, None),
                (sale, Ok(Outcome::Busy)) => (sale, Some("another reconciler is at work".to_owned())),
                (sale, Err(error)) => (sale, Some(error.to_string())),
            },
        };
        match why {
            Some(why) => drop(unfinished.insert(sale, why)),
            None => drop(unfinished.remove(&sale)),
        }
    }
}
