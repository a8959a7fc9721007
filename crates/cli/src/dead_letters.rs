//! `flashsale dead-letters`: messages that became no order.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use crate::api::{Client, read};
use crate::error::Error;
use crate::output::{Output, complain, print, print_json, print_table, printable, shortened};
use crate::{confirm, which};

const PATH: &str = "/api/v1/admin/dead-letters";
/// Most characters of a reason in a table.
const REASON_CHARS: usize = 80;

/// What can be done with dead letters.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show those that wait for a decision, the oldest first
    List {
        /// Of this sale only
        #[arg(long, value_name = "SALE")]
        sale: Option<String>,
        /// Also those that are resolved
        #[arg(long)]
        all: bool,
    },
    /// Show one with its whole message
    Show {
        /// The letter's id
        id: Uuid,
    },
    /// Try again to make orders of them, once what refused them is mended
    Redrive(Ids),
    /// Give them up: no order is made, and their units go back on sale
    Discard {
        #[command(flatten)]
        letters: Ids,
        /// Do not ask first
        #[arg(long)]
        yes: bool,
    },
}

/// Which letters.
#[derive(Args)]
pub(crate) struct Ids {
    /// The letters' ids
    #[arg(required = true, value_name = "ID")]
    ids: Vec<Uuid>,
}

/// A letter, as far as tables show it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Letter {
    id: Uuid,
    sale_id: Option<Uuid>,
    epoch: Option<i64>,
    order_id: Option<Uuid>,
    user_id: Option<String>,
    quantity: Option<i32>,
    reason: String,
    body: String,
    body_encoding: String,
    body_bytes: i64,
    created_at: String,
    resolved_at: Option<String>,
    resolution: Option<String>,
}

/// Does what is asked.
///
/// # Errors
/// It was not done. Of several letters, each that was not done is told of as it comes, and the code is 1.
pub(crate) async fn run(client: &Client, output: Output, command: Command) -> Result<ExitCode, Error> {
    match command {
        Command::List { sale, all } => list(client, output, sale, all).await,
        Command::Show { id } => show(client, output, id).await,
        Command::Redrive(Ids { ids }) => decide(client, output, "redrive", &ids).await,
        Command::Discard { letters: Ids { ids }, yes } => {
            let what = format!("{} dead letter(s) will be given up, and their buyers get nothing.", ids.len());
            confirm::typed(&what, "discard", yes)?;
            decide(client, output, "discard", &ids).await
        }
    }
}

async fn list(client: &Client, output: Output, sale: Option<String>, all: bool) -> Result<ExitCode, Error> {
    // Of a sale that is not there, too.
    let sale = match sale {
        Some(name) if Uuid::try_parse(&name).is_err() => Some(which::find(client, &name).await?.1.sale_id.to_string()),
        id => id,
    };
    let mut query = vec![("state", if all { "all" } else { "unresolved" })];
    query.extend(sale.as_deref().map(|sale| ("saleId", sale)));
    let letters = client.rows(PATH, &query, "deadLetters", usize::MAX).await?;
    match output {
        Output::Json => print_json(&json!({ "deadLetters": letters })),
        Output::Table if letters.is_empty() => print("no dead letters"),
        Output::Table => {
            let rows = letters.into_iter().map(|letter| Ok(row(read(letter)?))).collect::<Result<Vec<_>, Error>>()?;
            print_table(["ID", "CREATED", "SALE", "USER", "UNITS", "STATE", "REASON"], rows);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn row(letter: Letter) -> [String; 7] {
    [
        letter.id.to_string(),
        // To the second.
        letter.created_at.split('.').next().unwrap_or_default().to_owned(),
        or_dash(letter.sale_id),
        printable(&or_dash(letter.user_id)),
        or_dash(letter.quantity),
        letter.resolution.unwrap_or_else(|| "unresolved".to_owned()),
        shortened(&printable(&letter.reason), REASON_CHARS),
    ]
}

async fn show(client: &Client, output: Output, id: Uuid) -> Result<ExitCode, Error> {
    let answer = client.get(&format!("{PATH}/{id}"), &[]).await?;
    if output == Output::Json {
        print_json(&answer);
        return Ok(ExitCode::SUCCESS);
    }
    let letter: Letter = read(answer)?;
    let state = match (letter.resolution, letter.resolved_at) {
        (Some(resolution), Some(at)) => format!("{resolution} at {at}"),
        _ => "unresolved".to_owned(),
    };
    let fields = [
        ("id", letter.id.to_string()),
        ("created", letter.created_at),
        ("state", state),
        ("sale", or_dash(letter.sale_id)),
        ("epoch", or_dash(letter.epoch)),
        ("order", or_dash(letter.order_id)),
        ("user", or_dash(letter.user_id)),
        ("units", or_dash(letter.quantity)),
        ("reason", letter.reason),
        ("message", format!("{} bytes, as {}:", letter.body_bytes, letter.body_encoding)),
    ];
    for (name, value) in fields {
        print(&format!("{name:<8} {value}"));
    }
    print(&letter.body);
    Ok(ExitCode::SUCCESS)
}

/// Decides about one letter after the other. One that is refused holds up none of the others; an API that is away does,
/// and then it is said which letters nothing is known of.
async fn decide(client: &Client, output: Output, decision: &str, ids: &[Uuid]) -> Result<ExitCode, Error> {
    let mut code = ExitCode::SUCCESS;
    for (n, id) in ids.iter().enumerate() {
        match client.post(&format!("{PATH}/{id}/{decision}")).await {
            Ok(answer) if output == Output::Json => print_json(&answer),
            Ok(answer) => {
                let units = answer["unitsReturned"].as_i64().filter(|units| *units > 0);
                let units = units.map(|units| format!("; units that go back on sale: {units}"));
                print(&format!("{}{}", answer["message"].as_str().unwrap_or(decision), units.unwrap_or_default()));
            }
            Err(error @ Error::Refused { .. }) => {
                complain(&format!("{id}: {error}"));
                code = error.exit_code();
            }
            Err(error) => {
                complain(&format!("{id}: {error}"));
                complain(&format!("{id}: not known whether it was done: see flashsale dead-letters show {id}"));
                ids[n + 1..].iter().for_each(|id| complain(&format!("{id}: not tried")));
                return Ok(error.exit_code());
            }
        }
    }
    Ok(code)
}

fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}
