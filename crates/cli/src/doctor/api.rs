//! The API, the workers it knows of, and the books of the sales that are not over.

use boot::Settings;
use payments::Kind;
use reqwest::redirect;
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;

use super::finding::Finding;
use crate::api::{Client, at, cause, read};
use crate::error::Error;
use crate::verify::{self, Verification};
use crate::which::{SALES, Sale};

const AREA: &str = "API";
const WORKERS: &str = "Workers";
const OPEN_SALES: &str = "Sales";
const TIMEOUT: Duration = Duration::from_secs(5);

/// A process that was heard of.
#[derive(Deserialize)]
struct Process {
    role: String,
    version: String,
    alive: bool,
}

/// A sale and who looks after it, as RabbitMQ counts them.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Lane {
    name: String,
    state: String,
    consumers: Option<u32>,
}

pub(super) async fn check(url: Option<&str>, token: Option<&str>, settings: Option<&Settings>) -> Vec<Finding> {
    if url.is_none() {
        return vec![Finding::skip(AREA, "connection", "FLASHSALE_URL is not set")];
    }
    // Probes need no token.
    let probing = match Client::new(url, Some(token.filter(|token| !token.is_empty()).unwrap_or("none"))) {
        Ok(client) => client,
        Err(error) => return vec![Finding::fail(AREA, "address", error.to_string(), "set FLASHSALE_URL, or --url")],
    };
    let mut findings = match probes(probing.url()).await {
        Ok(findings) => findings,
        Err(away) => return vec![away],
    };
    let client = match Client::new(url, token) {
        Ok(client) => client,
        Err(error) => {
            let fix = "export FLASHSALE_ADMIN_TOKEN=<the API's setting api.admin_token>";
            findings.push(Finding::warn(AREA, "operator's token", error.to_string(), fix));
            return findings;
        }
    };
    match client.rows(SALES, &[], "sales", usize::MAX).await {
        Ok(sales) => {
            findings.push(Finding::ok(AREA, "operator's token", "counts"));
            findings.extend(workers(&client).await);
            findings.extend(books(&client, sales, settings).await);
        }
        Err(error) if error.is("UNAUTHORIZED") => {
            let fix = "export FLASHSALE_ADMIN_TOKEN=<the API's setting api.admin_token>";
            findings.push(Finding::fail(AREA, "operator's token", error.to_string(), fix));
        }
        Err(error) => findings.push(unreadable(OPEN_SALES, "all", &error)),
    }
    findings
}

/// What the API says of itself to anybody; or that it is away.
async fn probes(url: &reqwest::Url) -> Result<Vec<Finding>, Finding> {
    let http = reqwest::Client::builder().timeout(TIMEOUT).redirect(redirect::Policy::none()).build();
    let http = http.expect("a client without TLS");
    let get = async |path: &str| -> Result<(u16, Value), reqwest::Error> {
        let answer = http.get(at(url, path)).send().await?;
        let status = answer.status().as_u16();
        Ok((status, serde_json::from_slice(&answer.bytes().await?).unwrap_or_default()))
    };
    let away = |error: &reqwest::Error| {
        let fix = format!("start flashsale-api at {url}, or set FLASHSALE_URL to where it is");
        Finding::fail(AREA, "connection", format!("{url}: {}", cause(error)), fix)
    };
    let (status, alive) = get("/livez").await.map_err(|error| away(&error))?;
    if status != 200 || alive["status"] != "ok" {
        let found = format!("{url} answers {status} to /livez, and not as the API does");
        return Err(Finding::fail(AREA, "connection", found, "set FLASHSALE_URL to where flashsale-api is"));
    }
    let mut findings = vec![Finding::ok(AREA, "connection", url.to_string())];
    let (status, ready) = get("/readyz").await.map_err(|error| away(&error))?;
    let missing = ready["message"].as_str().unwrap_or("it sells").to_owned();
    findings.push(Finding::of(AREA, "ready", status == 200, missing, "mend that server: see above"));
    let (_, document) = get("/openapi.json").await.map_err(|error| away(&error))?;
    let version = document["info"]["version"].as_str().unwrap_or("unknown").to_owned();
    let is_ours = version == env!("CARGO_PKG_VERSION");
    let fix = format!("use the flashsale of version {version}, or upgrade the API to {}", env!("CARGO_PKG_VERSION"));
    findings.push(Finding::or_warn(AREA, "version", is_ours, version, &fix));
    Ok(findings)
}

