//! A shop whose orders are to be paid for, and a Stripe of its own.

use std::time::Duration;

use domain::Terms;
use ledger::NewSale;
use serde_json::Value;
use testkit::{Answer, Client, Process, Stack, Stripe, new_sale, until};

use crate::fixture::{SOON, Shop};

/// What one unit costs in each test, in cents.
pub(crate) const PRICE: i64 = 1_999;

/// A shop whose API pays with this Stripe, and the workers.
pub(crate) struct Till {
    pub(crate) shop: Shop,
    pub(crate) stripe: Stripe,
    pub(crate) workers: Vec<Process>,
}

/// A sale of `stock` units at this price each, which are held for so many seconds.
pub(crate) fn held_sale(stock: u32, unit_price_minor: i64, hold_seconds: u32) -> NewSale {
    let sale = new_sale(stock);
    NewSale { terms: Terms { unit_price_minor, hold_seconds, ..sale.terms }, ..sale }
}

impl Till {
    /// With an active sale of `stock` units and a hold of ten minutes, a persister and a keeper.
    pub(crate) async fn open(stock: u32) -> Self {
        let mut till = Self::without_keeper(&held_sale(stock, PRICE, 600)).await;
        till.start_keeper();
        till
    }

    pub(crate) fn start_keeper(&mut self) {
        self.workers.push(self.shop.stack.start_with("flashsale-keeper", &[], &self.stripe.settings()));
    }

    /// Nothing moves here but what an API or a persister moves.
    pub(crate) async fn without_keeper(sale: &NewSale) -> Self {
        let stripe = Stripe::start().await;
        let shop = Shop::on_with(Stack::new().await, sale, &stripe.settings()).await;
        let workers = vec![shop.stack.persister()];
        Self { shop, stripe, workers }
    }

    pub(crate) fn client(&self) -> &Client {
        self.shop.client()
    }

    /// Reserves a unit and waits until the order is written.
    pub(crate) async fn hold(&self, user: &str) -> String {
        let order = self.shop.buy(user).await;
        self.reaches(&order, "HELD").await;
        order
    }

    /// Begins to pay for an order; the payment's name at Stripe.
    pub(crate) async fn begin(&self, order: &str) -> String {
        let answer = self.client().pay(order).await;
        assert_eq!((answer.status.as_u16(), answer.outcome()), (200, "PAYING"), "{answer:?}");
        answer.body["payment"]["providerRef"].as_str().expect("the provider's name for it").to_owned()
    }

    /// Delivers every webhook that has gathered, each once and in order.
    pub(crate) async fn deliver(&self) {
        for event in self.stripe.take_events() {
            let answer = self.client().webhook(&event.body).await.unwrap();
            assert_eq!(answer.status, 200, "{}: {answer:?}", event.kind);
        }
    }

    /// A unit that is reserved and paid for: the order and the payment.
    pub(crate) async fn sell(&self, user: &str) -> (String, String) {
        let order = self.hold(user).await;
        let payment = self.begin(&order).await;
        self.stripe.pay(&payment);
        self.deliver().await;
        self.reaches(&order, "CONFIRMED").await;
        (order, payment)
    }

    /// Waits until the order is in this state, and returns it.
    pub(crate) async fn reaches(&self, order: &str, status: &str) -> Answer {
        let reached = async || {
            let answer = self.client().order(order).await;
            (answer.outcome() == status).then_some(answer)
        };
        until(&format!("order {order} is {status}"), SOON, reached).await
    }

    /// Waits until this holds of Stripe's intent of this name.
    pub(crate) async fn stripe_has(&self, payment: &str, what: &str, is_so: impl Fn(&testkit::Intent) -> bool) {
        let so = async || is_so(&self.stripe.intent(payment)).then_some(());
        until(&format!("{payment} is {what} at Stripe"), SOON, so).await;
    }

    /// Another buyer gets a unit within a second of `since` at most.
    pub(crate) async fn buys_within_a_second(&self, user: &str) {
        let bought = async || (self.shop.click(user).await.outcome() == "SUCCESS").then_some(());
        until("the unit is bought again", Duration::from_secs(1), bought).await;
    }

    /// Waits for the books to balance with nothing on its way, and returns them.
    pub(crate) async fn books(&self) -> Value {
        self.shop.stack.settled(self.client(), self.shop.sale).await.body["books"].clone()
    }

    pub(crate) async fn close(self) {
        self.shop.close(self.workers).await;
    }
}

/// The events of an order's timeline, in order.
pub(crate) fn events(order: &Answer) -> Vec<&str> {
    order.body["timeline"].as_array().unwrap().iter().map(|moment| moment["event"].as_str().unwrap()).collect()
}
