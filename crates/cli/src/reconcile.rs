//! `flashsale reconcile`: makes Redis and RabbitMQ agree with PostgreSQL about a sale, or says what that would take.

use std::process::ExitCode;

use clap::Args;
use serde::Deserialize;

use crate::api::{Client, read};
use crate::error::Error;
use crate::output::{Output, STRONG, painted, print, print_fields, print_json, print_painted, printable};
use crate::verify::{Verification, print_invariants, sum, verdict};
use crate::which::{self, SALES};

/// Which sale.
#[derive(Args)]
pub(crate) struct Command {
    /// The sale's id, its name or what its name begins with
    sale: String,
    /// Change nothing: say what would be done
    #[arg(long)]
    dry_run: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    dry_run: bool,
    needed: String,
    reason: Option<String>,
    report: Option<Report>,
    verification: Verification,
}

/// What a rebuild did.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    from_epoch: i64,
    epoch: i64,
    drained: u64,
    recovered: u64,
    stock_before: Option<i64>,
    stock: i64,
    buyers: u64,
    took_ms: u64,
}

/// Does it, or says what would be done. Exit code 1 where the books are wrong afterwards.
///
/// # Errors
/// It was not done.
pub(crate) async fn run(client: &Client, output: Output, command: &Command) -> Result<ExitCode, Error> {
    let (_, sale) = which::find(client, &command.sale).await?;
    let path = format!("{SALES}/{}/reconcile", sale.sale_id);
    let answer = match command.dry_run {
        true => client.post_with(&path, &[("dryRun", "true")]).await?,
        false => client.post(&path).await?,
    };
    let found: Answer = read(answer.clone())?;
    match output {
        Output::Json => print_json(&answer),
        Output::Table => print_found(&sale.name, &found),
    }
    Ok(if found.verification.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print_found(name: &str, found: &Answer) {
    let reason = found.reason.as_deref().map(|reason| format!(" ({})", printable(reason))).unwrap_or_default();
    let text = match (found.needed.as_str(), found.dry_run) {
        ("NOTHING", _) => "nothing is to be done: the gate stands, or the sale is over".to_owned(),
        ("REBUILD", true) => format!("a new gate would be built{reason}: buyers would wait about 3 s"),
        ("REBUILD", false) => format!("a new gate was built{reason}"),
        ("END", true) => "the sale would be marked as over".to_owned(),
        ("END", false) => "the sale was marked as over".to_owned(),
        (other, _) => format!("{}{reason}", printable(other)),
    };
    print_painted(&format!("{}  {text}", painted(STRONG, &printable(name))));
    if let Some(report) = &found.report {
        let before = report.stock_before.map_or_else(|| "unknown".to_owned(), |units| units.to_string());
        print_fields([
            ("epoch", format!("{} -> {}", report.from_epoch, report.epoch)),
            ("orders written", format!("{} from the queue, {} from the outbox", report.drained, report.recovered)),
            ("units on sale", format!("{before} -> {}", report.stock)),
            ("buyers loaded", report.buyers.to_string()),
            ("closed for", format!("{} ms", report.took_ms)),
        ]);
    }
    print("");
    print_painted(&format!("books {}  {}", verdict(&found.verification), sum(&found.verification.books)));
    print_invariants(&found.verification);
}
