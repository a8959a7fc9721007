//! What a webhook tells: <https://docs.stripe.com/api/events/object>.

use std::collections::HashMap;

use domain::ReservationId;
use serde::Deserialize;

use crate::WebhookError;

/// Longest id of an event or a payment: Stripe's are at most 255 characters.
const LONGEST_ID: usize = 255;

/// What the provider reports about a payment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Event {
    /// The event's own id: the same one may come twice.
    pub id: String,
    /// What has happened.
    pub kind: EventKind,
    /// The provider's name for the payment.
    pub provider_ref: String,
    /// The order that the shop named when the payment was started. An account that other shops use too has payments
    /// without one.
    pub order: Option<ReservationId>,
}

/// What has happened to a payment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EventKind {
    /// The money is reserved.
    Authorized,
    /// The payment was refused.
    Failed,
    /// The money was taken.
    Captured,
    /// The payment was cancelled, by us or because the reservation of the money has lapsed.
    Cancelled,
}

impl EventKind {
    /// The kind's name: `authorized`, `failed`, `captured`, `cancelled`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Authorized => "authorized",
            Self::Failed => "failed",
            Self::Captured => "captured",
            Self::Cancelled => "cancelled",
        }
    }

    fn of(name: &str) -> Option<Self> {
        match name {
            "payment_intent.amount_capturable_updated" => Some(Self::Authorized),
            "payment_intent.payment_failed" => Some(Self::Failed),
            "payment_intent.succeeded" => Some(Self::Captured),
            "payment_intent.canceled" => Some(Self::Cancelled),
            _ => None,
        }
    }
}

#[derive(Deserialize)]
struct Body {
    id: String,
    r#type: String,
    data: serde_json::Value,
}

#[derive(Deserialize)]
struct Data {
    object: Intent,
}

#[derive(Deserialize)]
struct Intent {
    id: String,
    #[serde(default)]
    metadata: HashMap<String, String>,
}

/// The event in a body whose signature was checked; `None` where it is of a kind that does not concern an order.
pub(crate) fn read(body: &[u8]) -> Result<Option<Event>, WebhookError> {
    let unreadable = |error: serde_json::Error| WebhookError::Body(format!("the event cannot be read: {error}"));
    let body: Body = serde_json::from_slice(body).map_err(unreadable)?;
    let Some(kind) = EventKind::of(&body.r#type) else { return Ok(None) };
    let Data { object } = serde_json::from_value(body.data).map_err(unreadable)?;
    for (name, id) in [("id", &body.id), ("data.object.id", &object.id)] {
        let is_plain = (1..=LONGEST_ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_plain {
            return Err(WebhookError::Body(format!("the event's {name} must have 1 to {LONGEST_ID} plain characters")));
        }
    }
    let order = object.metadata.get("order_id").and_then(|id| id.parse().ok());
    Ok(Some(Event { id: body.id, kind, provider_ref: object.id, order }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_that_concerns_an_order_is_known_and_others_are_left_alone() {
        for (name, kind) in [
            ("payment_intent.amount_capturable_updated", Some(EventKind::Authorized)),
            ("payment_intent.payment_failed", Some(EventKind::Failed)),
            ("payment_intent.succeeded", Some(EventKind::Captured)),
            ("payment_intent.canceled", Some(EventKind::Cancelled)),
            ("charge.refunded", None),
            ("payment_intent.created", None),
        ] {
            let order = "018f4b1e-0000-7000-8000-000000000001";
            let body = format!(
                r#"{{"id":"evt_1","type":"{name}","data":{{"object":{{"id":"pi_1","metadata":{{"order_id":"{order}"}}}}}}}}"#
            );
            let event = read(body.as_bytes()).unwrap();
            assert_eq!(event.as_ref().map(|event| event.kind), kind, "{name}");
            if let Some(event) = event {
                assert_eq!((event.id.as_str(), event.provider_ref.as_str()), ("evt_1", "pi_1"));
                assert_eq!(event.order, Some(order.parse().unwrap()));
            }
        }
    }

    #[test]
    fn a_payment_of_another_shop_names_no_order() {
        for metadata in ["", r#","metadata":{}"#, r#","metadata":{"order_id":"4711"}"#] {
            let body = format!(
                r#"{{"id":"evt_1","type":"payment_intent.succeeded","data":{{"object":{{"id":"pi_1"{metadata}}}}}}}"#
            );
            assert_eq!(read(body.as_bytes()).unwrap().unwrap().order, None, "{metadata}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        let event = |id: &str, object: &str| {
            format!(r#"{{"id":{id},"type":"payment_intent.succeeded","data":{{"object":{object}}}}}"#)
        };
        let long = format!(r#""{}""#, "e".repeat(256));
        for body in [
            String::new(),
            "[]".to_owned(),
            event("7", r#"{"id":"pi_1"}"#),
            event(r#""evt_1""#, "{}"),
            event(r#""evt_1""#, "null"),
            event(r#""""#, r#"{"id":"pi_1"}"#),
            event(r#""evt 1""#, r#"{"id":"pi_1"}"#),
            event(&long, r#"{"id":"pi_1"}"#),
            event(r#""evt_1""#, r#"{"id":"pi_1\u0000"}"#),
        ] {
            assert!(matches!(read(body.as_bytes()), Err(WebhookError::Body(_))), "{body}");
        }
    }
}
