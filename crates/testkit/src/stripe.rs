//! A local server that speaks as much of Stripe's protocol as we use, with Stripe's real semantics, and tells what it
//! knows: which money was taken, and which given back. <https://docs.stripe.com/api>
//!
//! Webhooks are not sent by itself: a test takes the events and delivers them late, twice, reordered or not at all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::client::WEBHOOK_SECRET;

const SECRET_KEY: &str = "sk_test_of_the_tests";
/// Stripe takes no payment of less than 50 cents.
const LEAST_AMOUNT: i64 = 50;

/// The server. It ends with the test's runtime.
#[derive(Clone)]
pub struct Stripe {
    url: String,
    state: Arc<Mutex<State>>,
}

/// A payment intent as Stripe has it.
#[derive(Clone, Debug)]
pub struct Intent {
    /// `pi_...`
    pub id: String,
    /// The order that it was created for.
    pub order: String,
    /// `requires_payment_method`, `requires_capture`, `succeeded` or `canceled`.
    pub status: &'static str,
    /// What is to be paid.
    pub amount: i64,
    /// Whether all of what was taken was given back.
    pub refunded: bool,
    currency: String,
    declined: bool,
    client_secret: String,
}

impl Intent {
    /// Whether the shop has the buyer's money.
    #[must_use]
    pub fn is_captured(&self) -> bool {
        self.status == "succeeded" && !self.refunded
    }

    /// Whether no money moved, or none can any more, or all of it was given back.
    #[must_use]
    pub fn is_let_go(&self) -> bool {
        self.refunded || matches!(self.status, "canceled" | "requires_payment_method")
    }
}

/// An event that Stripe would tell by a webhook.
#[derive(Clone, Debug)]
pub struct StripeEvent {
    /// `evt_...`
    pub id: String,
    /// Such as `payment_intent.succeeded`.
    pub kind: &'static str,
    /// The body.
    pub body: String,
}

/// What a request to the server meets.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Weather {
    /// An answer.
    #[default]
    Fine,
    /// 500, and nothing is done.
    Down,
    /// Every third request: 500, by turns with nothing done and with everything done.
    Rough,
}

#[derive(Default)]
struct State {
    intents: Vec<Intent>,
    events: Vec<StripeEvent>,
    /// By idempotency key: what was asked, and what was answered.
    answered: HashMap<String, (String, StatusCode, Value)>,
    weather: Weather,
    delay: Duration,
    requests: usize,
}

type Outcome = Result<Value, (StatusCode, Value)>;

impl Stripe {
    /// Starts the server on a free port.
    ///
    /// # Panics
    /// There is no port.
    pub async fn start() -> Self {
        let state: Arc<Mutex<State>> = Arc::default();
        let shared = Arc::clone(&state);
        let server = HttpServer::new(move || {
            App::new().app_data(web::Data::from(Arc::clone(&shared))).default_service(web::to(answer))
        });
        let server = server.workers(1).disable_signals().bind(("127.0.0.1", 0)).expect("a free port");
        let url = format!("http://{}", server.addrs()[0]);
        tokio::spawn(server.run());
        Self { url, state }
    }

    /// The settings of processes that pay with this server.
    #[must_use]
    pub fn settings(&self) -> [(&str, &str); 4] {
        [
            ("FLASHSALE__PAYMENTS__PROVIDER", "stripe"),
            ("FLASHSALE__PAYMENTS__WEBHOOK_SECRET", WEBHOOK_SECRET),
            ("FLASHSALE__PAYMENTS__STRIPE_URL", &self.url),
            ("FLASHSALE__PAYMENTS__STRIPE_SECRET_KEY", SECRET_KEY),
        ]
    }

    /// What requests meet from now on.
    pub fn set_weather(&self, weather: Weather) {
        self.state().weather = weather;
    }

    /// How long each request takes from now on.
    pub fn set_delay(&self, delay: Duration) {
        self.state().delay = delay;
    }

    /// Every intent that was ever created.
    #[must_use]
    pub fn intents(&self) -> Vec<Intent> {
        self.state().intents.clone()
    }

    /// The one intent of an order whose client secret a buyer was told: what others there are, nobody can pay.
    ///
    /// # Panics
    /// There is none.
    #[must_use]
    pub fn intent(&self, id: &str) -> Intent {
        self.state().intents.iter().find(|intent| intent.id == id).expect("an intent of this id").clone()
    }

