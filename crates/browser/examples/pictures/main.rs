//! README's pictures: a sale with real buyers, looked at in a browser and recorded in a terminal. Run by
//! `cargo xtask pictures`.

mod recording;
mod stage;
mod weight;

use std::path::{Path, PathBuf};
use std::time::Duration;

use browser::{Browser, Look, Tab};
use clap::Parser;
use serde_json::{Value, json};

use crate::stage::Stage;

/// Takes README's pictures
#[derive(Parser)]
#[command(name = "cargo xtask pictures")]
struct Arguments {
    /// The folder for them
    folder: PathBuf,
    /// The program that records a terminal
    #[arg(long)]
    recorder: PathBuf,
}

/// Sharp on a good screen, and small enough to be loaded with the page.
const SCREEN: Look = Look { width: 1_120, height: 760, scale: 1.5, ..Look::DESKTOP };
const PHONE: Look = Look { width: 390, height: 780, scale: 1.5, ..Look::PHONE };

/// Seconds of traffic on the operator's charts.
const TRAFFIC_SECONDS: u32 = 60;
/// Longest that the charts take to fill.
const FILLED_WITHIN: Duration = Duration::from_secs(150);

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let Arguments { folder, recorder } = Arguments::parse();
    std::fs::create_dir_all(&folder).expect("the folder for the pictures");
    let stage = Stage::set().await;
    let browser = Browser::start(stage.url()).await;
    weight::tell(&browser, &stage).await;
    shop(&browser, &stage, &folder).await;
    recording::make(&stage, &recorder, &folder.join("simulate.svg"));
    operator(&browser, &stage, &folder).await;
    browser.close().await;
    stage.clear().await;
}

async fn shop(browser: &Browser, stage: &Stage, folder: &Path) {
    let tab = browser.tab(SCREEN).await;
    tab.goto(stage.url()).await;
    tab.has("#live [data-sale]").await;
    tab.has("#upcoming [data-sale]").await;
    take(&tab, SCREEN, &folder.join("shop")).await;
    tab.goto(&stage.page()).await;
    tab.has("#buy[data-state=open]").await;
    tab.has("#link[data-link=live]").await;
    take(&tab, SCREEN, &folder.join("sale")).await;
    tab.close().await;

    let phone = browser.tab(PHONE).await;
    phone.goto(&stage.page()).await;
    phone.click("#buy-button").await;
    phone.has("#order[data-status=HELD]").await;
    phone.run("document.querySelector('#order').scrollIntoView({ block: 'center' })", Value::Null).await;
    take(&phone, PHONE, &folder.join("phone")).await;
    phone.close().await;
}

async fn operator(browser: &Browser, stage: &Stage, folder: &Path) {
    let tab = browser.tab(SCREEN).await;
    tab.goto(&format!("{}/admin", stage.url())).await;
    tab.fill("#token", testkit::ADMIN_TOKEN).await;
    tab.click("#login button[type=submit]").await;
    let traffic = stage.send_buyers(TRAFFIC_SECONDS);
    tab.click("button[data-action=chart-table]").await;
    let seconds = format!("document.querySelectorAll('table#traffic tbody tr').length >= {}", TRAFFIC_SECONDS - 10);
    tab.until_within(FILLED_WITHIN, "the charts are filled", &seconds).await;
    tab.click("button[data-action=chart-table]").await;
    tab.has("#books[data-books=ok]").await;
    take(&tab, SCREEN, &folder.join("operator")).await;
    drop(traffic);
}

/// Takes a picture in light and one in dark: `<name>-light.png`, `<name>-dark.png`.
async fn take(tab: &Tab<'_>, look: Look, name: &Path) {
    for (look, ending) in [(look, "light"), (look.in_the_dark(), "dark")] {
        tab.look(look).await;
        tab.devtools("Emulation.setScrollbarsHidden", json!({ "hidden": true })).await;
        tab.rests().await;
        let path = PathBuf::from(format!("{}-{ending}.png", name.display()));
        let picture = tab.picture().await;
        std::fs::write(&path, &picture).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        println!("{} ({} kB)", path.display(), picture.len() / 1_000);
    }
}