/// Whether anybody keeps and persists.
async fn workers(client: &Client) -> Vec<Finding> {
    let live = match client.get("/api/v1/admin/live", &[]).await {
        Ok(live) => live,
        Err(error) if error.is("NO_SUCH_ROUTE") => {
            return vec![Finding::skip(WORKERS, "processes", "the API is older and does not tell")];
        }
        Err(error) => return vec![unreadable(WORKERS, "processes", &error)],
    };
    let processes: Vec<Process> = match read(live["processes"].clone()) {
        Ok(processes) => processes,
        Err(error) => return vec![unreadable(WORKERS, "processes", &error)],
    };
    let mut findings: Vec<Finding> = [("keeper", "flashsale-keeper"), ("persister", "flashsale-persister")]
        .into_iter()
        .map(|(role, program)| {
            let alive = processes.iter().filter(|one| one.role == role && one.alive).count();
            let fix = format!("start {program}, with the settings of the others");
            Finding::of(WORKERS, role, alive > 0, format!("{alive} alive"), &fix)
        })
        .collect();
    let dead = processes.iter().filter(|one| !one.alive).count();
    if dead > 0 {
        let found = format!("{dead} not heard of for more than 10 s");
        findings.push(Finding::warn(WORKERS, "silent", found, "flashsale watch shows which; start it again"));
    }
    let others: Vec<&str> = processes.iter().filter(|one| one.alive).map(|one| one.version.as_str()).collect();
    if let Some(other) = others.iter().find(|version| **version != env!("CARGO_PKG_VERSION")) {
        let found = format!("one is of version {other}, this program is {}", env!("CARGO_PKG_VERSION"));
        findings.push(Finding::warn(WORKERS, "versions", found, "upgrade all processes: docs/OPERATIONS.md#upgrading"));
    }
    findings.extend(lanes(client).await);
    findings
}

/// Open sales that nobody persists.
async fn lanes(client: &Client) -> Vec<Finding> {
    let lanes = match client.get("/api/v1/admin/workers", &[]).await {
        Ok(answer) => read::<Vec<Lane>>(answer["sales"].clone()),
        Err(error) => Err(error),
    };
    match lanes {
        Ok(lanes) => lanes
            .into_iter()
            .filter(|lane| lane.state == "open" && lane.consumers == Some(0))
            .map(|lane| {
                let found = format!("{}: nobody consumes its queue", lane.name);
                Finding::fail(WORKERS, "consumers", found, "start flashsale-persister; its log says what keeps it away")
            })
            .collect(),
        Err(error) => vec![unreadable(WORKERS, "consumers", &error)],
    }
}

/// The books of every sale that is not over, its dead letters and its payments.
async fn books(client: &Client, sales: Vec<Value>, settings: Option<&Settings>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (mut looked_at, mut wrong) = (0, 0);
    for sale in sales {
        let sale: Sale = match read(sale) {
            Ok(sale) => sale,
            Err(error) => return vec![unreadable(OPEN_SALES, "all", &error)],
        };
        if sale.state == "ended" {
            continue;
        }
        looked_at += 1;
        findings.extend(payments(&sale, settings));
        let verification = match verify::of(client, sale.sale_id).await {
            Ok(answer) => read::<Verification>(answer),
            Err(error) => Err(error),
        };
        match verification {
            Ok(verification) => {
                wrong += usize::from(!verification.ok);
                findings.extend(of_books(&sale, &verification));
            }
            Err(error) => findings.push(unreadable(OPEN_SALES, "books", &error)),
        }
    }
    if wrong == 0 {
        findings.insert(0, Finding::ok(OPEN_SALES, "books", format!("right, of {looked_at} that are not over")));
    }
    findings
}

fn of_books(sale: &Sale, verification: &Verification) -> Vec<Finding> {
    let mut findings = Vec::new();
    let Sale { sale_id, name, .. } = sale;
    if !verification.ok {
        let broken: Vec<&str> =
            verification.invariants.iter().filter(|one| !one.ok).map(|one| one.name.as_str()).collect();
        let fix = format!("flashsale verify {sale_id}\nflashsale reconcile --dry-run {sale_id}");
        findings.push(Finding::fail(OPEN_SALES, "books", format!("{name}: {}", broken.join(", ")), fix));
    }
    if verification.books.dead_letters > 0 {
        let found = format!("{name}: {} units wait for a decision", verification.books.dead_letters);
        let fix = format!("flashsale dead-letters list --sale {sale_id}");
        findings.push(Finding::warn(OPEN_SALES, "dead letters", found, fix));
    }
    findings
}

/// A sale whose orders nobody can pay for.
fn payments(sale: &Sale, settings: Option<&Settings>) -> Option<Finding> {
    let takes_none = settings.is_some_and(|settings| settings.payments.provider == Kind::None);
    (takes_none && sale.hold_seconds > 0).then(|| {
        let found = format!("{}: units are held for a payment, and payments.provider is none", sale.name);
        let fix = format!("FLASHSALE__PAYMENTS__PROVIDER=stripe, or flashsale sale edit {} --hold 0", sale.sale_id);
        Finding::warn(OPEN_SALES, "payments", found, fix)
    })
}

fn unreadable(area: &'static str, name: &'static str, error: &Error) -> Finding {
    Finding::fail(area, name, error.to_string(), "mend what is said there, and run flashsale doctor again")
}
