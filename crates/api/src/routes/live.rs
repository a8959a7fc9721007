//! `GET /api/v1/admin/live`: everything that moves while a sale runs, for operators who look on. However many look, the
//! servers are asked twice a second at most.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::web::Bytes;
use actix_web::{HttpResponse, web};
use chrono::{DateTime, Utc};
use domain::{Epoch, Halt, SaleId, SaleState};
use ledger::{Seen, Waiting};
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::timeout;
use utoipa::ToSchema;

use crate::app::Process;
use crate::error::Problem;
use crate::traffic::{self, Point};
use crate::view::SaleView;

/// How long an answer is given again.
const FRESH_FOR: Duration = Duration::from_millis(500);
/// How long one server may take; beyond it the answer does without.
const PATIENCE: Duration = Duration::from_secs(1);
/// A process that was not heard of for so long is taken for dead: it says so every two seconds.
const ALIVE_MS: i64 = 10_000;
/// How long a sale that has ended is still looked at, in milliseconds.
const ENDED_FOR_MS: i64 = 3_600_000;

/// The last answer.
#[derive(Default)]
pub(crate) struct LastLook(Mutex<Option<(Instant, Bytes)>>);

/// Everything that moves.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct LiveNow {
    /// When it was looked, by Redis's clock.
    at: DateTime<Utc>,
    /// Which servers could not be read: `postgres`, `redis`, `rabbitmq`. What they know is null or left out.
    unavailable: Vec<&'static str>,
    /// The sales that are not over, and those of the last hour, by their start.
    sales: Vec<LiveSale>,
    processes: Vec<ProcessSeen>,
    /// The last two minutes, by the second.
    traffic: Vec<Point>,
}

/// A sale as it stands.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct LiveSale {
    #[schema(value_type = Uuid)]
    sale_id: SaleId,
    name: String,
    #[schema(value_type = String, example = "open")]
    state: SaleState,
    /// `paused`, `ended`, or null.
    #[schema(value_type = Option<String>, required)]
    halted: Option<Halt>,
    starts_at: DateTime<Utc>,
    ends_at: DateTime<Utc>,
    #[schema(value_type = i64)]
    epoch: Epoch,
    hold_seconds: u32,
    total_stock: i64,
    /// Units for sale, as its gate said last.
    remaining_stock: i64,
    /// Units of active orders.
    sold: i64,
    /// Orders that hold units and wait for their payment to begin.
    #[schema(required)]
    held: Option<i64>,
    /// Reservations on their way to PostgreSQL.
    #[schema(required)]
    in_flight: Option<i64>,
    /// How long the oldest of them has been; null where there is none.
    #[schema(required)]
    outbox_age_ms: Option<i64>,
    /// Messages that wait for a persister; null where there is no queue.
    #[schema(required)]
    queued_messages: Option<u32>,
    /// Persisters that consume its queue; null where there is no queue.
    #[schema(required)]
    consumers: Option<u32>,
    /// Dead letters that nobody has decided about.
    #[schema(required)]
    dead_letters: Option<i64>,
}

/// A process, as it was last heard of. One that stops on purpose is not there any more; one that died is, for ten minutes.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ProcessSeen {
    id: uuid::Uuid,
    /// `api`, `persister` or `keeper`.
    role: String,
    host: String,
    pid: i32,
    version: String,
    started_at: DateTime<Utc>,
    seen_at: DateTime<Utc>,
    /// How long ago that is.
    age_ms: i64,
    /// Whether it was heard of in the last ten seconds.
    alive: bool,
    /// Since its start: an API's attempts to purchase, a persister's reservations, a keeper's rounds.
    handled: i64,
    /// Of them, how many a second of late.
    per_second: f64,
}

impl From<Seen> for ProcessSeen {
    fn from(seen: Seen) -> Self {
        let Seen { id, role, host, pid, version, handled, per_second, started_at, seen_at, age_ms } = seen;
        let alive = age_ms < ALIVE_MS;
        let per_second = if alive { (per_second * 10.0).round() / 10.0 } else { 0.0 };
        Self { id, role, host, pid, version, started_at, seen_at, age_ms, alive, handled, per_second }
    }
}

/// Everything that moves while sales run.
#[utoipa::path(
    get, path = "/api/v1/admin/live", operation_id = "liveNow", tag = "Operators",
    responses((status = 200, description = "As it was half a second ago at most.", body = LiveNow)),
)]
pub(super) async fn live(process: web::Data<Process>) -> Result<HttpResponse, Problem> {
    let mut last = process.last_look.0.lock().await;
    let answer = match &*last {
        Some((looked, answer)) if looked.elapsed() < FRESH_FOR => answer.clone(),
        _ => {
            let now = look(&process).await;
            let answer = Bytes::from(serde_json::to_vec(&now).map_err(|error| Problem::unavailable(&error))?);
            *last = Some((Instant::now(), answer.clone()));
            answer
        }
    };
    drop(last);
    Ok(HttpResponse::Ok().content_type("application/json").body(answer))
}

