//! A whole system of a test's own: a database, keys and queues under a random sale, and processes.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use broker::Drain;
use chrono::DateTime;
use domain::{Quantity, SaleId, Terms, UserId};
use ledger::{Ledger, NewSale, Sale};
use servers::{Postgres, RabbitMq, RabbitMqPorts, Redis, free_port};
use sqlx::Connection;
use tempfile::TempDir;
use uuid::Uuid;

use crate::client::{ADMIN_TOKEN, Answer, Client, WEBHOOK_SECRET};
use crate::database::{Database, SERVER_VARIABLE};
use crate::host::Host;
use crate::process::Process;
use crate::wait::until;

/// Longest that the books may take to settle after a fault.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);
/// Longest that a process or a server may take to be ready, on a machine that is busy.
pub(crate) const READY_WITHIN: Duration = Duration::from_secs(60);

/// The password of a test's own Redis.
pub const REDIS_PASSWORD: &str = "the-redis-password-of-the-tests";

/// A test's own system. Processes are started one by one and die with their handles.
pub struct Stack {
    /// The test's own database.
    pub database: Database,
    /// The same database, for a look into it.
    pub ledger: Ledger,
    /// Its Redis.
    pub redis: Host<Redis>,
    /// Its RabbitMQ.
    pub rabbitmq: Host<RabbitMq>,
    /// Its PostgreSQL.
    pub postgres: Host<Postgres>,
    dir: TempDir,
}

/// Which servers a system has for itself, to do with as it likes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Own {
    /// A Redis of its own; ready in milliseconds.
    pub redis: bool,
    /// A RabbitMQ of its own; ready in about four seconds.
    pub rabbitmq: bool,
    /// A PostgreSQL of its own, with fsync; ready in about two seconds.
    pub postgres: bool,
}

impl Own {
    /// None: all are shared with the other tests.
    pub const NONE: Self = Self { redis: false, rabbitmq: false, postgres: false };
    /// Redis only.
    pub const REDIS: Self = Self { redis: true, ..Self::NONE };
    /// RabbitMQ only.
    pub const RABBITMQ: Self = Self { rabbitmq: true, ..Self::NONE };
    /// PostgreSQL only.
    pub const POSTGRES: Self = Self { postgres: true, ..Self::NONE };
    /// All three.
    pub const ALL: Self = Self { redis: true, rabbitmq: true, postgres: true };
}

/// An API process and a client of it.
pub struct Api {
    /// The process.
    pub process: Process,
    /// A client.
    pub client: Client,
}

/// A sale of `stock` units, one to a buyer and paid for at once, that started a minute ago and has an hour to go. To be
/// changed as a test likes.
#[must_use]
pub fn new_sale(stock: u32) -> NewSale {
    let now_ms = i64::try_from(boot::clock::now_ms()).expect("a clock within reason");
    let at = |ms| DateTime::from_timestamp_millis(ms).expect("a time within reason");
    NewSale {
        id: SaleId(Uuid::new_v4()),
        name: "A sale of a test".to_owned(),
        description: None,
        image_url: None,
        total_stock: stock,
        terms: Terms { unit_price_minor: 1_999, currency: "EUR".parse().expect("a currency"), hold_seconds: 0 },
        per_user_limit: Quantity::ONE,
        starts_at: at(now_ms - 60_000),
        ends_at: at(now_ms + 3_600_000),
        created_by: "a test".to_owned(),
    }
}

impl Stack {
    /// A system over the servers that all tests share.
    pub async fn new() -> Self {
        Self::with_own(Own::NONE).await
    }

    /// A system with a Redis of its own, which may be killed and wiped.
    pub async fn with_own_redis() -> Self {
        Self::with_own(Own::REDIS).await
    }

    /// A system with some servers of its own.
    ///
    /// # Panics
    /// One of them does not start.
    pub async fn with_own(own: Own) -> Self {
        let dir = tempfile::tempdir().expect("a folder of the test's own");
        let port = || free_port().expect("a free port");
        let inside = |name: &str| dir.path().join(name);
        let redis = if own.redis {
            Host::own(Redis::new(inside("redis"), port(), REDIS_PASSWORD))
        } else {
            Host::Shared(variable("FLASHSALE_TEST_REDIS_URL"))
        };
        let rabbitmq = if own.rabbitmq {
            let ports = RabbitMqPorts::free().expect("free ports");
            Host::own(RabbitMq::new(inside("rabbitmq"), ports, "the-rabbitmq-password-of-the-tests"))
        } else {
            Host::Shared(variable("FLASHSALE_TEST_AMQP_URL"))
        };
        let postgres = if own.postgres {
            Host::own(Postgres::new(inside("postgres"), port(), "the-postgres-password-of-the-tests"))
        } else {
            Host::Shared(variable(SERVER_VARIABLE))
        };
        let database = Database::create_on(postgres.operator_url()).await;
        let variables = [("FLASHSALE__POSTGRES__URL".to_owned(), database.url.clone())];
        let settings = boot::Settings::from_variables(variables.into()).expect("valid settings");
        let ledger = Ledger::new(&settings.postgres).expect("a valid URL");
        Self { database, ledger, redis, rabbitmq, postgres, dir }
    }

