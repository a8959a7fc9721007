//! A PostgreSQL database per test: copied from a template that was migrated once, so that it costs milliseconds.

use std::path::Path;
use std::str::FromStr;

use servers::{APP, OWNER, POSTGRES_ACCOUNTS};
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor};
use uuid::Uuid;

/// Names the server the databases are made on: the URL of a superuser.
pub const SERVER_VARIABLE: &str = "FLASHSALE_TEST_POSTGRES_URL";

/// Held while the template is made. The number means nothing; it is the same in every test process.
const TEMPLATE_LOCK: i64 = 0x7E57_DB00;

/// A migrated and otherwise empty database of the test's own.
#[derive(Clone)]
pub struct Database {
    /// Its name.
    pub name: String,
    /// Its URL for the processes under test.
    pub url: String,
    /// Its URL for `flashsale-reconcile` to migrate it.
    pub owner_url: String,
    /// The superuser's way to the server.
    server: PgConnectOptions,
}

impl Database {
    /// Makes a database. Tests of any number of processes may do so at once.
    ///
    /// # Panics
    /// Where [`SERVER_VARIABLE`] is not set or the server refuses.
    pub async fn create() -> Self {
        let url = std::env::var(SERVER_VARIABLE).unwrap_or_else(|_| panic!("{SERVER_VARIABLE} must be set"));
        Self::create_on(&url).await
    }

    /// [`Database::create`] on the server of this superuser's URL.
    ///
    /// # Panics
    /// The server refuses.
    pub async fn create_on(url: &str) -> Self {
        let [server, owner, app] = as_each_account(url);
        let mut connection = server.connect().await.expect("the test server accepts connections");
        let template = template(&mut connection, &server, &owner).await.expect("the template can be made");
        let name = format!("flashsale_test_{}", Uuid::new_v4().simple());
        let copy = format!("CREATE DATABASE {name} TEMPLATE {template} OWNER {OWNER}");
        run(&mut connection, copy).await.expect("it can be copied");
        connection.close().await.expect("the connection closes");
        let [url, owner_url] = [app, owner].map(|account| account.database(&name).to_url_lossy().to_string());
        Self { name, url, owner_url, server }
    }

    /// A connection beside the code under test, to look and to meddle.
    ///
    /// # Panics
    /// Where the server refuses.
    pub async fn connect(&self) -> PgConnection {
        self.server.clone().database(&self.name).connect().await.expect("the database accepts connections")
    }

    /// [`Database::connect`] where the server may be away.
    ///
    /// # Errors
    /// It is.
    pub async fn try_connect(&self) -> Result<PgConnection, sqlx::Error> {
        self.server.clone().database(&self.name).connect().await
    }

    /// Ends every connection to the database and allows no new one: to its clients PostgreSQL is away.
    ///
    /// # Panics
    /// Where the server refuses.
    pub async fn lock_out(&self) {
        self.allow_connections(false).await;
        let mut connection = self.server.connect().await.expect("the test server accepts connections");
        sqlx::query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1")
            .bind(&self.name)
            .execute(&mut connection)
            .await
            .expect("its connections can be ended");
    }

    /// Ends [`Database::lock_out`].
    ///
    /// # Panics
    /// Where the server refuses.
    pub async fn let_in(&self) {
        self.allow_connections(true).await;
    }

    async fn allow_connections(&self, allow: bool) {
        let mut connection = self.server.connect().await.expect("the test server accepts connections");
        let statement = format!("ALTER DATABASE {} WITH ALLOW_CONNECTIONS {allow}", self.name);
        run(&mut connection, statement).await.expect("it can be altered");
    }

    /// Deletes the database, whoever is connected to it. A test that fails leaves its database to be looked into; it
    /// goes with the server's data.
    ///
    /// # Panics
    /// Where the server refuses.
    pub async fn drop_now(self) {
        let mut connection = self.server.connect().await.expect("the test server accepts connections");
        run(&mut connection, format!("DROP DATABASE {} WITH (FORCE)", self.name)).await.expect("it can be dropped");
    }
}

/// The superuser's way to a server, and those of the owner and of the processes.
fn as_each_account(url: &str) -> [PgConnectOptions; 3] {
    let as_account = |account| servers::url_as(account, url).expect("a URL with a user and a password");
    [url.to_owned(), as_account(OWNER), as_account(APP)]
        .map(|url| PgConnectOptions::from_str(&url).expect("a PostgreSQL URL"))
}

/// The name of the template for the present migrations, which is made where it does not exist.
async fn template(
    connection: &mut PgConnection,
    server: &PgConnectOptions,
    owner: &PgConnectOptions,
) -> Result<String, sqlx::Error> {
    // Read when the test runs: no build has to notice a new file.
    let migrations = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations");
    let migrator = Migrator::new(migrations).await?;
    let name = format!("flashsale_template_{}", fingerprint(&migrator));
    sqlx::query("SELECT pg_advisory_lock($1)").bind(TEMPLATE_LOCK).execute(&mut *connection).await?;
    let found: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
        .bind(&name)
        .fetch_one(&mut *connection)
        .await?;
    if !found {
        // Renamed when it is finished: a template that exists is complete.
        let unfinished = format!("flashsale_unfinished_{}", Uuid::new_v4().simple());
        run(connection, format!("CREATE DATABASE {unfinished}")).await?;
        let mut inside = server.clone().database(&unfinished).connect().await?;
        run(&mut inside, POSTGRES_ACCOUNTS.to_owned()).await?;
        inside.close().await?;
        let mut inside = owner.clone().database(&unfinished).connect().await?;
        migrator.run(&mut inside).await?;
        inside.close().await?;
        run(connection, format!("ALTER DATABASE {unfinished} RENAME TO {name}")).await?;
    }
    sqlx::query("SELECT pg_advisory_unlock($1)").bind(TEMPLATE_LOCK).execute(connection).await?;
    Ok(name)
}

/// Sixteen hexadecimal digits that change with any migration (FNV-1a over their checksums).
fn fingerprint(migrator: &Migrator) -> String {
    let bytes = migrator.iter().flat_map(|migration| migration.checksum.iter());
    let hash =
        bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
    format!("{hash:016x}")
}

/// Runs a statement that takes no parameters: names of databases are our own, made of letters and digits.
async fn run(connection: &mut PgConnection, statement: String) -> Result<(), sqlx::Error> {
    connection.execute(AssertSqlSafe(statement)).await?;
    Ok(())
}
