//! The process: what it starts, what each HTTP thread gets, what it does when it stops.

use std::sync::Arc;
use std::time::Duration;

use actix_cors::Cors;
use actix_web::dev::Server;
use actix_web::middleware::from_fn;
use actix_web::{App, HttpServer, http, web};
use anyhow::{Context, Result};
use boot::{Outage, Settings};
use broker::Publisher;
use inventory::Inventory;
use ledger::Ledger;
use reconcile::Reconciler;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::batcher::{Batcher, Limits};
use crate::exchange::exchange;
use crate::guard::AdminToken;
use crate::tally::Tally;
use crate::view::View;
use crate::{body, connections, routes};

/// How long a client may take to send its first request's head; longer is an attack or a dead connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// What all HTTP threads share.
pub(crate) struct Process {
    pub(crate) ledger: Ledger,
    pub(crate) inventory: Inventory,
    pub(crate) publisher: Publisher,
    pub(crate) reconciler: Reconciler,
    pub(crate) view: Arc<View>,
    pub(crate) tally: Tally,
    redis: inventory::Config,
    background: Mutex<JoinSet<()>>,
}

impl Process {
    /// Starts connecting; nothing waits for a server that is away.
    pub(crate) fn start(settings: &Settings) -> Result<Arc<Self>> {
        let ledger = Ledger::new(&settings.postgres)?;
        let inventory = Inventory::new(&settings.redis)?;
        let process = Arc::new(Self {
            publisher: Publisher::start(&settings.rabbitmq),
            reconciler: Reconciler::new(ledger.clone(), inventory.clone(), settings.rabbitmq.clone()),
            view: Arc::new(View::new(ledger.clone(), inventory.clone())),
            tally: Tally::new(),
            redis: settings.redis.clone(),
            ledger,
            inventory,
            background: Mutex::default(),
        });
        let mut background = JoinSet::new();
        background.spawn(Arc::clone(&process).keep_fresh(Duration::from_millis(settings.api.refresh_ms)));
        background.spawn(Arc::clone(&process).keep_flushing(Duration::from_millis(settings.api.flush_ms)));
        *process.background.try_lock().context("nobody else knows this process yet")? = background;
        Ok(process)
    }

    async fn keep_fresh(self: Arc<Self>, pause: Duration) {
        self.view.keep_fresh(pause).await;
    }

    async fn keep_flushing(self: Arc<Self>, pause: Duration) {
        let mut outage = Outage::of("refusals cannot be written, their counts are kept");
        loop {
            tokio::time::sleep(pause).await;
            outage.note(&self.tally.flush(&self.ledger).await);
        }
    }

    /// Resolves where a background task has failed: the process is of no use without it.
    pub(crate) async fn background_failed(&self) -> Result<()> {
        let ended = self.background.lock().await.join_next().await.context("no background task")?;
        ended.context("a background task failed")
    }

    /// Writes what was counted and lets go of the servers. No request may be running any more.
    pub(crate) async fn stop(&self) {
        self.background.lock().await.shutdown().await;
        let flush = async {
            if let Err(error) = self.tally.flush(&self.ledger).await {
                tracing::error!(%error, "the last counts of refusals are lost");
            }
            self.ledger.close().await;
        };
        tokio::join!(flush, self.publisher.close());
        tracing::info!("stopped");
    }
}

/// Binds the port and serves. The server ends by [`actix_web::dev::ServerHandle::stop`] only: SIGTERM and SIGINT are
/// handled by `main`, so that both are graceful.
pub(crate) fn listen(process: &Arc<Process>, settings: &boot::Api) -> Result<Server> {
    let token = web::Data::new(AdminToken(settings.admin_token()?.cloned()));
    let shared = web::Data::from(Arc::clone(process));
    let health = web::Data::new(routes::health::Health::default());
    let origins = settings.cors_origins.clone();
    let keep_alive = Duration::from_secs(settings.keep_alive_seconds);
    let limits = Limits { waiting: settings.max_waiting, wait: Duration::from_millis(settings.max_wait_ms) };
    // Each HTTP thread has a Redis connection and a batcher of its own: no wake-up crosses threads.
    let server = HttpServer::new(move || {
        let inventory = Inventory::new(&shared.redis).expect("the same settings made one before");
        let batcher = Batcher::new(inventory, shared.publisher.clone(), Arc::clone(&shared.view), limits);
        actix_web::rt::spawn(connections::keep_ending());
        App::new()
            .app_data(shared.clone())
            .app_data(token.clone())
            .app_data(health.clone())
            .app_data(web::Data::new(batcher))
            .app_data(web::PayloadConfig::new(body::LARGEST))
            .wrap(cors(&origins))
            .wrap(from_fn(exchange))
            .configure(routes::configure)
    });
    let workers = match settings.http_workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        workers => workers,
    };
    let server = server
        .workers(workers)
        .max_connections(connections::limit(settings.max_connections, workers))
        .on_connect(move |io, data| connections::opened(io, data, keep_alive))
        .client_request_timeout(HEAD_TIMEOUT)
        .keep_alive(keep_alive)
        .shutdown_timeout(settings.stop_seconds)
        .disable_signals()
        .bind((settings.host.as_str(), settings.port))
        .with_context(|| {
            let (host, port) = (&settings.host, settings.port);
            format!("cannot listen on {host}:{port}; set FLASHSALE__API__PORT to a free port")
        })?;
    for address in server.addrs() {
        tracing::info!(%address, workers, "listening");
    }
    Ok(server.run())
}

fn cors(origins: &[String]) -> Cors {
    let cors = Cors::default()
        .allowed_methods([http::Method::GET, http::Method::POST])
        .allowed_headers(["authorization", "content-type", "idempotency-key", "traceparent", "x-request-id"])
        .expose_headers(["retry-after", "x-request-id"])
        .max_age(3_600);
    origins.iter().fold(cors, |cors, origin| cors.allowed_origin(origin))
}
