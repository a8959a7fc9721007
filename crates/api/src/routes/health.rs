//! Is the process alive, is it ready, are its servers well.

use std::time::{Duration, Instant};

use actix_web::{HttpResponse, web};
use broker::Status;
use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio::sync::Mutex;
use utoipa::ToSchema;

use crate::app::Process;

/// However many ask, the servers are asked this often at most.
const FRESH_FOR: Duration = Duration::from_millis(250);
/// A server that takes longer is as good as away.
const PATIENCE: Duration = Duration::from_secs(2);

/// The last report, shared by all HTTP threads.
#[derive(Default)]
pub(crate) struct Health {
    last: Mutex<Option<(Instant, Report)>>,
}

/// How the servers are.
#[derive(Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Health)]
struct Report {
    /// `healthy` or `unhealthy`.
    status: &'static str,
    timestamp: DateTime<Utc>,
    /// Milliseconds.
    response_time: u64,
    services: Services,
}

#[derive(Clone, Serialize, ToSchema)]
struct Services {
    database: Service,
    redis: Service,
    rabbitmq: Service,
}

#[derive(Clone, Serialize, ToSchema)]
struct Service {
    /// `up` or `down`.
    status: &'static str,
    message: String,
}

impl Service {
    fn up() -> Self {
        Self { status: "up", message: "answers".to_owned() }
    }

    /// `why` tells nothing of addresses and accounts: anyone may read this.
    fn down(why: &str) -> Self {
        Self { status: "down", message: why.to_owned() }
    }
}

/// What probes read.
#[derive(Serialize, ToSchema)]
struct Probe {
    status: &'static str,
    /// What is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'static str>,
}

/// Whether the process can answer at all. Asks nobody.
#[utoipa::path(
    get, path = "/livez", operation_id = "alive", tag = "Health",
    responses((status = 200, description = "It can.", body = Probe)),
)]
pub(crate) async fn alive() -> HttpResponse {
    HttpResponse::Ok().json(Probe { status: "ok", message: None })
}

/// Whether this process can sell. PostgreSQL may be away: a sale goes on without it.
#[utoipa::path(
    get, path = "/readyz", operation_id = "ready", tag = "Health",
    responses(
        (status = 200, description = "It can.", body = Probe),
        (status = 503, description = "It cannot.", body = Probe),
    ),
)]
pub(crate) async fn ready(process: web::Data<Process>) -> HttpResponse {
    let redis = ping("Redis", process.inventory.ping()).await;
    let missing = [
        (process.view.is_loaded(), "the sales were not read yet"),
        (redis.status == "up", "Redis does not answer"),
        (process.publisher.is_ready(), "RabbitMQ takes no message"),
    ]
    .into_iter()
    .find_map(|(fine, what)| (!fine).then_some(what));
    match missing {
        None => HttpResponse::Ok().json(Probe { status: "ready", message: None }),
        Some(what) => HttpResponse::ServiceUnavailable()
            .insert_header(("Retry-After", "1"))
            .json(Probe { status: "not ready", message: Some(what) }),
    }
}

/// How PostgreSQL, Redis and RabbitMQ are.
#[utoipa::path(
    get, path = "/health", operation_id = "health", tag = "Health",
    responses(
        (status = 200, description = "All are well.", body = Report),
        (status = 503, description = "One is away.", body = Report),
    ),
)]
pub(crate) async fn health(health: web::Data<Health>, process: web::Data<Process>) -> HttpResponse {
    let mut last = health.last.lock().await;
    let report = match &*last {
        Some((asked, report)) if asked.elapsed() < FRESH_FOR => report.clone(),
        _ => {
            let report = ask(&process).await;
            *last = Some((Instant::now(), report.clone()));
            report
        }
    };
    match report.status {
        "healthy" => HttpResponse::Ok().json(report),
        _ => HttpResponse::ServiceUnavailable().insert_header(("Retry-After", "1")).json(report),
    }
}

async fn ask(process: &Process) -> Report {
    let started = Instant::now();
    let (database, redis) =
        tokio::join!(ping("PostgreSQL", process.ledger.ping()), ping("Redis", process.inventory.ping()));
    let rabbitmq = match process.publisher.status() {
        Status::Connected => Service::up(),
        Status::Blocked(_) => Service::down("RabbitMQ takes no messages: it is short of memory or disk"),
        Status::Down(_) => Service::down("RabbitMQ is not connected"),
    };
    let healthy = [&database, &redis, &rabbitmq].iter().all(|service| service.status == "up");
    Report {
        status: if healthy { "healthy" } else { "unhealthy" },
        timestamp: DateTime::from_timestamp_millis(i64::try_from(boot::clock::now_ms()).unwrap_or(i64::MAX))
            .unwrap_or_default(),
        response_time: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        services: Services { database, redis, rabbitmq },
    }
}

async fn ping<E>(server: &str, ping: impl Future<Output = Result<(), E>>) -> Service {
    match tokio::time::timeout(PATIENCE, ping).await {
        Ok(Ok(())) => Service::up(),
        Ok(Err(_)) => Service::down(&format!("{server} cannot be reached")),
        Err(_) => Service::down(&format!("{server} does not answer in time")),
    }
}
