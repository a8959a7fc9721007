//! The simulation's sale: made, opened, judged and ended as an operator does.

use std::time::{Duration, Instant};

use chrono::TimeDelta;
use reqwest::Method;
use serde_json::json;
use uuid::Uuid;

use super::Plan;
use super::history::History;
use super::judge::{Check, Evidence, Order, judge};
use super::report::Report;
use super::shop::Shop;
use crate::api::{Client, read};
use crate::error::Error;
use crate::times;
use crate::verify::Verification;
use crate::which::{SALES, Sale};

/// A gate takes about 3 s.
const OPENS_WITHIN: Duration = Duration::from_secs(60);
const SETTLES_WITHIN: Duration = Duration::from_secs(60);
/// Books of which nothing is on its way any more come right within this, or never.
const WRONG_FOR: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(200);
const TRIES: u32 = 5;

/// A sale to simulate on.
pub(super) struct Stage<'a> {
    client: &'a Client,
    pub(super) plan: &'a Plan,
    pub(super) sale: Uuid,
    /// The sale's id, shortened: in every buyer's name.
    pub(super) run: String,
}

impl<'a> Stage<'a> {
    pub(super) fn new(client: &'a Client, plan: &'a Plan) -> Self {
        let sale = Uuid::new_v4();
        let run = sale.simple().to_string()[..8].to_owned();
        Self { client, plan, sale, run }
    }

    /// Creates the sale and waits until it sells.
    ///
    /// # Errors
    /// The API refuses, or it does not open in time.
    pub(super) async fn open(&self, shop: &Shop) -> Result<(), Error> {
        let Plan { stock, quantity, hold_seconds, .. } = self.plan;
        let now = times::now();
        let body = json!({
            "saleId": self.sale,
            "name": format!("Simulation {}", self.run),
            "totalStock": stock,
            "unitPriceMinor": 1_999,
            "currency": "EUR",
            "perUserLimit": quantity,
            "holdSeconds": hold_seconds,
            // Whatever this machine's clock says, the sale has begun.
            "startsAt": times::rfc3339(now - TimeDelta::hours(1)),
            "endsAt": times::rfc3339(now + TimeDelta::hours(24)),
        });
        self.again(async || match self.client.send(Method::POST, SALES, &body).await {
            Err(error) if error.is("SALE_EXISTS") => Ok(()),
            answer => answer.map(drop),
        })
        .await?;
        let deadline = Instant::now() + OPENS_WITHIN;
        while !self.is_open().await? || !shop.on_sale().await.is_some_and(|(_, sells)| sells) {
            if Instant::now() >= deadline {
                let seconds = OPENS_WITHIN.as_secs();
                let text =
                    format!("the sale has not opened within {seconds} s; flashsale doctor shows what is missing");
                return Err(Error::Overdue(text));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    async fn is_open(&self) -> Result<bool, Error> {
        let path = format!("{SALES}/{}", self.sale);
        let sale: Sale = read(self.again(async || self.client.get(&path, &[]).await).await?)?;
        Ok(sale.state == "open" && sale.in_effect)
    }

    /// Waits until the books are settled and holds them against what was seen.
    ///
    /// # Errors
    /// The API does not answer.
    pub(super) async fn judge(&self, history: History, name_of: &dyn Fn(u32) -> String) -> Result<Report, Error> {
        if history.payments.iter().any(|paid| paid.ended == Err("PAYMENTS_OFF".to_owned())) {
            let text = "this API takes no payments: set FLASHSALE__PAYMENTS__PROVIDER=simulated for it and its keepers";
            return Err(Error::Usage(text.to_owned()));
        }
        let began = Instant::now();
        let (books, settled_after) = self.settled(began).await?;
        let path = format!("{SALES}/{}/orders", self.sale);
        let orders = self.again(async || self.client.rows(&path, &[], "orders", usize::MAX).await).await?;
        let orders: Vec<Order> = orders.into_iter().map(read).collect::<Result<_, _>>()?;
        let evidence = Evidence { plan: self.plan, history: &history, orders: &orders, books: &books, name_of };
        let checks: Vec<Check> = judge(&evidence);
        Ok(Report { sale: self.sale, plan: *self.plan, history, checks, settled_after })
    }

    async fn settled(&self, began: Instant) -> Result<(Verification, Duration), Error> {
        let path = format!("{SALES}/{}/verify", self.sale);
        let mut wrong_since: Option<Instant> = None;
        loop {
            let books: Verification = read(self.again(async || self.client.get(&path, &[]).await).await?)?;
            let is_right = books.settled && books.ok;
            wrong_since = if books.settled && !books.ok { wrong_since.or(Some(Instant::now())) } else { None };
            let is_wrong = wrong_since.is_some_and(|since| since.elapsed() >= WRONG_FOR);
            if is_right || is_wrong || began.elapsed() >= SETTLES_WITHIN {
                return Ok((books, began.elapsed()));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Ends the sale, if there is one.
    ///
    /// # Errors
    /// The API does not do it.
    pub(super) async fn end(&self) -> Result<(), Error> {
        let path = format!("{SALES}/{}/end", self.sale);
        let ended = self.again(async || self.client.post(&path).await).await;
        match ended {
            Err(error) if error.is("SALE_NOT_FOUND") => Ok(()),
            ended => ended.map(drop),
        }
    }

    /// Does what may be repeated, up to five times where an answer is lost or a server is away.
    async fn again<T>(&self, ask: impl AsyncFn() -> Result<T, Error>) -> Result<T, Error> {
        let mut tried = 1;
        loop {
            match ask().await {
                Err(Error::NoAnswer { .. }) if tried < TRIES => {}
                Err(error) if error.is("UNAVAILABLE") && tried < TRIES => {}
                answer => return answer,
            }
            tried += 1;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}
