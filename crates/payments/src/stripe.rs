//! Stripe: payment intents that are captured by hand. <https://docs.stripe.com/api/payment_intents>

use std::time::Duration;

use reqwest::{Method, RequestBuilder, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::{Config, Error, InvalidConfig, Standing, StartPayment, Started};

/// What Stripe answers changes with its version: this is the one that is read here.
const VERSION: &str = "2024-06-20";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// For a whole answer. A buyer's request waits for one or two of them, and for ten seconds at most.
const TIMEOUT: Duration = Duration::from_secs(4);
/// How long an order's idempotency key is used, in milliseconds, see [`Stripe::start`].
const KEY_LASTS_MS: u64 = 10_000;

/// A client of Stripe's API.
pub(crate) struct Stripe {
    http: reqwest::Client,
    url: String,
    secret_key: SecretString,
}

#[derive(Deserialize)]
struct Intent {
    id: String,
    status: String,
    client_secret: Option<String>,
    last_payment_error: Option<serde::de::IgnoredAny>,
    /// Only where it was asked for.
    latest_charge: Option<Charge>,
}

/// A charge, or its id alone where the whole was not asked for.
#[derive(Deserialize)]
#[serde(untagged)]
enum Charge {
    Whole { refunded: bool },
    Id(serde::de::IgnoredAny),
}

#[derive(Deserialize)]
struct Refund {
    status: Option<String>,
}

#[derive(Deserialize)]
struct Refusal {
    error: Reason,
}

#[derive(Deserialize)]
struct Reason {
    r#type: Option<String>,
    code: Option<String>,
}

/// Currencies whose smallest unit is not Stripe's unit: their amounts would be a hundred times too much or too little.
/// <https://docs.stripe.com/currencies#special-cases>
const OTHERWISE_COUNTED: [&str; 3] = ["ISK", "MGA", "UGX"];

/// Whether Stripe refuses because the payment is past the state that the call needs: a call before it may have succeeded.
fn is_about_the_state(error: &Error) -> bool {
    let codes = ["payment_intent_unexpected_state", "charge_already_refunded", "charge_already_captured"];
    matches!(error, Error::Refused(code) if codes.contains(&code.as_str()))
}

impl Intent {
    /// <https://docs.stripe.com/payments/paymentintents/lifecycle>
    fn standing(&self) -> Standing {
        match self.status.as_str() {
            "requires_capture" => Standing::Authorized,
            "succeeded" if matches!(self.latest_charge, Some(Charge::Whole { refunded: true })) => Standing::Cancelled,
            "succeeded" => Standing::Captured,
            "canceled" => Standing::Cancelled,
            "requires_payment_method" if self.last_payment_error.is_some() => Standing::Failed,
            _ => Standing::Pending,
        }
    }
}

impl Stripe {
    pub(crate) fn new(config: &Config) -> Result<Self, InvalidConfig> {
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            // The secret key is for Stripe alone.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| InvalidConfig::new("provider", format!("stripe cannot be used here: {error:?}")))?;
        let url = config.stripe_url.trim_end_matches('/').to_owned();
        Ok(Self { http, url, secret_key: config.stripe_secret_key.clone() })
    }

    /// Creates the intent. A repetition within seconds is answered the same intent. A later one makes another: under one
    /// idempotency key Stripe gives the same answer for a day, and that of 500 too. An intent that is left behind is
    /// never paid, because nobody was told its client secret.
    pub(crate) async fn start(&self, payment: &StartPayment, now_ms: u64) -> Result<Started, Error> {
        if OTHERWISE_COUNTED.contains(&payment.currency.as_str()) {
            return Err(Error::Refused(format!("amounts in {} are counted otherwise at Stripe", payment.currency)));
        }
        let order = payment.order.to_string();
        let form = [
            ("amount", payment.amount_minor.to_string()),
            ("currency", payment.currency.as_str().to_lowercase()),
            ("capture_method", "manual".to_owned()),
            ("metadata[order_id]", order.clone()),
            ("metadata[sale_id]", payment.sale.to_string()),
        ];
        let key = format!("flashsale-{order}-{}", now_ms / KEY_LASTS_MS);
        let request = self.request(Method::POST, "/v1/payment_intents").header("Idempotency-Key", key);
        let intent: Intent = answer(request.form(&form)).await?;
        Ok(Started { provider_ref: intent.id, client_secret: intent.client_secret })
    }

    pub(crate) async fn client_secret(&self, provider_ref: &str) -> Result<Option<String>, Error> {
        Ok(self.intent(provider_ref).await?.client_secret)
    }

    pub(crate) async fn look_up(&self, provider_ref: &str) -> Result<Standing, Error> {
        Ok(self.intent(provider_ref).await?.standing())
    }

    /// Without an idempotency key, on purpose: the intent's own state makes it happen once, and a 500 is not replayed.
    pub(crate) async fn capture(&self, provider_ref: &str) -> Result<(), Error> {
        let error = match answer::<Intent>(self.request(Method::POST, &path(provider_ref, "/capture"))).await {
            Ok(intent) if intent.standing() == Standing::Captured => return Ok(()),
            Ok(intent) => return Err(Error::Transient(format!("after a capture the intent is {}", intent.status))),
            Err(error) => error,
        };
        if is_about_the_state(&error) && self.look_up(provider_ref).await? == Standing::Captured {
            return Ok(());
        }
        Err(error)
    }

    /// Without an idempotency key, as [`Stripe::capture`].
    pub(crate) async fn release(&self, provider_ref: &str) -> Result<(), Error> {
        match answer::<Intent>(self.request(Method::POST, &path(provider_ref, "/cancel"))).await {
            Ok(_) => return Ok(()),
            Err(error) if is_about_the_state(&error) => {}
            Err(error) => return Err(error),
        }
        match self.look_up(provider_ref).await? {
            Standing::Cancelled => Ok(()),
            Standing::Captured => self.refund(provider_ref).await,
            standing => Err(Error::Transient(format!("a payment that is {standing:?} could not be cancelled"))),
        }
    }

    /// All of it.
    async fn refund(&self, provider_ref: &str) -> Result<(), Error> {
        let request = self.request(Method::POST, "/v1/refunds").form(&[("payment_intent", provider_ref)]);
        match answer::<Refund>(request).await {
            Ok(Refund { status }) if matches!(status.as_deref(), Some("failed" | "canceled")) => {
                Err(Error::Refused("the refund has failed".to_owned()))
            }
            Ok(_) => Ok(()),
            Err(error) if is_about_the_state(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn intent(&self, provider_ref: &str) -> Result<Intent, Error> {
        answer(self.request(Method::GET, &path(provider_ref, "?expand[]=latest_charge"))).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        request.bearer_auth(self.secret_key.expose_secret()).header("Stripe-Version", VERSION)
    }
}

/// The path of an intent. Its id came from Stripe once; nothing in it may lead elsewhere.
fn path(provider_ref: &str, rest: &str) -> String {
    let id: String = provider_ref.chars().filter(|char| char.is_ascii_alphanumeric() || *char == '_').collect();
    format!("/v1/payment_intents/{id}{rest}")
}

async fn answer<T: DeserializeOwned>(request: RequestBuilder) -> Result<T, Error> {
    let away = |error: reqwest::Error| Error::Transient(error.without_url().to_string());
    let response = request.send().await.map_err(away)?;
    let status = response.status();
    let body = response.bytes().await.map_err(away)?;
    if status.is_success() {
        return serde_json::from_slice(&body).map_err(|error| Error::Transient(format!("its answer is odd: {error}")));
    }
    let reason = serde_json::from_slice(&body).ok().map(|Refusal { error }| error);
    let reason = reason.and_then(|reason| reason.code.or(reason.r#type)).unwrap_or_else(|| status.to_string());
    match status {
        // Our key is wrong or may not do this, or is of an account that does not have the payment: an operator mends that,
        // and no order is lost by it.
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => {
            Err(Error::Transient(format!("it answered {status}: {reason}")))
        }
        // Another request about this is under way, or there were too many.
        StatusCode::CONFLICT | StatusCode::TOO_MANY_REQUESTS => {
            Err(Error::Transient(format!("it answered {status}: {reason}")))
        }
        // Stripe itself calls what has happened then indeterminate.
        status if status.is_server_error() => Err(Error::Transient(format!("it answered {status}"))),
        _ => Err(Error::Refused(reason)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(json: &str) -> Standing {
        serde_json::from_str::<Intent>(json).unwrap().standing()
    }

    #[test]
    fn each_status_of_an_intent_is_a_standing() {
        let plain =
            |status: &str| standing(&format!(r#"{{"id":"pi_1","status":"{status}","last_payment_error":null}}"#));
        for status in ["requires_payment_method", "requires_confirmation", "requires_action", "processing"] {
            assert_eq!(plain(status), Standing::Pending, "{status}");
        }
        assert_eq!(plain("requires_capture"), Standing::Authorized);
        assert_eq!(plain("succeeded"), Standing::Captured);
        assert_eq!(plain("canceled"), Standing::Cancelled);
        let refused =
            r#"{"id":"pi_1","status":"requires_payment_method","last_payment_error":{"code":"card_declined"}}"#;
        assert_eq!(standing(refused), Standing::Failed);
        for (charge, expected) in [
            (r#"{"refunded":true}"#, Standing::Cancelled),
            (r#"{"refunded":false}"#, Standing::Captured),
            (r#""ch_1""#, Standing::Captured),
            ("null", Standing::Captured),
        ] {
            let intent = format!(r#"{{"id":"pi_1","status":"succeeded","latest_charge":{charge}}}"#);
            assert_eq!(standing(&intent), expected, "{charge}");
        }
    }

    #[test]
    fn a_payment_of_any_name_stays_within_its_path() {
        assert_eq!(
            path("pi_3MtwBwLkdIwHu7ix28a3tqPa", "/capture"),
            "/v1/payment_intents/pi_3MtwBwLkdIwHu7ix28a3tqPa/capture"
        );
        assert_eq!(path("../refunds?x#y", ""), "/v1/payment_intents/refundsxy");
    }
}
