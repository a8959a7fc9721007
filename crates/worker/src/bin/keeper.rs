//! `flashsale-keeper`: looks after every sale once a second, expires orders, takes payments further and tells webhooks,
//! until SIGTERM.

use std::sync::Arc;

use anyhow::Result;
use boot::{Handled, Heart, Role, Servers, Settings, Watchdog};
use inventory::Inventory;
use ledger::Ledger;
use payments::Provider;
use reconcile::{Reconciler, Teller};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use worker::{Holds, Keeper, Payments, Webhooks};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let settings = Settings::load()?;
    boot::start_logs(&settings.log)?;
    let servers = Servers::of(&settings);
    servers.tell();
    let watchdog = Watchdog::start(&settings.worker)?;
    let ledger = Ledger::new(&settings.postgres)?;
    let inventory = Inventory::new(&settings.redis)?;
    let provider = Provider::new(&settings.payments, boot::clock::now_ms)?;
    let reconciler = Reconciler::new(ledger.clone(), inventory.clone(), settings.rabbitmq.clone());
    let teller = Arc::new(Teller::new(reconciler));
    let holds = Holds::new(ledger.clone(), Arc::clone(&teller), &settings.keeper, watchdog.clone());
    let payments = Payments::new((ledger.clone(), teller), provider, &settings.keeper, watchdog.clone());
    let webhooks = Webhooks::new(ledger.clone(), settings.webhooks, watchdog.clone())?;
    let stores = (ledger.clone(), inventory, settings.rabbitmq);
    let rounds = Handled::default();
    let heart = Heart::start(&ledger, Role::Keeper, &rounds);
    let keeper = Keeper::new(stores, settings.keeper, (&servers, rounds), watchdog.clone());

    let stop = CancellationToken::new();
    let mut loops = JoinSet::new();
    loops.spawn(holds.run(stop.clone()));
    loops.spawn(payments.run(stop.clone()));
    loops.spawn(webhooks.run(stop.clone()));
    loops.spawn(keeper.run(stop.clone()));
    tokio::select! {
        asked = watchdog.stop_requested() => asked?,
        panic = first_panic(&mut loops) => return Err(panic.into()),
    }
    stop.cancel();
    while let Some(ended) = loops.join_next().await {
        ended?;
    }
    heart.stop().await;
    ledger.close().await;
    Ok(())
}

/// A loop that is over because there is nothing to do in it is no fault.
async fn first_panic(loops: &mut JoinSet<()>) -> JoinError {
    while let Some(ended) = loops.join_next().await {
        if let Err(panic) = ended {
            return panic;
        }
    }
    std::future::pending().await
}
