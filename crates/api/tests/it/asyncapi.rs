//! The AsyncAPI document says what is sent: live events, webhooks and messages as they really are.

use std::collections::BTreeSet;

use domain::SaleId;
use ledger::WEBHOOK_TYPES;
use reqwest::Method;
use serde_json::{Value, json};
use testkit::{ADMIN_TOKEN, Answer, Client, Receiver, Stack, until};
use tokio::time::timeout;

use crate::fixture::{SOON, Shop};
use crate::openapi::close;
use crate::till::{PRICE, held_sale};

/// The document's schemas, which allow no field that they do not name.
struct Messages {
    document: Value,
}

impl Messages {
    async fn of(client: &Client) -> Self {
        let mut document = client.get("/asyncapi.json").await.body;
        close(&mut document["components"]["schemas"]);
        Self { document }
    }

    /// Holds what was sent against this part, `payload` or `headers`, of a message of the document.
    fn describes(&self, message: &str, part: &str, sent: &Value) {
        let schema = self.document["components"]["messages"][message][part]["$ref"].as_str();
        let schema = schema.unwrap_or_else(|| panic!("nothing is said of {message}'s {part}"));
        let schema = json!({ "$ref": schema, "components": self.document["components"] });
        let validator = jsonschema::options().should_validate_formats(true).build(&schema).expect("a schema");
        let errors = validator.iter_errors(sent).map(|error| format!("{error} at {}", error.instance_path()));
        let errors: Vec<String> = errors.collect();
        assert!(errors.is_empty(), "{message}: {errors:#?}\n{sent:#}");
    }
}

#[tokio::test]
async fn a_message_in_rabbitmq_is_as_described_and_its_way_too() {
    let shop = Shop::with_stock(5).await;
    let messages = Messages::of(shop.client()).await;
    let id = shop.buy("ü/€ \u{1f980}").await;
    let lock = shop.stack.lock_queue(shop.sale).await;
    let epoch = shop.stack.sale(shop.sale).await.epoch;
    let message = async || lock.get(epoch).await.expect("RabbitMQ answers");
    let message = until("the message is there", SOON, message).await;
    let body: Value = serde_json::from_slice(&message.body).unwrap();
    assert_eq!(body["reservations"][0]["id"], id);
    messages.describes("reservationBatch", "payload", &body);
    lock.release().await;

    let channel = &messages.document["channels"]["reservations"];
    assert_eq!(channel["bindings"]["amqp"]["exchange"]["name"], broker::EXCHANGE);
    let address = channel["address"].as_str().unwrap();
    let address = address.replace("{saleId}", &shop.sale.to_string()).replace("{epoch}", &epoch.to_string());
    assert_eq!(address, broker::routing_key(shop.sale, epoch));
    let persister = shop.stack.persister();
    shop.check_books(&[("ü/€ \u{1f980}".to_owned(), id)]).await;
    shop.close([persister]).await;
}

#[tokio::test]
async fn live_events_are_as_described() {
    let shop = Shop::with_stock(5).await;
    let persister = shop.stack.persister();
    let messages = Messages::of(shop.client()).await;
    let id = shop.buy("ann").await;
    let path = format!("/api/v1/sale/{}/events?orderId={id}", shop.sale);
    let mut stream = shop.client().request(Method::GET, &path).send().await.unwrap();
    let (mut heard, mut seen) = (String::new(), BTreeSet::new());
    while seen.len() < 2 {
        let chunk = timeout(SOON, stream.chunk()).await.expect("something is said in time").unwrap();
        heard += str::from_utf8(&chunk.expect("the stream goes on")).unwrap();
        while let Some((event, rest)) = heard.split_once("\n\n") {
            let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
            if let (Some(kind), Some(data)) = (field("event: "), field("data: ")) {
                messages.describes(kind, "payload", &serde_json::from_str(data).unwrap());
                seen.insert(kind.to_owned());
            }
            heard = rest.to_owned();
        }
    }
    drop(stream);
    shop.check_books(&[("ann".to_owned(), id)]).await;
    shop.close([persister]).await;
}

