//! `flashsale doctor`: looks at everything a sale needs and says how to mend what is wrong. It asks the servers
//! themselves, so it works where the API does not.

mod api;
mod finding;
mod postgres;
mod rabbitmq;
mod redis;
mod settings;

use std::process::ExitCode;

use clap::Args;
use secrecy::SecretString;
use serde_json::json;

use crate::error::Error;
use crate::output::{BAD, FAINT, GOOD, Output, STRONG, painted, print, print_json, print_painted, printable};
use finding::{Finding, Level};

/// What doctor may use beyond the settings.
#[derive(Args)]
pub(crate) struct Command {
    /// Redis as an account that may read its configuration; better given in the variable
    #[arg(long, env = "REDIS_OPERATOR_URL", hide_env_values = true, value_name = "URL")]
    redis_operator_url: Option<SecretString>,
}

/// Looks at everything and prints what was found. Exit code 1 where something has failed.
///
/// # Errors
/// None: what cannot be asked is a finding.
pub(crate) async fn run(
    url: Option<&str>,
    token: Option<&str>,
    output: Output,
    command: &Command,
) -> Result<ExitCode, Error> {
    let (mut findings, settings) = settings::check(std::env::vars().collect());
    match &settings {
        Some(settings) => {
            let (postgres, redis, rabbitmq) = tokio::join!(
                postgres::check(settings),
                redis::check(settings, command.redis_operator_url.as_ref()),
                rabbitmq::check(settings),
            );
            let clocks = finding::clocks(postgres.ahead_ms, redis.ahead_ms);
            findings.extend([postgres.findings, redis.findings, clocks, rabbitmq].concat());
        }
        None => findings.extend(
            ["PostgreSQL", "Redis", "RabbitMQ"]
                .map(|area| Finding::skip(area, "connection", "where it is stands in the settings, which are wrong")),
        ),
    }
    findings.extend(api::check(url, token, settings.as_ref()).await);
    let has_failed = findings.iter().any(|finding| finding.level == Level::Fail);
    match output {
        Output::Json => print_json(&json!({ "ok": !has_failed, "checks": findings })),
        Output::Table => print_all(&findings),
    }
    Ok(if has_failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn print_all(findings: &[Finding]) {
    let mut area = "";
    let width = findings.iter().map(|finding| finding.name.chars().count()).max().unwrap_or_default();
    for finding in findings {
        if finding.area != area {
            area = finding.area;
            print_painted(&painted(STRONG, area));
        }
        let Finding { name, level, found, fix, .. } = finding;
        let found = printable(found);
        print_painted(&format!("  {}  {name:<width$}  {found}", level.painted()));
        for line in fix.iter().flat_map(|fix| fix.lines()) {
            print_painted(&format!("        {} {}", painted(FAINT, "fix:"), printable(line)));
        }
    }
    let count = |level: Level| findings.iter().filter(|finding| finding.level == level).count();
    let (failed, warned, skipped) = (count(Level::Fail), count(Level::Warn), count(Level::Skip));
    print("");
    print_painted(&match (failed, warned) {
        (0, 0) => painted(GOOD, "everything that was looked at is well"),
        (0, warned) => format!("{} {warned} to look at", painted(GOOD, "nothing has failed;")),
        (failed, warned) => painted(BAD, &format!("{failed} failed, {warned} to look at")),
    });
    if skipped > 0 {
        print(&format!("{skipped} could not be looked at"));
    }
}
