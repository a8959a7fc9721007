//! The process: what it starts, what each HTTP thread gets, what it does when it stops.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_cors::Cors;
use actix_service::IntoServiceFactory;
use actix_web::dev::Server;
use actix_web::middleware::from_fn;
use actix_web::{App, HttpServer, http, web};
use anyhow::{Context, Result};
use boot::{Heart, Outage, Role, Settings};
use broker::Publisher;
use domain::SaleId;
use identity::{Mint, Passwords};
use inventory::Inventory;
use ledger::Ledger;
use payments::Provider;
use reconcile::{Reconciler, Teller};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::batcher::{Batcher, Limits};
use crate::exchange::exchange;
use crate::front::{Desk, Front};
use crate::guard::AdminToken;
use crate::limits::RateLimits;
use crate::live::Live;
use crate::pending::Looks;
use crate::routes::accounts::Accounts;
use crate::routes::live::LastLook;
use crate::routes::pages::Pages;
use crate::routes::stats::Stats;
use crate::sold_out::SoldOut;
use crate::tally::Tally;
use crate::tokens::Tokens;
use crate::traffic::Traffic;
use crate::turns::Turns;
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
    pub(crate) sold_out: SoldOut,
    pub(crate) live: Live,
    pub(crate) stats: Stats,
    pub(crate) tally: Tally,
    pub(crate) traffic: Traffic,
    /// What operators who look on were told last.
    pub(crate) last_look: LastLook,
    pub(crate) limits: RateLimits,
    /// Of buyers' tokens; `None` where the requests' word counts.
    pub(crate) tokens: Option<Tokens>,
    /// `None` where the shop's accounts are somebody else's.
    pub(crate) accounts: Option<Accounts>,
    /// `None` where the shop takes no payments.
    pub(crate) payments: Option<Provider>,
    /// How long a buyer may take to pay.
    pub(crate) pay_limit_seconds: u32,
    pub(crate) looks: Looks,
    /// Whoever changes a sale or an order of it takes one first.
    pub(crate) turns: Turns,
    teller: Teller,
    redis: inventory::Config,
    heart: Heart,
    background: Mutex<JoinSet<()>>,
}

impl Process {
    /// Starts connecting; nothing waits for a server that is away.
    pub(crate) fn start(settings: &Settings) -> Result<Arc<Self>> {
        let ledger = Ledger::new(&settings.postgres)?;
        let inventory = Inventory::new(&settings.redis)?;
        let reconciler = Reconciler::new(ledger.clone(), inventory.clone(), settings.rabbitmq.clone());
        let view = Arc::new(View::new(ledger.clone(), inventory.clone()));
        let heartbeat = Duration::from_millis(settings.api.heartbeat_ms);
        let traffic = Traffic::default();
        let process = Arc::new(Self {
            publisher: Publisher::start(&settings.rabbitmq),
            payments: Provider::new(&settings.payments, boot::clock::now_ms)?,
            pay_limit_seconds: settings.payments.pay_limit_seconds,
            teller: Teller::new(reconciler.clone()),
            looks: Looks::default(),
            turns: Turns::new(usize::try_from(settings.postgres.max_connections / 2).unwrap_or_default().max(1)),
            reconciler,
            sold_out: SoldOut::new(inventory.clone(), Arc::clone(&view)),
            live: Live::new(Arc::clone(&view), ledger.clone(), heartbeat),
            view,
            stats: Stats::new(&settings.postgres)?,
            tally: Tally::new(),
            heart: Heart::start(&ledger, Role::Api, &traffic.attempts),
            traffic,
            last_look: LastLook::default(),
            limits: RateLimits::new(settings.limits.clone(), inventory.clone()),
            tokens: Tokens::of(&settings.auth)?,
            accounts: accounts(&settings.auth)?,
            redis: settings.redis.clone(),
            ledger,
            inventory,
            background: Mutex::default(),
        });
        let mut background = JoinSet::new();
        background.spawn(Arc::clone(&process).keep_fresh(Duration::from_millis(settings.api.refresh_ms)));
        background.spawn(Arc::clone(&process).keep_looking());
        background.spawn(Arc::clone(&process).keep_telling());
        background.spawn(Arc::clone(&process).keep_flushing(Duration::from_millis(settings.api.flush_ms)));
        if process.tokens.as_ref().is_some_and(Tokens::are_fetched) {
            background.spawn(Arc::clone(&process).keep_learning_keys());
        }
        *process.background.try_lock().context("nobody else knows this process yet")? = background;
        Ok(process)
    }

