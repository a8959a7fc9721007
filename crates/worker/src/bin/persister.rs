//! `flashsale-persister`: writes reservations from RabbitMQ as orders to PostgreSQL, until SIGTERM.

use anyhow::Result;
use boot::Settings;
use inventory::Inventory;
use ledger::Ledger;
use worker::Persister;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let settings = Settings::load()?;
    boot::start_logs(&settings.log)?;
    let ledger = Ledger::new(&settings.postgres)?;
    let inventory = Inventory::new(&settings.redis)?;
    let persister = Persister::new(ledger.clone(), inventory, settings.rabbitmq, &settings.persister);
    persister.run(boot::stop_requested()).await?;
    ledger.close().await;
    Ok(())
}