    /// Creates an active sale of `stock` units, one to a buyer. It opens with the next reconcile.
    pub async fn create_sale(&self, stock: u32) -> SaleId {
        self.create(&new_sale(stock)).await
    }

    /// Creates a sale. It opens with the next reconcile.
    pub async fn create(&self, sale: &NewSale) -> SaleId {
        self.ledger.create_sale(sale).await.expect("the sale is written");
        sale.id
    }

    /// Runs `flashsale-reconcile` to its end.
    pub async fn reconcile(&self) {
        let mut process = self.start("flashsale-reconcile", &[]);
        let status = process.ended().await;
        assert!(status.success(), "flashsale-reconcile ended with {status}:\n{}", process.log());
    }

    /// Starts an API and waits until it is ready.
    pub async fn api(&self) -> Api {
        self.api_with(&[]).await
    }

    /// [`Stack::api`] with other settings than this system's.
    pub async fn api_with(&self, changes: &[(&str, &str)]) -> Api {
        let api = self.listening_api(changes).await;
        let ready = async || (api.client.get("/readyz").await.status == 200).then_some(());
        until("the API is ready", READY_WITHIN, ready).await;
        api
    }

    /// [`Stack::api_with`], not waiting until it is ready: its servers may be away.
    pub async fn listening_api(&self, changes: &[(&str, &str)]) -> Api {
        let process = self.start_with("flashsale-api", &[], changes);
        let line: serde_json::Value = serde_json::from_str(&process.wait_for_log("listening").await).expect("JSON");
        let client = Client::new(&format!("http://{}", line["address"].as_str().expect("an address")));
        Api { process, client }
    }

    /// Starts a persister.
    #[must_use]
    pub fn persister(&self) -> Process {
        self.start("flashsale-persister", &[])
    }

    /// Starts a keeper.
    #[must_use]
    pub fn keeper(&self) -> Process {
        self.start("flashsale-keeper", &[])
    }

    /// Starts any of our binaries with this system's settings.
    #[must_use]
    pub fn start(&self, name: &str, arguments: &[&str]) -> Process {
        self.start_with(name, arguments, &[])
    }

