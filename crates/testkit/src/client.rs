//! A client of the API: one helper per endpoint.

use std::time::Duration;

use domain::SaleId;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

/// The operator's token in every test.
pub const ADMIN_TOKEN: &str = "the-operators-token-of-the-tests";

/// What the payment provider signs its webhooks with in every test.
pub const WEBHOOK_SECRET: &str = "whsec_of_the_payments_of_the_tests";

/// A connection that was opened and not needed is told 408 after five seconds, and that would read as the answer to
/// whatever was sent over it in this moment. So it is used before or not at all.
const LONGEST_IDLE: Duration = Duration::from_secs(2);

/// Talks to one API process. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    url: String,
}

/// An answer: status, body, and the response's headers.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: reqwest::header::HeaderMap,
    /// The body; null where it is no JSON.
    pub body: Value,
}

impl Answer {
    async fn of(response: Response) -> Result<Self, reqwest::Error> {
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await?;
        Ok(Self { status, headers, body: serde_json::from_str(&text).unwrap_or_default() })
    }

    /// The body's `status`, such as `SUCCESS`.
    #[must_use]
    pub fn outcome(&self) -> &str {
        self.body["status"].as_str().unwrap_or_default()
    }

    /// The body's `orderId`.
    #[must_use]
    pub fn order_id(&self) -> Option<&str> {
        self.body["orderId"].as_str()
    }
}

impl Client {
    /// A client of the API at `url`.
    #[must_use]
    pub fn new(url: &str) -> Self {
        let http = reqwest::Client::builder().pool_max_idle_per_host(512).pool_idle_timeout(LONGEST_IDLE);
        let http = http.build().expect("a client without TLS");
        Self { http, url: url.to_owned() }
    }

    /// The API's address: `http://host:port`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A request to `path`, to be changed and sent with [`Client::send`].
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url))
    }

    /// Sends a request.
    ///
    /// # Panics
    /// No answer came.
    pub async fn send(&self, request: RequestBuilder) -> Answer {
        self.try_send(request).await.expect("a whole answer")
    }

    /// [`Client::send`] where the API may be dying.
    ///
    /// # Errors
    /// The connection broke: the outcome is unknown.
    pub async fn try_send(&self, request: RequestBuilder) -> Result<Answer, reqwest::Error> {
        Answer::of(request.send().await?).await
    }

    /// `GET path`
    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    /// `GET path` as the operator.
    pub async fn get_as_operator(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path).bearer_auth(ADMIN_TOKEN)).await
    }

    /// `POST /api/v1/sale/purchase`
    pub async fn purchase(&self, sale: SaleId, user: &str) -> Answer {
        self.try_purchase(sale, user).await.expect("an answer")
    }

    /// [`Client::purchase`] where the API may be dying.
    ///
    /// # Errors
    /// The connection broke: the outcome is unknown.
    pub async fn try_purchase(&self, sale: SaleId, user: &str) -> Result<Answer, reqwest::Error> {
        let body = json!({ "saleId": sale, "userId": user });
        Answer::of(self.request(Method::POST, "/api/v1/sale/purchase").json(&body).send().await?).await
    }

    /// `GET /api/v1/sale/{sale}/status`
    pub async fn status(&self, sale: SaleId) -> Answer {
        self.get(&format!("/api/v1/sale/{sale}/status")).await
    }

    /// `GET /api/v1/sale/{sale}/user/{user}/purchase`
    pub async fn purchase_of(&self, sale: SaleId, user: &str) -> Answer {
        self.get(&format!("/api/v1/sale/{sale}/user/{user}/purchase")).await
    }

    /// `GET /api/v1/orders/{order}`
    pub async fn order(&self, order: &str) -> Answer {
        self.get(&format!("/api/v1/orders/{order}")).await
    }

    /// `POST /api/v1/orders/{order}/pay`
    pub async fn pay(&self, order: &str) -> Answer {
        self.try_pay(order).await.expect("an answer")
    }

    /// [`Client::pay`] where the API may be dying.
    ///
    /// # Errors
    /// The connection broke: the payment may be started.
    pub async fn try_pay(&self, order: &str) -> Result<Answer, reqwest::Error> {
        Answer::of(self.request(Method::POST, &format!("/api/v1/orders/{order}/pay")).send().await?).await
    }

    /// `POST /api/v1/orders/{order}/cancel`, as its buyer.
    pub async fn cancel(&self, order: &str) -> Answer {
        self.send(self.request(Method::POST, &format!("/api/v1/orders/{order}/cancel"))).await
    }

    /// `POST /api/v1/admin/orders/{order}/cancel`
    pub async fn cancel_as_operator(&self, order: &str, restock: bool) -> Answer {
        let body = json!({ "restock": restock, "reason": "a test" });
        let path = format!("/api/v1/admin/orders/{order}/cancel");
        self.send(self.request(Method::POST, &path).bearer_auth(ADMIN_TOKEN).json(&body)).await
    }

    /// `POST /api/v1/payments/webhook`, signed as the provider does.
    ///
    /// # Errors
    /// The connection broke: the provider would send it again.
    pub async fn webhook(&self, body: &str) -> Result<Answer, reqwest::Error> {
        let signature = payments::sign(&WEBHOOK_SECRET.into(), body.as_bytes(), boot::clock::now_ms() / 1_000);
        let request = self.request(Method::POST, "/api/v1/payments/webhook").header("content-type", "application/json");
        let request = request.header(payments::SIGNATURE_HEADER, signature).body(body.to_owned());
        Answer::of(request.send().await?).await
    }

    /// `POST /api/v1/admin/reset`
    pub async fn reset(&self, sale: SaleId, force: bool) -> Answer {
        let body = json!({ "saleId": sale, "force": force });
        self.send(self.request(Method::POST, "/api/v1/admin/reset").bearer_auth(ADMIN_TOKEN).json(&body)).await
    }

    /// `PATCH /api/v1/admin/sales/{sale}`
    pub async fn edit(&self, sale: SaleId, changes: &Value) -> Answer {
        self.try_edit(sale, changes).await.expect("an answer")
    }

    /// [`Client::edit`] where the API may be dying.
    ///
    /// # Errors
    /// The connection broke: what became of it is unknown.
    pub async fn try_edit(&self, sale: SaleId, changes: &Value) -> Result<Answer, reqwest::Error> {
        let request = self.request(Method::PATCH, &format!("/api/v1/admin/sales/{sale}"));
        Answer::of(request.bearer_auth(ADMIN_TOKEN).json(changes).send().await?).await
    }

    /// `POST /api/v1/admin/sales/{sale}/{action}`, such as `pause`.
    pub async fn act(&self, sale: SaleId, action: &str) -> Answer {
        self.try_act(sale, action).await.expect("an answer")
    }

    /// [`Client::act`] where the API may be dying.
    ///
    /// # Errors
    /// The connection broke: what became of it is unknown.
    pub async fn try_act(&self, sale: SaleId, action: &str) -> Result<Answer, reqwest::Error> {
        let request = self.request(Method::POST, &format!("/api/v1/admin/sales/{sale}/{action}"));
        Answer::of(request.bearer_auth(ADMIN_TOKEN).send().await?).await
    }

    /// `GET /api/v1/admin/sales/{sale}`
    pub async fn admin_sale(&self, sale: SaleId) -> Answer {
        self.get_as_operator(&format!("/api/v1/admin/sales/{sale}")).await
    }

    /// `GET /api/v1/admin/sales/{sale}/verify`
    pub async fn verify(&self, sale: SaleId) -> Answer {
        self.get_as_operator(&format!("/api/v1/admin/sales/{sale}/verify")).await
    }
}
