//! `flashsale verify`: the books of sales, every invariant expected and actual.

use std::process::ExitCode;

use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::api::{Client, read};
use crate::error::Error;
use crate::output::{
    BAD, FAINT, GOOD, Output, STRONG, compared, painted, print, print_json, print_painted, print_table, printable,
};
use crate::which::{self, SALES, Sale};

/// Which sales.
#[derive(Args)]
pub(crate) struct Command {
    /// Their ids, their names or what their names begin with
    #[arg(value_name = "SALE", required_unless_present = "all", conflicts_with = "all")]
    sales: Vec<String>,
    /// All sales, ended ones too
    #[arg(long)]
    all: bool,
}

/// The books as the API reads them.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Verification {
    pub(crate) ok: bool,
    pub(crate) settled: bool,
    pub(crate) books: Books,
    pub(crate) invariants: Vec<Invariant>,
}

/// Where the units are.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Books {
    pub(crate) total: i64,
    pub(crate) sold: i64,
    pub(crate) available: i64,
    pub(crate) in_flight: i64,
    pub(crate) adjustments: i64,
    pub(crate) dead_letters: i64,
    #[serde(default)]
    pub(crate) claimed: i64,
}

/// One invariant.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Invariant {
    pub(crate) name: String,
    pub(crate) expected: String,
    pub(crate) actual: String,
    pub(crate) ok: bool,
}

/// Reads the books of one sale after the other.
///
/// # Errors
/// One cannot be read. Books that are wrong are no error, but exit code 1.
pub(crate) async fn run(client: &Client, output: Output, command: &Command) -> Result<ExitCode, Error> {
    let mut sales: Vec<Sale> = Vec::new();
    for wanted in &command.sales {
        sales.push(which::find(client, wanted).await?.1);
    }
    if command.all {
        let all = client.rows(SALES, &[], "sales", usize::MAX).await?;
        sales = all.into_iter().map(read).collect::<Result<_, _>>()?;
    }
    let (mut all_ok, mut answers) = (true, Vec::new());
    for sale in &sales {
        let answer = of(client, sale.sale_id).await?;
        let verification: Verification = read(answer.clone())?;
        all_ok &= verification.ok;
        match output {
            Output::Json => answers.push(answer),
            Output::Table if command.all => print_painted(&line(&sale.name, &verification)),
            Output::Table => print_whole(&sale.name, &verification),
        }
    }
    match output {
        Output::Json => print_json(&json!({ "ok": all_ok, "sales": answers })),
        Output::Table if sales.is_empty() => print("no sales"),
        Output::Table => {}
    }
    Ok(if all_ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The books of a sale, as the API answers.
///
/// # Errors
/// It does not.
pub(crate) async fn of(client: &Client, sale: Uuid) -> Result<Value, Error> {
    client.get(&format!("{SALES}/{sale}/verify"), &[]).await
}

/// The verdict in a word.
pub(crate) fn verdict(verification: &Verification) -> String {
    match (verification.ok, verification.settled) {
        (true, true) => painted(GOOD, "ok"),
        (true, false) => format!("{}, something is on its way", painted(GOOD, "ok")),
        (false, _) => painted(BAD, "BROKEN"),
    }
}

/// The sum in a line: where all units are.
pub(crate) fn sum(books: &Books) -> String {
    let Books { total, sold, available, in_flight, adjustments, dead_letters, claimed } = *books;
    let parts = [
        (sold, "sold"),
        (available, "on sale"),
        (in_flight, "in flight"),
        (adjustments, "adjusted"),
        (dead_letters, "in dead letters"),
        (claimed, "claimed"),
    ];
    let parts = parts.iter().enumerate().filter(|(n, (units, _))| *n < 2 || *units != 0);
    let parts: Vec<String> = parts.map(|(_, (units, what))| format!("{units} {what}")).collect();
    format!("{} of {total} units", parts.join(" + "))
}

/// A line, and each invariant that is broken.
fn line(name: &str, verification: &Verification) -> String {
    let mut line = format!("{}  {}  {}", verdict(verification), printable(name), sum(&verification.books));
    for broken in verification.invariants.iter().filter(|invariant| !invariant.ok) {
        let Invariant { name, expected, actual, .. } = broken;
        let text = format!("{name}: expected {expected}, actual {actual}");
        line += &format!("\n    {}", painted(BAD, &printable(&text)));
    }
    line
}

fn print_whole(name: &str, verification: &Verification) {
    print_painted(&format!("{}  {}", painted(STRONG, &printable(name)), verdict(verification)));
    print_painted(&painted(FAINT, &sum(&verification.books)));
    print_invariants(verification);
}

/// Each invariant in a row.
pub(crate) fn print_invariants(verification: &Verification) {
    let row = |invariant: &Invariant| {
        let mark = if invariant.ok { painted(GOOD, "ok") } else { painted(BAD, "BROKEN") };
        [
            mark,
            printable(&invariant.name),
            printable(&invariant.expected),
            compared(&invariant.expected, &invariant.actual),
        ]
    };
    print_table(["", "INVARIANT", "EXPECTED", "ACTUAL"], verification.invariants.iter().map(row));
}
