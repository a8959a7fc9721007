//! What makes a sale, and what changes it.

use std::time::Duration;

use clap::Args;
use reqwest::Method;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::tell;
use crate::api::Client;
use crate::error::Error;
use crate::output::Output;
use crate::times::{self, When};
use crate::which::{self, SALES, Sale};
use crate::{money, sale::show};

/// How often the same sale is asked for where answers are lost.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);

/// A sale to be made.
#[derive(Args)]
pub(crate) struct New {
    /// What it is called, 1 to 200 characters
    name: String,
    /// How many units there are
    #[arg(long)]
    stock: u32,
    /// What one unit costs: 19.99
    #[arg(long, value_name = "AMOUNT")]
    price: String,
    /// In which currency
    #[arg(long, default_value = "EUR")]
    currency: String,
    /// When it begins: now, +10m, or a time such as 2026-12-01T10:00:00Z
    #[arg(long, default_value = "now", value_name = "WHEN", value_parser = times::instant)]
    starts: When,
    /// When it is over: +2h, or a time
    #[arg(long, value_name = "WHEN", value_parser = times::instant, required_unless_present = "lasts")]
    ends: Option<When>,
    /// How long it lasts instead: 90s, 10m, 1h30m
    #[arg(long, value_name = "SPAN", value_parser = times::span, conflicts_with = "ends")]
    lasts: Option<Duration>,
    /// How many units one buyer may take
    #[arg(long, default_value_t = 1)]
    per_user: u32,
    /// How long a unit is held for its payment: 15m; 0: there is none, an order counts at once
    #[arg(long, default_value = "0", value_name = "SPAN", value_parser = times::seconds)]
    hold: u64,
    /// What it is about, up to 1,000 characters
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// A picture, an http(s) URL
    #[arg(long, value_name = "URL")]
    image_url: Option<String>,
    /// The sale's id; one of chance without it
    #[arg(long)]
    id: Option<Uuid>,
}

/// What to change of a sale.
#[derive(Args)]
pub(crate) struct Changes {
    /// The sale's id, its name or what its name begins with
    sale: String,
    /// Another name
    #[arg(long)]
    name: Option<String>,
    /// How many units there are in all, sold ones included
    #[arg(long)]
    stock: Option<u32>,
    /// What one unit costs from now on: 19.99
    #[arg(long, value_name = "AMOUNT")]
    price: Option<String>,
    /// In which currency; needs the price
    #[arg(long, requires = "price")]
    currency: Option<String>,
    /// When it begins: now, +10m, or a time
    #[arg(long, value_name = "WHEN", value_parser = times::instant)]
    starts: Option<When>,
    /// When it is over: +2h, or a time
    #[arg(long, value_name = "WHEN", value_parser = times::instant)]
    ends: Option<When>,
    /// How many units one buyer may take
    #[arg(long)]
    per_user: Option<u32>,
    /// How long a unit is held for its payment: 15m; 0: not at all
    #[arg(long, value_name = "SPAN", value_parser = times::seconds)]
    hold: Option<u64>,
    /// What it is about
    #[arg(long, value_name = "TEXT", conflicts_with = "no_description")]
    description: Option<String>,
    /// Take the description away
    #[arg(long)]
    no_description: bool,
    /// A picture, an http(s) URL
    #[arg(long, value_name = "URL", conflicts_with = "no_image")]
    image_url: Option<String>,
    /// Take the picture away
    #[arg(long)]
    no_image: bool,
}

/// Makes a sale. Under an id of ours, so that the request may be repeated where its answer is lost.
pub(super) async fn create(client: &Client, output: Output, new: &New) -> Result<(), Error> {
    let id = new.id.unwrap_or_else(Uuid::new_v4);
    let starts = new.starts.from(times::now());
    let ends = match (new.ends, new.lasts) {
        (Some(ends), _) => ends.from(times::now()),
        (None, lasts) => starts + lasts.unwrap_or_default(),
    };
    let body = json!({
        "saleId": id,
        "name": new.name,
        "description": new.description,
        "imageUrl": new.image_url,
        "totalStock": new.stock,
        "unitPriceMinor": price(&new.price, &new.currency)?,
        "currency": new.currency,
        "perUserLimit": new.per_user,
        "holdSeconds": new.hold,
        "startsAt": times::rfc3339(starts),
        "endsAt": times::rfc3339(ends),
    });
    let answer = create_under(client, id, &body).await?;
    show::one(output, answer)
}

/// An id that exists after a lost answer is ours: nobody else knows it.
async fn create_under(client: &Client, id: Uuid, body: &Value) -> Result<Value, Error> {
    let mut tried = 1;
    loop {
        match client.send(Method::POST, SALES, body).await {
            Err(Error::NoAnswer { .. }) if tried < TRIES => {
                tried += 1;
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) if tried > 1 && error.is("SALE_EXISTS") => {
                return client.get(&format!("{SALES}/{id}"), &[]).await;
            }
            answer => return answer,
        }
    }
}

/// Changes a sale: all that is asked or nothing.
pub(super) async fn edit(client: &Client, output: Output, changes: &Changes) -> Result<(), Error> {
    let (_, sale) = which::find(client, &changes.sale).await?;
    let answer = patch(client, &sale, &body(changes, &sale)?).await?;
    tell(output, answer, "changed")
}

/// Puts more units on sale. The API takes the sum, so that a repeated request adds nothing twice.
pub(super) async fn add_stock(client: &Client, output: Output, wanted: &str, units: u32) -> Result<(), Error> {
    let (_, sale) = which::find(client, wanted).await?;
    let stock = sale.total_stock + i64::from(units);
    let answer = patch(client, &sale, &json!({ "totalStock": stock })).await?;
    tell(output, answer, &format!("given {units} more units, {stock} in all"))
}

async fn patch(client: &Client, sale: &Sale, body: &Value) -> Result<Value, Error> {
    let path = format!("{SALES}/{}", sale.sale_id);
    // Everything in it says how it is to be, not how it changes: it may be sent again.
    match client.send(Method::PATCH, &path, body).await {
        Err(Error::NoAnswer { .. }) => client.send(Method::PATCH, &path, body).await,
        answer => answer,
    }
}

fn body(changes: &Changes, sale: &Sale) -> Result<Value, Error> {
    let mut body = Map::new();
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(name.to_owned(), value);
        }
    };
    let now = times::now();
    let currency = changes.currency.as_deref().unwrap_or(&sale.currency);
    set("name", changes.name.clone().map(Value::from));
    set("totalStock", changes.stock.map(Value::from));
    set("unitPriceMinor", changes.price.as_deref().map(|amount| price(amount, currency)).transpose()?.map(Value::from));
    set("currency", changes.currency.clone().map(Value::from));
    set("startsAt", changes.starts.map(|when| times::rfc3339(when.from(now)).into()));
    set("endsAt", changes.ends.map(|when| times::rfc3339(when.from(now)).into()));
    set("perUserLimit", changes.per_user.map(Value::from));
    set("holdSeconds", changes.hold.map(Value::from));
    set("description", changes.description.clone().map(Value::from));
    set("description", changes.no_description.then_some(Value::Null));
    set("imageUrl", changes.image_url.clone().map(Value::from));
    set("imageUrl", changes.no_image.then_some(Value::Null));
    if body.is_empty() {
        return Err(Error::Usage("nothing is to be changed: flashsale sale edit --help shows what can be".to_owned()));
    }
    Ok(Value::Object(body))
}

fn price(amount: &str, currency: &str) -> Result<i64, Error> {
    money::parse(amount, currency).map_err(|problem| Error::Usage(format!("--price: {problem}")))
}
