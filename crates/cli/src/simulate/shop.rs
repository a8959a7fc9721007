//! The API as a buyer sees it. Each request once; who tries again, and when, is the crowd's.

use std::time::{Duration, Instant};

use identity::Mint;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{RequestBuilder, StatusCode, Url, redirect};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::history::Told;
use crate::api::{at, cause};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longer than any answer may take by the API's own limits.
const TIMEOUT: Duration = Duration::from_secs(15);
/// The API says 408 on a connection that sends nothing for five seconds after it was opened: it would read as the answer
/// to a click that is sent in this moment.
const LONGEST_IDLE: Duration = Duration::from_secs(2);
/// Where an answer that asks for patience does not say how much.
const SHORT_REST: Duration = Duration::from_millis(100);
/// What is shown of an answer that cannot be understood.
const SHOWN_CHARS: usize = 120;

/// One sale's shop.
pub(super) struct Shop {
    http: reqwest::Client,
    api: Url,
    purchase: Url,
    sale: Uuid,
    quantity: u32,
    /// Where each buyer needs a token.
    mint: Option<Mint>,
    webhook_secret: Option<SecretString>,
}

/// An answer with how long it took and how long to wait before the next request.
pub(super) struct Answered {
    pub(super) told: Told,
    pub(super) took: Duration,
    pub(super) rest: Duration,
}

/// The few fields that a purchase is judged by.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    /// A word, or the number that a problem has.
    #[serde(default)]
    status: Value,
    order_id: Option<Uuid>,
    #[serde(default)]
    code: String,
}

impl Shop {
    pub(super) fn new(
        api: &Url,
        (sale, quantity): (Uuid, u32),
        connections: usize,
        (mint, webhook_secret): (Option<Mint>, Option<SecretString>),
    ) -> Self {
        let http = reqwest::Client::builder()
            .pool_max_idle_per_host(connections)
            .pool_idle_timeout(LONGEST_IDLE)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .redirect(redirect::Policy::none())
            .tcp_nodelay(true)
            .build()
            .expect("a client without TLS");
        let purchase = at(api, "/api/v1/sale/purchase");
        Self { http, api: api.clone(), purchase, sale, quantity, mint, webhook_secret }
    }

    pub(super) fn can_speak_for_the_provider(&self) -> bool {
        self.webhook_secret.is_some()
    }

    fn as_buyer(&self, user: &str, request: RequestBuilder) -> RequestBuilder {
        match &self.mint {
            Some(mint) => request.bearer_auth(mint.mint(user, boot::clock::now_ms()).token),
            None => request,
        }
    }

