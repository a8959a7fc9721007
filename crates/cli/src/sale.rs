//! `flashsale sale`: sales made, listed, changed, stopped.

mod edit;
mod show;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use crate::api::{Client, read};
use crate::confirm;
use crate::error::Error;
use crate::output::{Output, print, print_json};
use crate::which::{self, SALES, Sale};

/// What can be done with sales.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make one; it opens within a few seconds of its start
    Create(edit::New),
    /// Show all of them, in the order of their start
    List {
        /// In this state only
        #[arg(long, value_parser = ["closed", "draining", "open", "ended"])]
        state: Option<String>,
        /// With this in their name only, whatever the case
        #[arg(long)]
        name: Option<String>,
    },
    /// Show one with everything that is known of it
    Show(Which),
    /// Change it, also while it runs: all that is asked or nothing
    Edit(edit::Changes),
    /// Stop it until it is resumed: nothing is sold after that
    Pause(Which),
    /// Let it sell again, within its window
    Resume(Which),
    /// End it for good; asks first
    End(Certain),
    /// Put more units on sale
    AddStock {
        #[command(flatten)]
        which: Which,
        /// How many
        #[arg(value_parser = clap::value_parser!(u32).range(1..))]
        units: u32,
    },
    /// Delete everything it has sold and open it anew; asks first
    Reset {
        #[command(flatten)]
        certain: Certain,
        /// Also while reservations are on their way: they are lost
        #[arg(long)]
        force: bool,
    },
}

/// Which sale.
#[derive(Args)]
pub(crate) struct Which {
    /// The sale's id, its name or what its name begins with
    sale: String,
}

/// Which sale, and whether somebody has to say so again.
#[derive(Args)]
pub(crate) struct Certain {
    #[command(flatten)]
    which: Which,
    /// Do not ask first
    #[arg(long)]
    yes: bool,
}

/// Does what is asked.
///
/// # Errors
/// It was not done.
pub(crate) async fn run(client: &Client, output: Output, command: Command) -> Result<ExitCode, Error> {
    match command {
        Command::Create(new) => edit::create(client, output, &new).await?,
        Command::List { state, name } => show::list(client, output, state.as_deref(), name.as_deref()).await?,
        Command::Show(which) => show::show(client, output, &which.sale).await?,
        Command::Edit(changes) => edit::edit(client, output, &changes).await?,
        Command::Pause(which) => act(client, output, &which.sale, "pause").await?,
        Command::Resume(which) => act(client, output, &which.sale, "resume").await?,
        Command::End(Certain { which, yes }) => end(client, output, &which.sale, yes).await?,
        Command::AddStock { which, units } => edit::add_stock(client, output, &which.sale, units).await?,
        Command::Reset { certain: Certain { which, yes }, force } => {
            reset(client, output, &which.sale, yes, force).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn act(client: &Client, output: Output, wanted: &str, action: &str) -> Result<(), Error> {
    let (_, sale) = which::find(client, wanted).await?;
    let answer = client.post(&format!("{SALES}/{}/{action}", sale.sale_id)).await?;
    tell(
        output,
        answer,
        match action {
            "pause" => "paused",
            "resume" => "resumed",
            _ => "ended",
        },
    )
}

async fn end(client: &Client, output: Output, wanted: &str, yes: bool) -> Result<(), Error> {
    let (_, sale) = which::find(client, wanted).await?;
    let what = format!("The sale {} ({}) will be ended for good; nothing brings it back.", sale.name, sale.sale_id);
    confirm::typed(&what, &sale.name, yes)?;
    act(client, output, &sale.sale_id.to_string(), "end").await
}

async fn reset(client: &Client, output: Output, wanted: &str, yes: bool, force: bool) -> Result<(), Error> {
    let (_, sale) = which::find(client, wanted).await?;
    let Sale { name, sale_id, sold, .. } = &sale;
    let lost = if force { " What is on its way is lost too." } else { "" };
    let what = format!("Every order of the sale {name} ({sale_id}) will be deleted, {sold} units in all.{lost}");
    confirm::typed(&what, name, yes)?;
    let body = json!({ "saleId": sale_id, "force": force });
    let answer = client.send(Method::POST, "/api/v1/admin/reset", &body).await;
    let answer = answer.map_err(|error| match error {
        Error::Refused { code, .. } if code == "SALE_BUSY" => Error::Refused {
            code,
            detail: "reservations of this sale are on their way: wait, or lose them with --force".to_owned(),
        },
        error => error,
    })?;
    match output {
        Output::Json => print_json(&answer),
        Output::Table => print(&format!("{name} has been reset: every unit is on sale again")),
    }
    Ok(())
}

/// Tells what became of a change, and what it means where it is not in effect yet.
fn tell(output: Output, answer: Value, done: &str) -> Result<(), Error> {
    if output == Output::Json {
        print_json(&answer);
        return Ok(());
    }
    let sale: Sale = read(answer)?;
    match (sale.in_effect, sale.pending_total_stock) {
        (true, _) => print(&format!("{} is {done}", sale.name)),
        (false, Some(stock)) => {
            print(&format!("{}: not done yet. The gate has to give up units for a stock of {stock}", sale.name));
            print("and could not be asked. Nothing else of the request is done either.");
            print("Ask the same again to learn what came of it.");
        }
        (false, None) => {
            print(&format!("{} is {done}, but not in effect yet: the gate could not be told.", sale.name));
            print(&format!("A keeper tells it as soon as it can; see flashsale sale show {}", sale.sale_id));
        }
    }
    Ok(())
}
