//! Sales as they are shown.

use serde_json::{Value, json};

use crate::api::{Client, read};
use crate::error::Error;
use crate::output::{
    BAD, GOOD, Output, STRONG, WARNING, painted, print, print_fields, print_json, print_painted, print_table,
    printable, shortened,
};
use crate::which::{self, SALES, Sale};
use crate::{money, times};

/// Most characters of a name in a table.
const NAME_CHARS: usize = 40;

pub(super) async fn list(
    client: &Client,
    output: Output,
    state: Option<&str>,
    name: Option<&str>,
) -> Result<(), Error> {
    let mut query: Vec<(&str, &str)> = Vec::new();
    query.extend(state.map(|state| ("state", state)));
    query.extend(name.map(|name| ("name", name)));
    let sales = client.rows(SALES, &query, "sales", usize::MAX).await?;
    match output {
        Output::Json => print_json(&json!({ "sales": sales })),
        Output::Table if sales.is_empty() => print("no sales"),
        Output::Table => {
            let rows = sales.into_iter().map(|sale| Ok(row(&read(sale)?))).collect::<Result<Vec<_>, Error>>()?;
            print_table(["ID", "NAME", "STATE", "STARTS (UTC)", "ENDS (UTC)", "SOLD", "OF", "PRICE"], rows);
        }
    }
    Ok(())
}

fn row(sale: &Sale) -> [String; 8] {
    [
        sale.sale_id.to_string(),
        shortened(&printable(&sale.name), NAME_CHARS),
        state(sale),
        times::shown(sale.starts_at),
        times::shown(sale.ends_at),
        sale.sold.to_string(),
        sale.total_stock.to_string(),
        printable(&money::format(sale.unit_price_minor, &sale.currency)),
    ]
}

pub(super) async fn show(client: &Client, output: Output, wanted: &str) -> Result<(), Error> {
    one(output, which::find(client, wanted).await?.0)
}

/// Shows the sale that the API has answered with.
pub(super) fn one(output: Output, answer: Value) -> Result<(), Error> {
    if output == Output::Json {
        print_json(&answer);
        return Ok(());
    }
    let sale: Sale = read(answer)?;
    let or_dash = |text: &Option<String>| text.as_deref().map_or_else(|| "-".to_owned(), printable);
    let on_sale = sale.remaining_stock.map_or_else(|| "unknown: the gate cannot be read".to_owned(), |n| n.to_string());
    let stock = match sale.pending_total_stock {
        Some(pending) => format!("{}, {pending} once the gate has given up the units", sale.total_stock),
        None => sale.total_stock.to_string(),
    };
    print_painted(&painted(STRONG, &printable(&sale.name)));
    print_fields([
        ("id", sale.sale_id.to_string()),
        ("state", state(&sale)),
        ("starts (UTC)", times::shown(sale.starts_at)),
        ("ends (UTC)", times::shown(sale.ends_at)),
        ("stock", stock),
        ("sold", sale.sold.to_string()),
        ("on sale", if sale.state == "open" { on_sale } else { "-".to_owned() }),
        ("price", printable(&money::format(sale.unit_price_minor, &sale.currency))),
        ("per buyer", format!("{} at most", sale.per_user_limit)),
        ("held for", if sale.hold_seconds == 0 { "no payment step".to_owned() } else { held(sale.hold_seconds) }),
        ("description", or_dash(&sale.description)),
        ("picture", or_dash(&sale.image_url)),
        ("epoch, revision", format!("{}, {}", sale.epoch, sale.revision)),
    ]);
    Ok(())
}

fn held(seconds: u32) -> String {
    humantime::format_duration(std::time::Duration::from_secs(seconds.into())).to_string()
}

/// The state and what an operator has done about it.
pub(super) fn state(sale: &Sale) -> String {
    let now = times::now();
    let pending = if sale.in_effect { "" } else { ", a change is not in effect yet" };
    let text = match (sale.state.as_str(), sale.halted.as_deref()) {
        ("ended", _) => "ended".to_owned(),
        (_, Some("ended")) => painted(WARNING, "ending"),
        (_, Some(halted)) => painted(WARNING, &printable(halted)),
        ("open", None) if sale.starts_at > now => "upcoming".to_owned(),
        ("open", None) => painted(GOOD, "open"),
        ("draining", None) => painted(BAD, "being rebuilt"),
        (other, None) => printable(other),
    };
    format!("{text}{pending}")
}