    /// [`Stack::start`] with other settings than this system's.
    #[must_use]
    pub fn start_with(&self, name: &str, arguments: &[&str], changes: &[(&str, &str)]) -> Process {
        let mut variables = self.variables();
        // The last one of a name wins.
        variables.extend(changes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        Process::start(name, arguments, &variables, self.dir.path())
    }

    /// This system's settings.
    #[must_use]
    pub fn variables(&self) -> Vec<(String, String)> {
        [
            ("FLASHSALE__POSTGRES__URL", self.database.url.as_str()),
            ("FLASHSALE__POSTGRES__OWNER_URL", &self.database.owner_url),
            ("FLASHSALE__REDIS__URL", self.redis.url()),
            ("FLASHSALE__RABBITMQ__URL", self.rabbitmq.url()),
            ("FLASHSALE__PAYMENTS__PROVIDER", "simulated"),
            ("FLASHSALE__PAYMENTS__WEBHOOK_SECRET", WEBHOOK_SECRET),
            // All tests come from one address, and many share a Redis.
            ("FLASHSALE__LIMITS__LOGIN_PER_IP", ""),
            ("FLASHSALE__API__PORT", "0"),
            ("FLASHSALE__API__ADMIN_TOKEN", ADMIN_TOKEN),
            // The shared RabbitMQ is never killed, so what it forgets when it is need not be waited for.
            ("FLASHSALE__RABBITMQ__QUEUE_SETTLE_MS", if self.rabbitmq.is_own() { "3000" } else { "0" }),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }

    /// The same, read as a process reads them: for a test that talks to the servers itself.
    ///
    /// # Panics
    /// They are not valid.
    #[must_use]
    pub fn settings(&self) -> boot::Settings {
        boot::Settings::from_variables(self.variables().into_iter().collect()).expect("valid settings")
    }

    /// The sale as PostgreSQL has it.
    ///
    /// # Panics
    /// PostgreSQL does not answer, or does not know it.
    pub async fn sale(&self, id: SaleId) -> Sale {
        self.ledger.sale(id).await.expect("the ledger answers").expect("the sale exists")
    }

    /// Waits for the sale's drain lock, which a rebuild may have. With it a test may meddle with the queue.
    ///
    /// # Panics
    /// RabbitMQ does not answer, or the lock is not free within a minute.
    pub async fn lock_queue(&self, sale: SaleId) -> Drain {
        let config = self.settings().rabbitmq;
        let lock = async || Drain::lock(&config, sale).await.expect("RabbitMQ answers");
        until("the drain lock is free", READY_WITHIN, lock).await
    }

    /// Moves these buyers' orders of one unit out of their active state, as an expiry does.
    ///
    /// # Panics
    /// One of them has no such order, or PostgreSQL does not answer.
    pub async fn expire(&self, sale: SaleId, users: &[&str]) {
        let mut connection = self.database.connect().await;
        let mut transaction = connection.begin().await.expect("a transaction");
        let orders = users.len() as u64;
        for (step, rows) in [
            ("SELECT FROM sales WHERE id = $1 AND cardinality($2) > 0 FOR NO KEY UPDATE", 1),
            ("UPDATE orders SET status = 'EXPIRED' WHERE sale_id = $1 AND user_id = ANY ($2)", orders),
            ("UPDATE sales SET sold = sold - cardinality($2) WHERE id = $1", 1),
            (
                "INSERT INTO stock_adjustments (sale_id, epoch, order_id, delta, reason)
                 SELECT sale_id, sales.epoch, orders.id, quantity, 'expired'
                 FROM orders JOIN sales ON sales.id = sale_id WHERE sale_id = $1 AND user_id = ANY ($2)",
                orders,
            ),
        ] {
            let done = sqlx::query(step).bind(sale.0).bind(users).execute(&mut *transaction).await.expect(step);
            assert_eq!(done.rows_affected(), rows, "{step}");
        }
        transaction.commit().await.expect("the commit");
    }

    /// Kills this test's own Redis and starts it again, over its data or over nothing.
    ///
    /// # Panics
    /// This system has no Redis of its own.
    pub fn restart_redis(&mut self, wiped: bool) {
        if wiped {
            self.redis.kill_and_lose("appendonlydir".as_ref());
        } else {
            self.redis.kill();
            self.redis.start();
        }
    }

    /// Waits until the sale's books are settled and balance, and returns the verification.
    ///
    /// # Panics
    /// They do not within a minute.
    pub async fn settled(&self, client: &Client, sale: SaleId) -> Answer {
        let settled = async || {
            let answer = client.verify(sale).await;
            (answer.body["settled"] == true && answer.body["ok"] == true).then_some(answer)
        };
        let last = async || client.verify(sale).await.body;
        tokio::select! {
            answer = until("the books are settled", SETTLED_WITHIN, settled) => answer,
            () = tokio::time::sleep(SETTLED_WITHIN - Duration::from_secs(1)) => panic!("not settled: {:#}", last().await),
        }
    }

    /// The buyers who were told SUCCESS and have no order of the id they were told.
    pub async fn lost(&self, sale: SaleId, promised: &[(String, String)]) -> Vec<String> {
        let mut lost = HashSet::new();
        for (user, order) in promised {
            let user_id: UserId = user.parse().expect("a valid user");
            let found = self.ledger.order_of(sale, &user_id).await.expect("the ledger answers");
            if found.is_none_or(|found| found.id.to_string() != *order || !found.status.is_active()) {
                lost.insert(user.clone());
            }
        }
        lost.into_iter().collect()
    }

    /// Whether the folder with all logs and private servers' data stays when everything ends.
    pub fn keep(&mut self, keep: bool) {
        self.dir.disable_cleanup(keep);
    }

    /// The first line of any process's log that holds `text`, and which log.
    ///
    /// # Panics
    /// The folder cannot be read.
    #[must_use]
    pub fn log_line(&self, text: &str) -> Option<(PathBuf, String)> {
        let files = std::fs::read_dir(self.dir.path()).expect("the test's folder").flatten();
        let logs = files.map(|file| file.path()).filter(|path| path.extension().is_some_and(|end| end == "log"));
        logs.into_iter().find_map(|log| {
            let all = std::fs::read_to_string(&log).ok()?;
            let line = all.lines().find(|line| line.contains(text))?.to_owned();
            Some((log, line))
        })
    }

    /// Deletes what the test has left on servers that all tests share. Its processes must have ended.
    ///
    /// # Panics
    /// A server refuses.
    pub async fn close(self) {
        let settings = self.settings();
        let inventory = inventory::Inventory::new(&settings.redis).expect("a valid URL");
        for sale in self.ledger.sales().await.expect("the ledger answers") {
            let drain = Drain::lock(&settings.rabbitmq, sale.id).await.expect("RabbitMQ answers");
            let drain = drain.expect("nobody else works on the sale");
            drain.delete(sale.epoch).await.expect("its queue can be deleted");
            drain.release().await;
            if !self.redis.is_own() {
                inventory.remove(sale.id, sale.epoch).await.expect("its keys can be deleted");
            }
        }
        self.ledger.close().await;
        self.database.drop_now().await;
    }
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set; run cargo xtask test"))
}
