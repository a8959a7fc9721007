//! A client of the API: one helper per endpoint.

use domain::SaleId;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

/// The operator's token in every test.
pub const ADMIN_TOKEN: &str = "the-operators-token-of-the-tests";

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
        let http = reqwest::Client::builder().pool_max_idle_per_host(512).build().expect("a client without TLS");
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
        Answer::of(request.send().await.expect("an answer")).await.expect("a whole answer")
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

    /// `POST /api/v1/admin/reset`
    pub async fn reset(&self, sale: SaleId, force: bool) -> Answer {
        let body = json!({ "saleId": sale, "force": force });
        self.send(self.request(Method::POST, "/api/v1/admin/reset").bearer_auth(ADMIN_TOKEN).json(&body)).await
    }

    /// `GET /api/v1/admin/sales/{sale}/verify`
    pub async fn verify(&self, sale: SaleId) -> Answer {
        self.get_as_operator(&format!("/api/v1/admin/sales/{sale}/verify")).await
    }
}
