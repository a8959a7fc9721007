//! `flashsale`: what an operator types. Talks to the API over HTTP and to nothing else; `flashsale token` to nobody.
//!
//! One file for each group of commands. Exit codes: 0 done, 1 not done, 2 asked in a way that cannot be done.

mod api;
mod dead_letters;
mod error;
mod output;
mod token;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
    /// Messages that became no order: look at them, try them again, give them up
    #[command(subcommand)]
    DeadLetters(dead_letters::Command),
    /// Prints a buyer's token for an API with auth.mode = "jwt" and HS256; asks nobody
    Token(token::Command),
}

#[tokio::main(flavor = "current_thread")]
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
    let client = || Client::new(url, std::env::var("FLASHSALE_ADMIN_TOKEN").ok().as_deref());
    match group {
        Group::DeadLetters(command) => dead_letters::run(&client()?, output, command).await,
        Group::Token(command) => token::run(output, &command),
    }
}
