//! A day of buyers and operators, each answer of it held against the document.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};
use testkit::{ADMIN_TOKEN, Answer, Client, Receiver, WEBHOOK_SECRET, until};
use uuid::Uuid;

use super::Document;
use crate::fixture::{SOON, Shop};
use crate::identity::{JWT, SECRET};
use crate::routes::NO_LETTER;
use crate::till::{PRICE, held_sale};

struct Day<'a> {
    shop: &'a Shop,
    document: Document,
    /// An id that nothing has.
    nobody: String,
}

impl Day<'_> {
    /// Asks for an operation of the document, its path filled in with `ids` in their order.
    async fn ask(&self, operation: &str, ids: &[&str], body: Option<Value>) -> Answer {
        self.ask_of(self.shop.client(), operation, ids, body).await
    }

    async fn ask_of(&self, client: &Client, operation: &str, ids: &[&str], body: Option<Value>) -> Answer {
        let (method, path) = operation.split_once(' ').unwrap();
        let mut ids = ids.iter();
        let part = |part: &str| if part.starts_with('{') { (*ids.next().unwrap()).to_owned() } else { part.to_owned() };
        let filled = path.split('/').map(part).collect::<Vec<_>>().join("/");
        let request = client.request(method.parse().unwrap(), &filled).bearer_auth(ADMIN_TOKEN);
        let answer = client.send(body.iter().fold(request, reqwest::RequestBuilder::json)).await;
        self.document.describes(operation, &answer);
        answer
    }

    /// Asks of what is there, of what is not, and of what cannot be.
    async fn ask_thrice(&self, operation: &str, id: &str, rest: &[&str], body: Option<Value>) {
        for (id, status) in [(id, 200), (&self.nobody, 404), ("7", 400)] {
            let answer = self.ask(operation, &[&[id], rest].concat(), body.clone()).await;
            assert_eq!(answer.status, status, "{operation} {id}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn the_answers_of_a_running_system_are_as_described_field_by_field() {
    let (shop, receiver) = (Shop::with(&held_sale(9, PRICE, 600)).await, Receiver::start().await);
    let settings = receiver.settings();
    let settings: Vec<_> = settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let keeper = shop.stack.start_with("flashsale-keeper", &[], &settings);
    keeper.wait_for_log("subscribed").await;
    let workers = [shop.stack.persister(), keeper];
    let document = Document::of(shop.client()).await;
    let day = Day { document, shop: &shop, nobody: Uuid::new_v4().to_string() };
    day.look_around().await;
    day.register().await;
    let orders = day.buy().await;
    day.pay_and_cancel(&orders).await;
    day.read_records().await;
    day.look_after_sales().await;
    day.be_told_again().await;
    let operations = day.document.operations().map(|(method, path, _)| format!("{method} {path}"));
    let operations: BTreeSet<String> = operations.collect();
    let unseen: BTreeSet<String> = operations.difference(&*day.document.seen.lock().unwrap()).cloned().collect();
    assert_eq!(unseen, BTreeSet::new(), "each was asked");
    shop.stack.settled(shop.client(), shop.sale).await;
    shop.close(workers).await;
}

impl Day<'_> {
    async fn look_around(&self) {
        for path in ["/livez", "/readyz", "/health", "/openapi.json", "/asyncapi.json", "/docs", "/docs/messages"] {
            assert_eq!(self.ask(&format!("GET {path}"), &[], None).await.status, 200);
        }
        for (file, status) in [("start.js", 200), ("swagger-ui.css", 200), ("stop.js", 404)] {
            assert_eq!(self.ask("GET /docs/{file}", &[file], None).await.status, status);
        }
        for page in ["/", "/admin"] {
            assert_eq!(self.ask(&format!("GET {page}"), &[], None).await.status, 200);
        }
        assert_eq!(self.ask("GET /sale/{saleId}", &[&self.shop.sale.to_string()], None).await.status, 200);
        for (file, status) in [("shop.js", 200), ("icon.svg", 200), ("shop.html", 404)] {
            assert_eq!(self.ask("GET /assets/{file}", &[file], None).await.status, status);
        }
        let stream = self.shop.client().request(Method::GET, &format!("/api/v1/sale/{}/events", self.shop.sale));
        let stream = stream.send().await.unwrap();
        let begun = Answer { status: stream.status(), headers: stream.headers().clone(), body: Value::Null };
        assert_eq!(begun.status, 200);
        self.document.describes("GET /api/v1/sale/{saleId}/events", &begun);
    }

    async fn register(&self) {
        let on = [JWT, SECRET, ("FLASHSALE__AUTH__ACCOUNTS", "true")];
        let api = self.shop.stack.api_with(&on).await;
        let account = |password: &str| Some(json!({ "email": "ann@shop.example", "password": password }));
        for (operation, password, status) in [
            ("POST /api/v1/accounts", "correct horse", 201),
            ("POST /api/v1/accounts", "correct horse", 409),
            ("POST /api/v1/accounts", "short", 400),
            ("POST /api/v1/accounts/login", "correct horse", 200),
            ("POST /api/v1/accounts/login", "wrong horse", 401),
        ] {
            let answer = self.ask_of(&api.client, operation, &[], account(password)).await;
            assert_eq!(answer.status, status, "{operation}: {answer:?}");
        }
        // The operator's token is no buyer's.
        let order = [&*self.nobody];
        assert_eq!(self.ask_of(&api.client, "GET /api/v1/orders/{id}", &order, None).await.status, 401);
        assert_eq!(self.ask_of(&api.client, "POST /api/v1/orders/{id}/pay", &order, None).await.status, 401);
    }

    /// Orders of ann, bob, cid and dan.
    async fn buy(&self) -> Vec<String> {
        let (sale, purchase) = (self.shop.sale.to_string(), "POST /api/v1/sale/purchase");
        let buy = |sale: &str, user: &str| Some(json!({ "saleId": sale, "userId": user }));
        let mut orders = Vec::new();
        for user in ["ann", "bob", "cid", "dan"] {
            let answer = self.ask(purchase, &[], buy(&sale, user)).await;
            orders.push(answer.order_id().unwrap_or_else(|| panic!("{answer:?}")).to_owned());
            self.ask("GET /api/v1/orders/{id}", &[&orders[orders.len() - 1]], None).await;
        }
        let more = Some(json!({ "saleId": sale, "userId": "eve", "quantity": 2 }));
        for (body, status) in [
            (buy(&sale, "ann"), 200),
            (buy(&self.nobody, "ann"), 404),
            (buy("x", "ann"), 400),
            (more, 400),
            (Some(json!([])), 400),
            (Some(json!({ "saleId": "x".repeat(5_000) })), 413),
        ] {
            let answer = self.ask(purchase, &[], body).await;
            assert_eq!(answer.status, status, "{answer:?}");
        }
        for user in ["ann", "bob", "cid", "dan"] {
            self.shop.persisted(user).await;
        }
        assert_eq!(self.ask("GET /api/v1/sales", &[], None).await.status, 200);
        self.ask_thrice("GET /api/v1/sale/{saleId}/status", &sale, &[], None).await;
        for user in ["ann", "nobody"] {
            let operation = "GET /api/v1/sale/{saleId}/user/{userId}/purchase";
            self.ask_thrice(operation, &sale, &[user], None).await;
        }
        orders
    }

    async fn pay_and_cancel(&self, orders: &[String]) {
        assert_eq!(self.ask("GET /api/v1/orders", &[], None).await.status, 400, "whose?");
        let client = self.shop.client();
        let mine = client.get("/api/v1/orders?userId=ann").await;
        assert_eq!(mine.body["orders"].as_array().unwrap().len(), 1);
        self.document.describes("GET /api/v1/orders", &mine);
        self.ask_thrice("GET /api/v1/orders/{id}", &orders[0], &[], None).await;
        self.ask_thrice("POST /api/v1/orders/{id}/pay", &orders[0], &[], None).await;
        self.ask_thrice("POST /api/v1/orders/{id}/cancel", &orders[1], &[], None).await;
        assert_eq!(self.ask("POST /api/v1/orders/{id}/pay", &[&orders[1]], None).await.status, 409);
        let paid = async || {
            let answer = self.ask("GET /api/v1/orders/{id}", &[&orders[0]], None).await;
            (answer.outcome() == "CONFIRMED").then_some(())
        };
        until("it is paid", SOON, paid).await;
        let webhook = "POST /api/v1/payments/webhook";
        assert_eq!(self.ask(webhook, &[], Some(json!({}))).await.status, 400, "nobody has signed it");
        let object = json!({ "object": "event", "data": { "object": { "id": "pi_of_somebody_else" } } });
        let mut body = json!({ "id": "evt_1", "type": "payment_intent.created" });
        body.as_object_mut().unwrap().extend(object.as_object().unwrap().clone());
        let body = body.to_string();
        let signature = payments::sign(&WEBHOOK_SECRET.into(), body.as_bytes(), boot::clock::now_ms() / 1_000);
        let signed = client.request(Method::POST, "/api/v1/payments/webhook").body(body);
        let received = client.send(signed.header("stripe-signature", signature)).await;
        assert_eq!(received.status, 200, "{received:?}");
        self.document.describes(webhook, &received);
        let because = Some(json!({ "restock": true, "reason": "a test" }));
        let operation = "POST /api/v1/admin/orders/{id}/cancel";
        self.ask_thrice(operation, &orders[0], &[], because.clone()).await;
        self.ask_thrice(operation, &orders[2], &[], because).await;
        assert_eq!(self.ask(operation, &[&orders[3]], Some(json!({ "restock": 1 }))).await.status, 400);
    }

    async fn read_records(&self) {
        let sale = self.shop.sale.to_string();
        for what in ["verify", "orders", "audit"] {
            self.ask_thrice(&format!("GET /api/v1/admin/sales/{{saleId}}/{what}"), &sale, &[], None).await;
        }
        self.ask_thrice("POST /api/v1/admin/sales/{saleId}/reconcile", &sale, &[], None).await;
        for list in ["workers", "live", "stats", "dead-letters", "webhooks", "sales"] {
            assert_eq!(self.ask(&format!("GET /api/v1/admin/{list}"), &[], None).await.status, 200);
        }
        assert_eq!(self.ask("GET /api/v1/admin/dead-letters/{id}", &[NO_LETTER], None).await.status, 404);
        for decision in ["redrive", "discard"] {
            let operation = format!("POST /api/v1/admin/dead-letters/{{id}}/{decision}");
            assert_eq!(self.ask(&operation, &[NO_LETTER], None).await.status, 404);
        }
    }

    async fn look_after_sales(&self) {
        let new = json!({
            "saleId": self.nobody, "name": "Another", "totalStock": 5, "unitPriceMinor": 100, "currency": "EUR",
            "startsAt": "2026-01-01T00:00:00Z", "endsAt": "2099-01-01T00:00:00Z",
        });
        let create = "POST /api/v1/admin/sales";
        for (body, status) in [(new.clone(), 201), (new, 409), (json!({}), 400)] {
            let answer = self.ask(create, &[], Some(body)).await;
            assert_eq!(answer.status, status, "{answer:?}");
        }
        let (sale, edit) = (self.shop.sale.to_string(), "PATCH /api/v1/admin/sales/{saleId}");
        self.ask("GET /api/v1/admin/sales/{saleId}", &[&sale], None).await;
        for (changes, status) in [
            (json!({ "name": "Renamed", "totalStock": 12 }), 200),
            (json!({ "totalStock": 0 }), 409),
            (json!({ "totalStock": -1 }), 400),
        ] {
            let answer = self.ask(edit, &[&sale], Some(changes)).await;
            assert_eq!(answer.status, status, "{answer:?}");
        }
        for what in ["pause", "resume", "end"] {
            let answer = self.ask(&format!("POST /api/v1/admin/sales/{{saleId}}/{what}"), &[&sale], None).await;
            assert_eq!(answer.status, 200, "{what}: {answer:?}");
        }
        assert_eq!(self.ask("POST /api/v1/admin/sales/{saleId}/resume", &[&sale], None).await.status, 409);
        let reset = |sale: &str| Some(json!({ "saleId": sale, "force": true }));
        for (id, status) in [(&*self.nobody, 200), (NO_LETTER, 404), ("x", 400)] {
            let reset = async || {
                let answer = self.ask("POST /api/v1/admin/reset", &[], reset(id)).await;
                // The keeper may be opening it.
                (answer.status != 409).then_some(answer)
            };
            assert_eq!(until("nobody else is at it", SOON, reset).await.status, status);
        }
    }

    async fn be_told_again(&self) {
        let path = "/api/v1/admin/webhooks";
        let first = async || {
            let all = self.ask(&format!("GET {path}"), &[], None).await;
            all.body["webhooks"].get(0).map(|one| one["id"].as_str().unwrap().to_owned())
        };
        let id = until("there is an event", SOON, first).await;
        self.ask_thrice(&format!("GET {path}/{{id}}"), &id, &[], None).await;
        for (id, status) in [(&*id, 202), (NO_LETTER, 404)] {
            let answer = self.ask(&format!("POST {path}/{{id}}/redeliver"), &[id], None).await;
            assert_eq!(answer.status, status, "{answer:?}");
        }
    }
}