    /// The buyer's card is good: the money is reserved. Too late for an intent that was cancelled.
    pub fn pay(&self, id: &str) {
        self.state().buyer_moves(id, "requires_capture", "payment_intent.amount_capturable_updated");
    }

    /// The buyer's card is refused.
    pub fn decline(&self, id: &str) {
        self.state().buyer_moves(id, "requires_payment_method", "payment_intent.payment_failed");
    }

    /// The reservation of the money has lapsed, as it does after some days.
    pub fn lapse(&self, id: &str) {
        let mut state = self.state();
        if let Some(intent) = state.find(id).filter(|intent| intent.status == "requires_capture") {
            intent.status = "canceled";
            state.tell(id, "payment_intent.canceled");
        }
    }

    /// The events since the last call.
    #[must_use]
    pub fn take_events(&self) -> Vec<StripeEvent> {
        std::mem::take(&mut self.state().events)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn find(&mut self, id: &str) -> Option<&mut Intent> {
        self.intents.iter_mut().find(|intent| intent.id == id)
    }

    fn buyer_moves(&mut self, id: &str, status: &'static str, event: &'static str) {
        let Some(intent) = self.find(id).filter(|intent| intent.status == "requires_payment_method") else { return };
        intent.status = status;
        intent.declined = status == "requires_payment_method";
        self.tell(id, event);
    }

    fn tell(&mut self, id: &str, kind: &'static str) {
        let Some(object) = self.find(id).map(|intent| shown(intent, false)) else { return };
        let id = format!("evt_{}", Uuid::new_v4().simple());
        let body = json!({ "id": id, "object": "event", "type": kind, "data": { "object": object } }).to_string();
        self.events.push(StripeEvent { id, kind, body });
    }

    /// What the weather does to this request: whether it is done, and whether its answer comes.
    fn weather(&mut self) -> (bool, bool) {
        self.requests += 1;
        match (self.weather, self.requests % 6) {
            (Weather::Fine, _) => (true, true),
            (Weather::Down, _) | (Weather::Rough, 0) => (false, false),
            (Weather::Rough, 3) => (true, false),
            (Weather::Rough, _) => (true, true),
        }
    }

    /// An answer of 500 is remembered for its key as any other: that is how Stripe does it.
    fn answer(&mut self, method: &str, path: &str, key: Option<&str>, form: &str) -> (StatusCode, Value) {
        let asked = format!("{method} {path} {form}");
        if let Some((before, status, body)) = key.and_then(|key| self.answered.get(key)) {
            if *before != asked {
                return error(StatusCode::BAD_REQUEST, "idempotency_error", None);
            }
            return (*status, body.clone());
        }
        let (done, told) = self.weather();
        let outcome = if done { self.route(method, path, &fields(form)) } else { Ok(Value::Null) };
        let (status, body) = match outcome {
            _ if !told => error(StatusCode::INTERNAL_SERVER_ERROR, "api_error", None),
            Ok(body) => (StatusCode::OK, body),
            Err((status, body)) => (status, body),
        };
        if let Some(key) = key {
            self.answered.insert(key.to_owned(), (asked, status, body.clone()));
        }
        (status, body)
    }

    fn route(&mut self, method: &str, path: &str, form: &HashMap<String, String>) -> Outcome {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let parts: Vec<&str> = path.trim_start_matches("/v1/").split('/').collect();
        match (method, parts.as_slice()) {
            ("POST", ["payment_intents"]) => self.create(form),
            ("GET", ["payment_intents", id]) => {
                let intent = self.find(id).ok_or_else(missing)?;
                Ok(shown(intent, query.contains("latest_charge")))
            }
            ("POST", ["payment_intents", id, "capture"]) => {
                self.turn(id, &["requires_capture"], "succeeded", "payment_intent.succeeded")
            }
            ("POST", ["payment_intents", id, "cancel"]) => {
                self.turn(id, &["requires_capture", "requires_payment_method"], "canceled", "payment_intent.canceled")
            }
            ("POST", ["refunds"]) => self.refund(form.get("payment_intent").map_or("", String::as_str)),
            _ => Err(missing()),
        }
    }

    fn create(&mut self, form: &HashMap<String, String>) -> Outcome {
        let amount: i64 = form.get("amount").and_then(|amount| amount.parse().ok()).unwrap_or_default();
        if amount < LEAST_AMOUNT {
            return Err(error(StatusCode::BAD_REQUEST, "invalid_request_error", Some("amount_too_small")));
        }
        if form.get("capture_method").map(String::as_str) != Some("manual") {
            return Err(error(StatusCode::BAD_REQUEST, "invalid_request_error", Some("parameter_missing")));
        }
        let id = format!("pi_{}", Uuid::new_v4().simple());
        let intent = Intent {
            client_secret: format!("{id}_secret_{}", Uuid::new_v4().simple()),
            id,
            order: form.get("metadata[order_id]").cloned().unwrap_or_default(),
            status: "requires_payment_method",
            amount,
            refunded: false,
            currency: form.get("currency").cloned().unwrap_or_default(),
            declined: false,
        };
        let answer = shown(&intent, false);
        self.intents.push(intent);
        Ok(answer)
    }

    fn turn(&mut self, id: &str, from: &[&str], to: &'static str, event: &'static str) -> Outcome {
        let intent = self.find(id).ok_or_else(missing)?;
        if !from.contains(&intent.status) {
            return Err(unexpected_state());
        }
        intent.status = to;
        let answer = shown(intent, false);
        self.tell(id, event);
        Ok(answer)
    }

    fn refund(&mut self, id: &str) -> Outcome {
        let intent = self.find(id).ok_or_else(missing)?;
        if intent.status != "succeeded" {
            return Err(unexpected_state());
        }
        if intent.refunded {
            return Err(error(StatusCode::BAD_REQUEST, "invalid_request_error", Some("charge_already_refunded")));
        }
        intent.refunded = true;
        let amount = intent.amount;
        self.tell(id, "charge.refunded");
        let refund = format!("re_{}", Uuid::new_v4().simple());
        Ok(json!({ "id": refund, "object": "refund", "amount": amount, "payment_intent": id, "status": "succeeded" }))
    }
}

async fn answer(request: HttpRequest, body: web::Bytes, state: web::Data<Mutex<State>>) -> HttpResponse {
    let lock = || state.lock().unwrap_or_else(PoisonError::into_inner);
    let delay = lock().delay;
    tokio::time::sleep(delay).await;
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    if header("authorization") != Some(&format!("Bearer {SECRET_KEY}")) {
        let (status, body) = error(StatusCode::UNAUTHORIZED, "invalid_request_error", None);
        return HttpResponse::build(status).json(body);
    }
    let path = request.uri().to_string();
    let form = String::from_utf8_lossy(&body).into_owned();
    let (status, body) = lock().answer(request.method().as_str(), &path, header("idempotency-key"), &form);
    HttpResponse::build(status).json(body)
}

fn fields(form: &str) -> HashMap<String, String> {
    web::Query::<HashMap<String, String>>::from_query(form).map(web::Query::into_inner).unwrap_or_default()
}

fn shown(intent: &Intent, expanded: bool) -> Value {
    let taken = intent.status == "succeeded";
    let charge = format!("ch_{}", intent.id);
    let charge = if expanded { json!({ "id": charge, "refunded": intent.refunded }) } else { json!(charge) };
    json!({
        "id": intent.id,
        "object": "payment_intent",
        "amount": intent.amount,
        "amount_received": if taken { intent.amount } else { 0 },
        "capture_method": "manual",
        "client_secret": intent.client_secret,
        "currency": intent.currency,
        "last_payment_error": intent.declined.then(|| json!({ "code": "card_declined", "type": "card_error" })),
        "latest_charge": if taken { charge } else { Value::Null },
        "metadata": { "order_id": intent.order },
        "status": intent.status,
    })
}

fn error(status: StatusCode, kind: &str, code: Option<&str>) -> (StatusCode, Value) {
    (status, json!({ "error": { "type": kind, "code": code, "message": "a message for people" } }))
}

fn missing() -> (StatusCode, Value) {
    error(StatusCode::NOT_FOUND, "invalid_request_error", Some("resource_missing"))
}

fn unexpected_state() -> (StatusCode, Value) {
    error(StatusCode::BAD_REQUEST, "invalid_request_error", Some("payment_intent_unexpected_state"))
}
