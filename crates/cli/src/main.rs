//! `flashsale`: what an operator types. Talks to the API over HTTP and to nothing else, but for `flashsale doctor`, which
//! asks the servers themselves; `flashsale token` and `flashsale completions` ask nobody.
//!
//! One file for each group of commands. Exit codes: 0 done, 1 not done, 2 asked in a way that cannot be done.

mod api;
mod completions;
mod confirm;
mod dead_letters;
mod doctor;
mod error;
mod money;
mod orders;
mod output;
mod reconcile;
mod sale;
mod simulate;
mod times;
mod token;
mod verify;
mod watch;
mod which;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::api::Client;
use crate::error::Error;
use crate::output::Output;

/// Runs a flash sale from the command line.
///
/// The operator's token is read from the variable FLASHSALE_ADMIN_TOKEN: on the command line everybody on this machine
/// could read it.
#[derive(Parser)]
#[command(name = "flashsale", version)]
struct Arguments {
    /// Where the API is, such as http://127.0.0.1:3000
    #[arg(long, global = true, env = "FLASHSALE_URL", value_name = "URL")]
    url: Option<String>,
    /// How to print what the API answers
    #[arg(long, global = true, value_enum, default_value_t = Output::Table)]
    output: Output,
    #[command(subcommand)]
    group: Group,
}

#[derive(Subcommand)]
enum Group {
    /// Sales: make, list, change, pause, end, reset them
    #[command(subcommand)]
    Sale(sale::Command),
    /// Makes a sale, sends real buyers, and ends with a verdict on every invariant
    Simulate(simulate::Command),
    /// The books of sales: every invariant, expected and actual
    Verify(verify::Command),
    /// A sale's orders
    Orders(orders::Command),
    /// Makes the gate of a sale agree with the books, or says what that would take
    Reconcile(reconcile::Command),
    /// Everything that moves, each second: sales, traffic, processes, and whether the books are right
    Watch(watch::Command),
    /// Messages that became no order: look at them, try them again, give them up
    #[command(subcommand)]
    DeadLetters(dead_letters::Command),
    /// Looks at every server, setting and process, and says how to mend what is wrong
    Doctor(doctor::Command),
    /// Prints a buyer's token for an API with auth.mode = "jwt" and HS256; asks nobody
    Token(token::Command),
    /// Prints what a shell needs to complete these commands; asks nobody
    Completions(completions::Command),
}

#[tokio::main]
async fn main() -> ExitCode {
    let Arguments { url, output, group } = Arguments::parse();
    match run(url.as_deref(), output, group).await {
        Ok(code) => code,
        Err(error) => {
            output::complain(&error.to_string());
            error.exit_code()
        }
    }
}

async fn run(url: Option<&str>, output: Output, group: Group) -> Result<ExitCode, Error> {
    let token = std::env::var("FLASHSALE_ADMIN_TOKEN").ok();
    let client = || Client::new(url, token.as_deref());
    match group {
        Group::Sale(command) => sale::run(&client()?, output, command).await,
        Group::Simulate(command) => simulate::run(&client()?, output, &command).await,
        Group::Verify(command) => verify::run(&client()?, output, &command).await,
        Group::Orders(command) => orders::run(&client()?, output, &command).await,
        Group::Reconcile(command) => reconcile::run(&client()?, output, &command).await,
        Group::Watch(command) => watch::run(client()?, output, &command).await,
        Group::Doctor(command) => doctor::run(url, token.as_deref(), output, &command).await,
        Group::DeadLetters(command) => dead_letters::run(&client()?, output, command).await,
        Group::Token(command) => token::run(output, &command),
        Group::Completions(command) => Ok(completions::run(&command, Arguments::command())),
    }
}