    /// Tells the sale's gate at once what it has to learn, if it has; see [`Teller::tell`].
    pub(crate) async fn tell(&self, sale: Option<SaleId>) {
        if let Some(sale) = sale {
            if let Err(error) = self.teller.tell(sale).await {
                tracing::debug!(%sale, %error, "the gate could not be told at once, a keeper will");
            }
            self.sold_out.changed(sale);
            self.view.refresh_soon();
        }
    }

    async fn keep_fresh(self: Arc<Self>, pause: Duration) {
        self.view.keep_fresh(pause).await;
    }

    async fn keep_looking(self: Arc<Self>) {
        self.sold_out.keep_looking().await;
    }

    async fn keep_learning_keys(self: Arc<Self>) {
        if let Some(tokens) = &self.tokens {
            tokens.keep_learning().await;
        }
    }

    async fn keep_telling(self: Arc<Self>) {
        tokio::join!(self.live.keep_telling(), self.live.orders().keep_telling());
    }

    async fn keep_flushing(self: Arc<Self>, pause: Duration) {
        let mut outage = Outage::of("refusals cannot be written, their counts are kept");
        loop {
            tokio::time::sleep(pause).await;
            outage.note(&self.tally.flush(&self.ledger).await);
            if let Err(error) = self.traffic.flush(&self.ledger, self.heart.id(), self.view.now_ms()).await {
                tracing::debug!(%error, "some seconds of traffic are not told");
            }
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
        self.heart.stop().await;
        let flush = async {
            if let Err(error) = self.tally.flush(&self.ledger).await {
                tracing::error!(%error, "the last counts of refusals are lost");
            }
            self.stats.close().await;
            self.ledger.close().await;
        };
        tokio::join!(flush, self.publisher.close());
        tracing::info!("stopped");
    }
}

fn accounts(auth: &identity::Config) -> Result<Option<Accounts>> {
    if !auth.accounts {
        return Ok(None);
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(Some(Accounts { mint: Mint::of(auth)?, passwords: Passwords::new(cores) }))
}

/// Binds the port and serves. The server ends by [`actix_web::dev::ServerHandle::stop`] only: SIGTERM and SIGINT are
/// handled by `main`, so that both are graceful.
pub(crate) fn listen(process: &Arc<Process>, settings: &Settings) -> Result<Server> {
    let pages = web::Data::new(Pages::new(settings));
    let settings = &settings.api;
    let token = web::Data::new(AdminToken(settings.admin_token()?.cloned()));
    let shared = Arc::clone(process);
    let health = web::Data::new(routes::health::Health::default());
    let origins = settings.cors_origins.clone();
    let keep_alive = Duration::from_secs(settings.keep_alive_seconds);
    let limits = Limits { waiting: settings.max_waiting, wait: Duration::from_millis(settings.max_wait_ms) };
    // Each HTTP thread has a Redis connection and a batcher of its own: no wake-up crosses threads.
    let server = HttpServer::new(move || {
        let inventory = Inventory::new(&shared.redis).expect("the same settings made one before");
        let inventory = inventory.counting(shared.limits.of_purchases());
        let batcher = Batcher::new(inventory, shared.publisher.clone(), Arc::clone(&shared.view), limits);
        actix_web::rt::spawn(connections::keep_ending());
        let desk = Rc::new(Desk::new(Arc::clone(&shared), batcher.clone()));
        let app = App::new()
            .app_data(web::Data::from(Arc::clone(&shared)))
            .app_data(token.clone())
            .app_data(health.clone())
            .app_data(pages.clone())
            .app_data(web::Data::new(batcher))
            .app_data(web::PayloadConfig::new(body::LARGEST))
            .wrap(cors(&origins))
            .wrap(from_fn(exchange))
            .configure(routes::configure);
        Front { app: app.into_factory(), desk }
    });
    let workers = match settings.http_workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        workers => workers,
    };
    let most = connections::limit(settings.max_connections, workers);
    process.live.make_room(settings.max_streams.min(most.saturating_mul(workers) / 2));
    let server = server
        .workers(workers)
        .max_connections(most)
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
        .allowed_methods([http::Method::GET, http::Method::POST, http::Method::PATCH])
        .allowed_headers([
            "authorization",
            "content-type",
            "idempotency-key",
            "last-event-id",
            "traceparent",
            "x-request-id",
        ])
        .expose_headers([
            "idempotency-replayed",
            "link",
            "location",
            "ratelimit",
            "ratelimit-policy",
            "retry-after",
            "x-request-id",
        ])
        .max_age(3_600);
    origins.iter().fold(cors, |cors, origin| cors.allowed_origin(origin))
}
