//! The shop that the pictures are of.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use chrono::{DateTime, SecondsFormat};
use domain::SaleId;
use reqwest::Method;
use serde_json::json;
use testkit::{ADMIN_TOKEN, Api, Process, Stack, WEBHOOK_SECRET, until};

const READY_WITHIN: Duration = Duration::from_secs(60);

const MINUTE_MS: i64 = 60_000;

/// A system at work with a few sales.
pub(crate) struct Stage {
    stack: Stack,
    api: Api,
    workers: Vec<Process>,
    /// The sale that is looked at.
    sale: SaleId,
}

/// Buyers on their way; they go with the handle.
pub(crate) struct Buyers(Child);

impl Drop for Buyers {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Stage {
    pub(crate) async fn set() -> Self {
        let stack = Stack::new().await;
        let api = stack.api().await;
        let workers = vec![stack.persister(), stack.persister(), stack.keeper()];
        let mut stage = Self { stack, api, workers, sale: SaleId(Default::default()) };
        stage.sale = stage.create("Halden trail shoe, moss green", 240, 12_900, (-12, 48), 600).await;
        let last_ones = stage.create("Ridge enamel mug, set of two", 24, 3_400, (-20, 25), 0).await;
        let gone = stage.create("Field notebook, numbered", 12, 1_800, (-30, 60), 0).await;
        stage.create("Sundown poster, first print", 80, 4_500, (23, 83), 300).await;
        stage.create("Tidewater chronograph", 40, 38_000, (60 * 26, 60 * 27), 900).await;
        for (sale, units) in [(stage.sale, 151), (last_ones, 19), (gone, 12)] {
            stage.sell(sale, units).await;
        }
        stage
    }

    pub(crate) fn url(&self) -> &str {
        self.api.client.url()
    }

    /// The address of a sale's page.
    pub(crate) fn page(&self) -> String {
        format!("{}/sale/{}", self.url(), self.sale)
    }

    /// A sale between these minutes from now; it is open, or waits for its start.
    async fn create(&self, name: &str, stock: u32, price: i64, minutes: (i64, i64), hold_seconds: u32) -> SaleId {
        let now_ms = i64::try_from(boot::clock::now_ms()).expect("a clock within reason");
        let at = |minutes| {
            let at = DateTime::from_timestamp_millis(now_ms + minutes * MINUTE_MS).expect("a time within reason");
            at.to_rfc3339_opts(SecondsFormat::Millis, true)
        };
        let sale = json!({
            "name": name, "totalStock": stock, "unitPriceMinor": price, "currency": "EUR", "holdSeconds": hold_seconds,
            "startsAt": at(minutes.0), "endsAt": at(minutes.1),
        });
        let client = &self.api.client;
        let request = client.request(Method::POST, "/api/v1/admin/sales").bearer_auth(ADMIN_TOKEN).json(&sale);
        let created = client.send(request).await;
        let id = created.body["saleId"].as_str().unwrap_or_else(|| panic!("{name}: {created:?}"));
        let id: SaleId = id.parse().expect("an id");
        let is_open = async || (client.admin_sale(id).await.body["state"] == "open").then_some(());
        until("the sale is open", READY_WITHIN, is_open).await;
        id
    }

    async fn sell(&self, sale: SaleId, units: usize) {
        for buyer in 0..units {
            let sold = async || {
                let answer = self.api.client.purchase(sale, &format!("buyer-{buyer}")).await;
                (answer.outcome() != "TRY_AGAIN" && answer.status == 200).then_some(())
            };
            until("a unit is sold", READY_WITHIN, sold).await;
        }
    }

    /// A command of `flashsale` that speaks to this shop.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("FLASHSALE_URL", self.url()).env("FLASHSALE_ADMIN_TOKEN", ADMIN_TOKEN);
        command.env("FLASHSALE_PAYMENTS_WEBHOOK_SECRET", WEBHOOK_SECRET);
        command
    }

    /// The program `flashsale`.
    pub(crate) fn program() -> String {
        let folder = std::env::var("FLASHSALE_TEST_BIN_DIR").expect("run by cargo xtask pictures");
        format!("{folder}/flashsale")
    }

    /// Sends buyers for somewhat longer than so many seconds.
    pub(crate) fn send_buyers(&self, seconds: u32) -> Buyers {
        let (rate, all) = (60, 60 * (seconds + 40));
        let mut simulate = self.command(&Self::program());
        simulate.args(["simulate", "--pay", "--duplicates", "1", "--rate", &rate.to_string()]);
        simulate.args(["--buyers", &all.to_string(), "--stock", &(all * 4 / 5).to_string()]);
        Buyers(simulate.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("flashsale runs"))
    }

    /// Ends everything.
    pub(crate) async fn clear(self) {
        for worker in self.workers {
            worker.kill();
        }
        drop(self.api);
        self.stack.close().await;
    }
}