    /// One click of a buyer, whose name needs no escaping.
    pub(super) async fn click(&self, user: &str, key: Option<&str>) -> Answered {
        let Self { sale, quantity, .. } = self;
        let body = format!(r#"{{"saleId":"{sale}","userId":"{user}","quantity":{quantity}}}"#);
        let mut request = self.http.post(self.purchase.clone()).header(CONTENT_TYPE, "application/json").body(body);
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        let began = Instant::now();
        let (told, rest) = match self.as_buyer(user, request).send().await {
            Ok(response) => {
                let (status, rest) = (response.status(), rest_after(&response));
                match response.bytes().await {
                    Ok(body) => (told(status, &body), rest),
                    Err(error) => (Told::Lost(cause(&error)), SHORT_REST),
                }
            }
            Err(error) => (Told::Lost(cause(&error)), SHORT_REST),
        };
        Answered { told, took: began.elapsed(), rest }
    }

    /// Begins a payment: the provider's name for it, and the order's status.
    ///
    /// # Errors
    /// `Ok(wait)`: later. `Err(why)`: never.
    pub(super) async fn pay(&self, user: &str, order: Uuid) -> Result<(String, String), Result<Duration, String>> {
        let request = self.http.post(at(&self.api, &format!("/api/v1/orders/{order}/pay")));
        let (status, body, rest) = self.ask(self.as_buyer(user, request)).await.map_err(|_| Ok(SHORT_REST))?;
        let code = body["code"].as_str().unwrap_or_default();
        match (status.as_u16(), code) {
            (200, _) => {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                Ok((text(&body["payment"]["providerRef"]), text(&body["status"])))
            }
            (409, "ORDER_PENDING") | (429 | 503, _) => Err(Ok(rest)),
            (501, _) => Err(Err("PAYMENTS_OFF".to_owned())),
            _ => Err(Err(format!("pay was answered {status} {}", shown(&body.to_string())))),
        }
    }

    /// Reports as the provider does; the same event however often it is sent. Whether it was received.
    pub(super) async fn report(&self, payment: &str, order: Uuid, succeeds: bool) -> bool {
        let Some(secret) = &self.webhook_secret else { return false };
        let kind = if succeeds { "amount_capturable_updated" } else { "payment_failed" };
        let object = json!({ "id": payment, "metadata": { "order_id": order } });
        let event = json!({ "id": format!("evt_{order}"), "type": format!("payment_intent.{kind}"),
            "data": { "object": object } });
        let body = event.to_string();
        let signature = payments::sign(secret, body.as_bytes(), boot::clock::now_ms() / 1_000);
        let request = self.http.post(at(&self.api, "/api/v1/payments/webhook"));
        let request = request.header(CONTENT_TYPE, "application/json").header(payments::SIGNATURE_HEADER, signature);
        matches!(self.ask(request.body(body)).await, Ok((StatusCode::OK, ..)))
    }

    /// The order's status; `None` where it cannot be read now.
    pub(super) async fn status_of(&self, user: &str, order: Uuid) -> Option<String> {
        let request = self.http.get(at(&self.api, &format!("/api/v1/orders/{order}")));
        let (status, body, _) = self.ask(self.as_buyer(user, request)).await.ok()?;
        (status == StatusCode::OK).then(|| body["status"].as_str().map(str::to_owned)).flatten()
    }

    /// Units for sale and whether the sale sells; `None` where it cannot be read now.
    pub(super) async fn on_sale(&self) -> Option<(i64, bool)> {
        let request = self.http.get(at(&self.api, &format!("/api/v1/sale/{}/status", self.sale)));
        let (_, body, _) = self.ask(request).await.ok()?;
        body["remainingStock"].as_i64().zip(body["saleActive"].as_bool())
    }

    async fn ask(&self, request: RequestBuilder) -> Result<(StatusCode, Value, Duration), reqwest::Error> {
        let response = request.send().await?;
        let (status, rest) = (response.status(), rest_after(&response));
        let body = serde_json::from_slice(&response.bytes().await?).unwrap_or_default();
        Ok((status, body, rest))
    }
}

fn rest_after(response: &reqwest::Response) -> Duration {
    let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    seconds.map_or(SHORT_REST, Duration::from_secs)
}

/// What an answer says. Pure.
fn told(status: StatusCode, body: &[u8]) -> Told {
    let odd = || Told::Odd(format!("{} {}", status.as_u16(), shown(&String::from_utf8_lossy(body))));
    let Ok(Answer { status: outcome, order_id, code }) = serde_json::from_slice(body) else {
        return match status {
            StatusCode::SERVICE_UNAVAILABLE => Told::TryAgain,
            _ => odd(),
        };
    };
    match (status.as_u16(), outcome.as_str().unwrap_or_default(), order_id, code.as_str()) {
        (200, "SUCCESS", Some(order), _) => Told::Promised(order),
        (200, "ALREADY_PURCHASED", Some(order), _) => Told::Held(order),
        (200, "SOLD_OUT", ..) => Told::SoldOut,
        (400, _, _, "NOT_ACTIVE") => Told::NotActive,
        (429, _, _, "RATE_LIMITED") => Told::Limited,
        (503, ..) => Told::TryAgain,
        _ => odd(),
    }
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_of_the_contract_is_known_and_no_other_passes_for_one() {
        let id = Uuid::from_u128(7);
        let success = format!(r#"{{"success":true,"status":"SUCCESS","orderId":"{id}","remainingStock":1}}"#);
        let held = format!(r#"{{"success":false,"status":"ALREADY_PURCHASED","orderId":"{id}"}}"#);
        for (status, body, expected) in [
            (200, success.as_str(), Told::Promised(id)),
            (200, &held, Told::Held(id)),
            (200, r#"{"success":false,"status":"SOLD_OUT","remainingStock":0}"#, Told::SoldOut),
            (400, r#"{"status":400,"code":"NOT_ACTIVE"}"#, Told::NotActive),
            (429, r#"{"status":429,"code":"RATE_LIMITED"}"#, Told::Limited),
            (503, r#"{"success":false,"status":"TRY_AGAIN"}"#, Told::TryAgain),
            (503, "a proxy's own words", Told::TryAgain),
        ] {
            assert_eq!(told(StatusCode::from_u16(status).unwrap(), body.as_bytes()), expected, "{status} {body}");
        }
        for (status, body) in [
            (200, r#"{"status":"SUCCESS"}"#),
            (200, r#"{"status":"SUCCESS","orderId":"7"}"#),
            (200, r#"{"status":"WELL_DONE"}"#),
            (201, success.as_str()),
            (500, r#"{"status":500,"code":"INTERNAL"}"#),
            (400, r#"{"status":400,"code":"INVALID_FIELD"}"#),
            (401, r#"{"status":401,"code":"TOKEN_NEEDED"}"#),
            (200, "<html>"),
            (302, ""),
        ] {
            let told = told(StatusCode::from_u16(status).unwrap(), body.as_bytes());
            assert!(matches!(told, Told::Odd(_)), "{status} {body}: {told:?}");
        }
    }
}