#[tokio::test]
async fn every_type_of_webhook_is_sent_as_described_and_no_other_is_described() {
    let (stack, receiver) = (Stack::new().await, Receiver::start().await);
    let settings = receiver.settings();
    let settings: Vec<_> = settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let keeper = stack.start_with("flashsale-keeper", &[], &settings);
    keeper.wait_for_log("subscribed").await;
    let brief = stack.create(&held_sale(1, PRICE, 1)).await;
    let shop = Shop::on(stack, &held_sale(2, PRICE, 600)).await;
    let persister = shop.stack.persister();
    let messages = Messages::of(shop.client()).await;
    let types = |schema: &str| {
        let types = messages.document["components"]["schemas"][schema]["properties"]["type"]["enum"].as_array();
        types.unwrap().iter().map(|one| one.as_str().unwrap().to_owned()).collect::<BTreeSet<_>>()
    };
    let (of_orders, of_sales) = (types("OrderEvent"), types("SaleEvent"));
    assert_eq!(of_orders.union(&of_sales).cloned().collect::<BTreeSet<_>>(), told(WEBHOOK_TYPES));

    live(&shop, brief).await;
    let heard = async || {
        let heard: BTreeSet<String> = receiver.received().iter().map(|one| one.kind().to_owned()).collect();
        (heard == told(WEBHOOK_TYPES)).then_some(())
    };
    until("each type was told of", SOON, heard).await;
    for delivery in receiver.received() {
        let message = if of_orders.contains(delivery.kind()) { "orderEvent" } else { "saleEvent" };
        messages.describes(message, "payload", &delivery.body);
        // The receiver has read the headers, or there would be no delivery.
    }
    shop.stack.settled(shop.client(), shop.sale).await;
    shop.close([persister, keeper]).await;
}

fn told(types: &[&str]) -> BTreeSet<String> {
    types.iter().map(|kind| (*kind).to_owned()).collect()
}

/// All that may happen to a sale of two units, and to a brief one.
async fn live(shop: &Shop, brief: SaleId) {
    let (ann, bob) = (shop.buy("ann").await, shop.buy("bob").await);
    for user in ["ann", "bob"] {
        shop.persisted(user).await;
    }
    assert_eq!(shop.client().pay(&ann).await.outcome(), "PAYING");
    assert_eq!(shop.client().cancel(&bob).await.outcome(), "CANCELLED");
    let paid = async || (shop.client().order(&ann).await.outcome() == "CONFIRMED").then_some(());
    until("it is paid", SOON, paid).await;
    let cancel = json!({ "restock": true, "reason": "a test" });
    assert_eq!(operate(shop, &format!("orders/{ann}/cancel"), cancel).await.status, 200);
    for what in ["pause", "resume"] {
        let answer = operate(shop, &format!("sales/{}/{what}", shop.sale), json!(null)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let late = shop.client().purchase(brief, "cid").await;
    let expired = async || {
        let order = shop.client().order(late.order_id().expect("an order")).await;
        (order.outcome() == "EXPIRED").then_some(())
    };
    until("a hold expires", SOON, expired).await;
    assert_eq!(operate(shop, &format!("sales/{brief}/end"), json!(null)).await.status, 200);
    let reset = async || {
        let answer = operate(shop, "reset", json!({ "saleId": shop.sale, "force": true })).await;
        (answer.status != 409).then_some(answer)
    };
    assert_eq!(until("nobody else is at it", SOON, reset).await.status, 200);
}

async fn operate(shop: &Shop, path: &str, body: Value) -> Answer {
    let request = shop.client().request(Method::POST, &format!("/api/v1/admin/{path}")).bearer_auth(ADMIN_TOKEN);
    shop.client().send(request.json(&body)).await
}