async fn look(process: &Process) -> LiveNow {
    let now_ms = process.view.now_ms();
    let views = process.view.list().unwrap_or_default();
    let is_recent = |view: &&Arc<SaleView>| match view.sale.ended_at {
        Some(ended) => view.sale.state != SaleState::Ended || now_ms - ended.timestamp_millis() < ENDED_FOR_MS,
        None => true,
    };
    let views: Vec<Arc<SaleView>> = views.iter().filter(is_recent).cloned().collect();
    let ((waiting, processes, traffic), backlogs, depths) = tokio::join!(
        from_postgres(process, &views, now_ms),
        from_redis(process, &views),
        from_rabbitmq(process, &views)
    );
    let known = [("postgres", waiting.is_some()), ("redis", backlogs.is_some()), ("rabbitmq", depths.is_some())];
    let (waiting, backlogs) = (waiting.unwrap_or_default(), backlogs.unwrap_or_default());
    let depths = depths.unwrap_or_default();
    let sale = |view: &Arc<SaleView>| {
        let sale = &view.sale;
        let (waiting, backlog, depth) = (waiting.get(&sale.id), backlogs.get(&sale.id), depths.get(&sale.id));
        LiveSale {
            sale_id: sale.id,
            name: sale.name.clone(),
            state: sale.state,
            halted: sale.halted,
            starts_at: sale.starts_at,
            ends_at: sale.ends_at,
            epoch: sale.epoch,
            hold_seconds: sale.terms.hold_seconds,
            total_stock: sale.total_stock,
            remaining_stock: view.remaining(),
            sold: sale.sold,
            held: waiting.map(|waiting| waiting.held),
            in_flight: backlog.map(|backlog| backlog.entries),
            outbox_age_ms: backlog.and_then(|backlog| backlog.oldest_ms),
            queued_messages: depth.map(|depth| depth.ready),
            consumers: depth.map(|depth| depth.consumers),
            dead_letters: waiting.map(|waiting| waiting.dead_letters),
        }
    };
    LiveNow {
        at: DateTime::from_timestamp_millis(now_ms).unwrap_or_default(),
        unavailable: known.into_iter().filter(|(_, is_known)| !is_known).map(|(server, _)| server).collect(),
        sales: views.iter().map(sale).collect(),
        processes: processes.into_iter().map(ProcessSeen::from).collect(),
        traffic,
    }
}

/// One statement after another: these are not what PostgreSQL is for.
async fn from_postgres(
    process: &Process,
    views: &[Arc<SaleView>],
    now_ms: i64,
) -> (Option<HashMap<SaleId, Waiting>>, Vec<Seen>, Vec<Point>) {
    let ids: Vec<SaleId> = views.iter().map(|view| view.sale.id).collect();
    let read = async {
        let waiting = process.ledger.waiting(&ids).await?;
        let (processes, traffic) = (process.ledger.processes().await?, traffic::recent(&process.ledger, now_ms).await?);
        Ok::<_, ledger::Error>((waiting.into_iter().map(|one| (one.sale_id, one)).collect(), processes, traffic))
    };
    match timeout(PATIENCE, read).await {
        Ok(Ok((waiting, processes, traffic))) => (Some(waiting), processes, traffic),
        _ => (None, Vec::new(), Vec::new()),
    }
}

async fn from_redis(process: &Process, views: &[Arc<SaleView>]) -> Option<HashMap<SaleId, inventory::Backlog>> {
    let open: Vec<_> = with_a_queue(views).collect();
    let backlogs = timeout(PATIENCE, process.inventory.backlogs(&open)).await.ok()?.ok()?;
    Some(open.into_iter().map(|(sale, _)| sale).zip(backlogs).collect())
}

async fn from_rabbitmq(process: &Process, views: &[Arc<SaleView>]) -> Option<HashMap<SaleId, broker::Depth>> {
    let monitor = process.reconciler.monitor();
    let read = async {
        let mut depths = HashMap::new();
        for (sale, epoch) in with_a_queue(views) {
            depths.extend(monitor.depth(sale, epoch).await?.map(|depth| (sale, depth)));
        }
        Ok::<_, broker::Error>(depths)
    };
    timeout(PATIENCE, read).await.ok()?.ok()
}

fn with_a_queue(views: &[Arc<SaleView>]) -> impl Iterator<Item = (SaleId, Epoch)> {
    let sells = |view: &&Arc<SaleView>| matches!(view.sale.state, SaleState::Open | SaleState::Draining);
    views.iter().filter(sells).map(|view| (view.sale.id, view.sale.epoch))
}
