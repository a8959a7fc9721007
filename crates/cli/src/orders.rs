//! `flashsale orders`: who bought what.

use std::process::ExitCode;

use chrono::{DateTime, Utc};
use clap::Args;
use clap::builder::PossibleValuesParser;
use domain::OrderState;
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use crate::api::{Client, read};
use crate::error::Error;
use crate::output::{Output, print, print_json, print_table, printable, shortened};
use crate::which::{self, SALES};
use crate::{money, times};

/// Most characters of a buyer's name in a table.
const USER_CHARS: usize = 40;

/// Which orders.
#[derive(Args)]
pub(crate) struct Command {
    /// The sale's id, its name or what its name begins with
    sale: String,
    /// In this state only
    #[arg(long, ignore_case = true, value_parser = PossibleValuesParser::new(OrderState::ALL.map(OrderState::as_str)))]
    status: Option<String>,
    /// Of this buyer only
    #[arg(long)]
    user: Option<String>,
    /// At most so many; all without it
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
}

/// An order, as far as a table shows it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Order {
    order_id: Uuid,
    user_id: String,
    quantity: u32,
    unit_price_minor: i64,
    currency: String,
    status: String,
    reserved_at: DateTime<Utc>,
}

/// Lists a sale's orders, in the order of the buyers' names.
///
/// # Errors
/// They cannot be read.
pub(crate) async fn run(client: &Client, output: Output, command: &Command) -> Result<ExitCode, Error> {
    let (_, sale) = which::find(client, &command.sale).await?;
    let status = command.status.as_deref().map(str::to_ascii_uppercase);
    let mut query: Vec<(&str, &str)> = Vec::new();
    query.extend(status.as_deref().map(|status| ("status", status)));
    query.extend(command.user.as_deref().map(|user| ("userId", user)));
    let most = command.limit.map_or(usize::MAX, |limit| limit as usize);
    let orders = client.rows(&format!("{SALES}/{}/orders", sale.sale_id), &query, "orders", most).await?;
    match output {
        Output::Json => print_json(&json!({ "orders": orders })),
        Output::Table if orders.is_empty() => print("no orders"),
        Output::Table => {
            let rows = orders.into_iter().map(|order| Ok(row(&read(order)?))).collect::<Result<Vec<_>, Error>>()?;
            print_table(["ORDER", "USER", "UNITS", "PRICE", "STATUS", "RESERVED (UTC)"], rows);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn row(order: &Order) -> [String; 6] {
    [
        order.order_id.to_string(),
        shortened(&printable(&order.user_id), USER_CHARS),
        order.quantity.to_string(),
        printable(&money::format(order.unit_price_minor, &order.currency)),
        printable(&order.status),
        times::shown(order.reserved_at),
    ]
}
