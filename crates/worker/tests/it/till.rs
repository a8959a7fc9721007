//! A shop whose orders are to be paid for at a Stripe of its own, and workers that know it.

use std::collections::HashMap;

use domain::{ReservationId, Terms};
use ledger::NewSale;
use testkit::{Intent, Process, Stack, Stripe, new_sale, until};

use crate::fixture::{PATIENCE, Shop};

/// Nobody pays: only what the keeper looks up counts. Its rounds over the sales are too far apart to help.
pub(crate) struct Till {
    pub(crate) shop: Shop,
    pub(crate) stripe: Stripe,
    settings: Vec<(String, String)>,
    _persister: Process,
}

/// A sale of `stock` units that are held for so many seconds.
pub(crate) fn held_sale(stock: u32, hold_seconds: u32) -> NewSale {
    let sale = new_sale(stock);
    NewSale { terms: Terms { hold_seconds, ..sale.terms }, ..sale }
}

impl Till {
    /// With a sale of `stock` units and these settings, and no keeper yet.
    pub(crate) async fn open(stock: u32, settings: &[(&str, &str)]) -> Self {
        let stripe = Stripe::start().await;
        let mut all: Vec<(String, String)> =
            settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        all.extend(stripe.settings().map(|(name, value)| (name.to_owned(), value.to_owned())));
        let stack = Stack::new().await;
        let sale = stack.create(&held_sale(stock, 600)).await;
        stack.reconcile().await;
        let changes: Vec<(&str, &str)> = all.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let api = stack.api_with(&changes).await;
        let persister = stack.persister();
        Self { shop: Shop { stack, api, sale }, stripe, settings: all, _persister: persister }
    }

    /// A keeper with these settings too.
    pub(crate) fn keeper(&self, changes: &[(&str, &str)]) -> Process {
        let own = self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let changes: Vec<(&str, &str)> = own.chain(changes.iter().copied()).collect();
        self.shop.stack.start_with("flashsale-keeper", &[], &changes)
    }

    /// An order of a unit whose buyer has begun to pay: its id and its payment at Stripe.
    pub(crate) async fn begin(&self, user: &str) -> (String, String) {
        let client = &self.shop.api.client;
        let bought = client.purchase(self.shop.sale, user).await;
        assert_eq!(bought.outcome(), "SUCCESS", "{bought:?}");
        let order = bought.body["orderId"].as_str().unwrap().to_owned();
        self.reaches(&order, "HELD").await;
        let paying = client.pay(&order).await;
        assert_eq!(paying.outcome(), "PAYING", "{paying:?}");
        (order, paying.body["payment"]["providerRef"].as_str().unwrap().to_owned())
    }

    pub(crate) async fn reaches(&self, order: &str, status: &str) {
        let is = async || (self.status(order).await.as_deref() == Some(status)).then_some(());
        until(&format!("order {order} is {status}"), PATIENCE, is).await;
    }

    pub(crate) async fn status(&self, order: &str) -> Option<String> {
        let order: ReservationId = order.parse().unwrap();
        let view = self.shop.stack.ledger.order(order).await.unwrap()?;
        Some(view.order.status.to_string())
    }

    /// Waits until the books balance with no money on its way either, and Stripe has kept the money of just these orders.
    pub(crate) async fn settles_with(&self, confirmed: &[&str]) {
        self.shop.stack.settled(&self.shop.api.client, self.shop.sale).await;
        let intents = self.stripe.intents();
        let mut taken: HashMap<&str, usize> = HashMap::new();
        for intent in intents.iter().filter(|intent| intent.is_captured()) {
            *taken.entry(&intent.order).or_default() += 1;
        }
        assert_eq!(taken, confirmed.iter().map(|order| (*order, 1)).collect(), "{intents:#?}");
        assert!(intents.iter().all(|intent| intent.is_captured() || Intent::is_let_go(intent)), "{intents:#?}");
        for order in confirmed {
            assert_eq!(self.status(order).await.as_deref(), Some("CONFIRMED"));
        }
    }
}
