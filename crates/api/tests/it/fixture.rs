//! A shop with one sale, and the shortest ways to buy from it.

use std::time::Duration;

use domain::SaleId;
use futures_util::{StreamExt, stream};
use ledger::NewSale;
use reqwest::{Body, Method};
use serde_json::{Value, json};
use testkit::{Answer, Api, Client, Process, Stack, new_sale, until};

/// Longest that something may take which is not waiting for a fault to heal.
pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) const PURCHASE: &str = "/api/v1/sale/purchase";

/// A system with one sale that was reconciled, and an API. No persister: tests start one where they want orders.
pub(crate) struct Shop {
    pub(crate) stack: Stack,
    pub(crate) api: Api,
    pub(crate) sale: SaleId,
}

impl Shop {
    /// With an active sale of `stock` units, one to a buyer.
    pub(crate) async fn with_stock(stock: u32) -> Self {
        Self::with(&new_sale(stock)).await
    }

    /// With this sale.
    pub(crate) async fn with(sale: &NewSale) -> Self {
        Self::on(Stack::new().await, sale).await
    }

    /// With this sale in a system that was made already.
    pub(crate) async fn on(stack: Stack, sale: &NewSale) -> Self {
        Self::on_with(stack, sale, &[]).await
    }

    /// [`Shop::on`], the API with other settings than the system's.
    pub(crate) async fn on_with(stack: Stack, sale: &NewSale, changes: &[(&str, &str)]) -> Self {
        stack.create(sale).await;
        stack.reconcile().await;
        let api = stack.api_with(changes).await;
        Self { stack, api, sale: sale.id }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.api.client
    }

    /// One click for one unit.
    pub(crate) async fn click(&self, user: &str) -> Answer {
        self.client().purchase(self.sale, user).await
    }

    /// A click that must win; the order's id.
    pub(crate) async fn buy(&self, user: &str) -> String {
        let answer = self.click(user).await;
        assert_eq!(answer.outcome(), "SUCCESS", "{user}: {answer:?}");
        answer.order_id().expect("an order id").to_owned()
    }

    /// A click for several units.
    pub(crate) async fn click_for(&self, user: &str, quantity: impl Into<Value>) -> Answer {
        let body = json!({ "saleId": self.sale, "userId": user, "quantity": quantity.into() });
        self.post(body.to_string()).await
    }

    /// A click with a body of any kind.
    pub(crate) async fn post(&self, body: impl Into<Body>) -> Answer {
        let request = self.client().request(Method::POST, PURCHASE).header("content-type", "application/json");
        self.client().send(request.body(body)).await
    }

    /// What the user has bought, once it is no longer on its way.
    pub(crate) async fn persisted(&self, user: &str) -> Answer {
        let client = self.client();
        let persisted = async || {
            let answer = client.purchase_of(self.sale, user).await;
            (answer.outcome() != "PENDING").then_some(answer)
        };
        until("the order is persisted", SOON, persisted).await
    }

    /// Waits for the books to balance with nothing on its way, and holds what was promised against the orders.
    pub(crate) async fn check_books(&self, promised: &[(String, String)]) -> Answer {
        let books = self.stack.settled(self.client(), self.sale).await;
        assert_eq!(self.stack.lost(self.sale, promised).await, Vec::<String>::new(), "promised and lost");
        assert_eq!(count(&books.body["books"]["sold"]), promised.len(), "nobody has bought who was not told so");
        books
    }

    /// Ends the processes and removes what the test has left.
    pub(crate) async fn close(self, workers: impl IntoIterator<Item = Process>) {
        for worker in workers {
            worker.kill();
        }
        drop(self.api);
        self.stack.close().await;
    }
}

/// A number of a JSON answer.
pub(crate) fn count(value: &Value) -> usize {
    value.as_u64().and_then(|number| usize::try_from(number).ok()).unwrap_or_else(|| panic!("{value} is no count"))
}

/// Clicks of these users, each for one unit, `at_once` at a time.
pub(crate) async fn clicks(
    clients: &[Client],
    sale: SaleId,
    users: impl IntoIterator<Item = String>,
    at_once: usize,
) -> Vec<(String, Answer)> {
    let clicks = users.into_iter().enumerate().map(|(n, user)| async move {
        let answer = clients[n % clients.len()].purchase(sale, &user).await;
        (user, answer)
    });
    stream::iter(clicks).buffer_unordered(at_once).collect().await
}

/// Of these answers, the winners and the ids of the orders they were promised.
pub(crate) fn promised(answers: &[(String, Answer)]) -> Vec<(String, String)> {
    let order = |answer: &Answer| answer.order_id().expect("a success names its order").to_owned();
    let won = answers.iter().filter(|(_, answer)| answer.outcome() == "SUCCESS");
    won.map(|(user, answer)| (user.clone(), order(answer))).collect()
}

/// Asserts that an answer is this problem, in the one shape that all problems have.
pub(crate) fn assert_problem(answer: &Answer, status: u16, code: &str) {
    let body = &answer.body;
    assert_eq!((answer.status.as_u16(), &body["code"]), (status, &json!(code)), "{answer:?}");
    assert_eq!(answer.headers["content-type"], "application/problem+json", "{answer:?}");
    assert_eq!(body["requestId"], answer.headers["x-request-id"].to_str().unwrap(), "{answer:?}");
    assert_eq!(body["type"], "about:blank");
    assert_eq!((&body["status"], &body["statusCode"]), (&json!(status), &json!(status)), "{answer:?}");
    assert_eq!(body["error"], answer.status.canonical_reason().unwrap(), "{answer:?}");
    assert!(body["instance"].as_str().is_some_and(|path| path.starts_with('/')), "{answer:?}");
    for field in ["title", "detail", "message"] {
        assert!(body[field].as_str().is_some_and(|text| !text.is_empty()), "no {field}: {answer:?}");
    }
    assert_eq!(body.as_object().unwrap().len(), 10, "no other field: {answer:?}");
}
