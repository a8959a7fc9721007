//! `flashsale-keeper`: looks after every sale once a second, until SIGTERM.

use anyhow::Result;
use boot::Settings;
use inventory::Inventory;
use ledger::Ledger;
use worker::Keeper;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let settings = Settings::load()?;
    boot::start_logs(&settings.log)?;
    let ledger = Ledger::new(&settings.postgres)?;
    let inventory = Inventory::new(&settings.redis)?;
    let mut keeper = Keeper::new(ledger.clone(), inventory, settings.rabbitmq, settings.keeper);
    keeper.run(boot::stop_requested()).await?;
    ledger.close().await;
    Ok(())
}
