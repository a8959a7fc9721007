//! A shop at work, and the people who come to it.

use std::time::Duration;

use browser::{Browser, Tab};
use chrono::{DateTime, SecondsFormat};
use domain::{SaleId, Terms};
use ledger::NewSale;
use reqwest::Method;
use serde_json::{Value, json};
use servers::Signal;
use sqlx::AssertSqlSafe;
use testkit::{ADMIN_TOKEN, Api, Process, Stack, new_sale, until};

/// Longest that something may take which is not waiting for a fault to heal.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// A system with one sale and everything at work: API, persister, keeper.
pub(crate) struct Shop {
    pub(crate) stack: Stack,
    pub(crate) api: Api,
    pub(crate) sale: SaleId,
    workers: Vec<Process>,
}

/// A sale of `stock` units that are held for so many seconds and then to be paid for.
pub(crate) fn held_sale(stock: u32, hold_seconds: u32) -> NewSale {
    let sale = new_sale(stock);
    NewSale { terms: Terms { hold_seconds, ..sale.terms }, ..sale }
}

/// So many milliseconds from now, as the API reads and writes times.
pub(crate) fn in_ms(ms: i64) -> String {
    let now_ms = i64::try_from(boot::clock::now_ms()).unwrap();
    DateTime::from_timestamp_millis(now_ms + ms).unwrap().to_rfc3339_opts(SecondsFormat::Millis, true)
}

impl Shop {
    /// With an active sale of `stock` units, one to a buyer.
    pub(crate) async fn with_stock(stock: u32) -> Self {
        Self::with(&new_sale(stock), &[]).await
    }

    /// With this sale, and processes with these settings.
    pub(crate) async fn with(sale: &NewSale, settings: &[(&str, &str)]) -> Self {
        Self::on(Stack::new().await, sale, settings).await
    }

    /// [`Shop::with`] in a system that was made already.
    pub(crate) async fn on(stack: Stack, sale: &NewSale, settings: &[(&str, &str)]) -> Self {
        stack.create(sale).await;
        stack.reconcile().await;
        let api = stack.api_with(settings).await;
        let worker = |name| stack.start_with(name, &[], settings);
        let workers = ["flashsale-persister", "flashsale-keeper"].map(worker).into();
        Self { stack, api, sale: sale.id, workers }
    }

    pub(crate) fn url(&self) -> &str {
        self.api.client.url()
    }

    /// The address of the sale's page.
    pub(crate) fn page(&self) -> String {
        format!("{}/sale/{}", self.url(), self.sale)
    }

    /// A browser whose pages may ask this shop and nobody else.
    pub(crate) async fn browser(&self) -> Browser {
        Browser::start(self.url()).await
    }

    /// The sale's page in a new tab, with somebody of this name before it.
    pub(crate) async fn visit<'a>(&self, browser: &'a Browser, name: &str) -> Tab<'a> {
        let tab = browser.open(&self.page()).await;
        call_oneself(&tab, name).await;
        tab
    }

    /// The operator's page in a new tab, at `view`, logged in.
    pub(crate) async fn operate<'a>(&self, browser: &'a Browser, view: &str) -> Tab<'a> {
        let tab = browser.open(&format!("{}/admin{view}", self.url())).await;
        log_in(&tab, ADMIN_TOKEN).await;
        // Once all is there, nothing moves any more under a click.
        tab.has("#books[data-books=ok]").await;
        tab
    }

    /// The fragment of this sale's view on the operator's page.
    pub(crate) fn view(&self, tab: &str) -> String {
        format!("#/sale/{}/{tab}", self.sale)
    }

    /// Creates another sale over the API, as an operator does; it opens by itself.
    pub(crate) async fn create(&self, changes: &Value) -> SaleId {
        let mut sale = json!({
            "name": "Another sale of a test", "totalStock": 1, "unitPriceMinor": 1_999, "currency": "EUR",
            "startsAt": in_ms(-60_000), "endsAt": in_ms(3_600_000),
        });
        sale.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let client = &self.api.client;
        let request = client.request(Method::POST, "/api/v1/admin/sales").bearer_auth(ADMIN_TOKEN).json(&sale);
        let created = client.send(request).await;
        assert_eq!(created.status, 201, "{created:?}");
        let sale = created.body["saleId"].as_str().unwrap().parse().unwrap();
        let known = async || (client.status(sale).await.status == 200).then_some(());
        until("the sale is shown", SOON, known).await;
        sale
    }

    /// Moves a sale that is to come so that it starts in so many milliseconds; when that is, in milliseconds since 1970.
    pub(crate) async fn starts_in(&self, sale: SaleId, ms: i64) -> i64 {
        let starts_at = in_ms(ms);
        let moved = self.api.client.edit(sale, &json!({ "startsAt": starts_at })).await;
        assert_eq!(moved.status, 200, "{moved:?}");
        DateTime::parse_from_rfc3339(&starts_at).unwrap().timestamp_millis()
    }

    /// Kills the API and starts another one.
    pub(crate) async fn restart_api(&mut self, settings: &[(&str, &str)], meanwhile: impl Future<Output = ()>) {
        self.api.process.signal(Signal::KILL);
        self.api.process.ended().await;
        meanwhile.await;
        self.api = self.stack.api_with(settings).await;
    }

    /// A purchase by somebody without a page; the order's id.
    pub(crate) async fn buys(&self, user: &str) -> String {
        let answer = self.api.client.purchase(self.sale, user).await;
        assert_eq!(answer.outcome(), "SUCCESS", "{user}: {answer:?}");
        answer.order_id().unwrap().to_owned()
    }

    pub(crate) async fn sql(&self, statements: String) {
        sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut self.stack.database.connect().await).await.unwrap();
    }

    /// Waits for the books to balance with nothing on its way, and holds the number of units sold against them.
    pub(crate) async fn has_sold(&self, units: u64) {
        let books = self.stack.settled(&self.api.client, self.sale).await;
        assert_eq!(books.body["books"]["sold"], units, "{:#}", books.body);
    }

    /// Ends the processes and removes what the test has left.
    pub(crate) async fn close(self) {
        for worker in self.workers {
            worker.kill();
        }
        drop(self.api);
        self.stack.close().await;
    }
}

/// Becomes a buyer of this name.
pub(crate) async fn call_oneself(tab: &Tab<'_>, name: &str) {
    tab.click("#buyer").await;
    tab.fill("#buyer-input", name).await;
    tab.click("#buyer-save").await;
    tab.sees("#buyer-name", name).await;
    tab.has_no("#buyer-dialog").await;
}

/// Logs in on the operator's page.
pub(crate) async fn log_in(tab: &Tab<'_>, token: &str) {
    tab.fill("#token", token).await;
    tab.click("#login button[type=submit]").await;
}

/// Waits until the buy box is in this state.
pub(crate) async fn is_to_be(tab: &Tab<'_>, state: &str) {
    tab.has(&format!("#buy[data-state={state}]")).await;
}

/// Waits until the buyer's order is in this state; its id.
pub(crate) async fn has_order(tab: &Tab<'_>, status: &str) -> String {
    tab.has(&format!("#order[data-status={status}]")).await;
    tab.text("#order-id").await
}
