//! `flashsale-persister`: writes reservations from RabbitMQ as orders to PostgreSQL, until SIGTERM.

use anyhow::Result;
use boot::{Handled, Heart, Role, Servers, Settings, Watchdog};
use inventory::Inventory;
use ledger::Ledger;
use worker::Persister;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let settings = Settings::load()?;
    boot::start_logs(&settings.log)?;
    let servers = Servers::of(&settings);
    servers.tell();
    let watchdog = Watchdog::start(&settings.worker)?;
    let ledger = Ledger::new(&settings.postgres)?;
    let inventory = Inventory::new(&settings.redis)?;
    let written = Handled::default();
    let heart = Heart::start(&ledger, Role::Persister, &written);
    let stores = (ledger.clone(), inventory, settings.rabbitmq);
    let persister = Persister::new(stores, &settings.persister, (servers, written), watchdog.clone());
    persister.run(watchdog.stop_requested()).await?;
    heart.stop().await;
    ledger.close().await;
    Ok(())
}
