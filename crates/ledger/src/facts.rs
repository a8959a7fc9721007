//! What a PostgreSQL server is and how it is set: for whoever looks whether a sale may run on it.

use std::collections::BTreeSet;

use sqlx::migrate::Migrator;

use crate::{Error, Ledger};

pub(crate) static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations");

/// What a server tells of itself to any account.
#[derive(Clone, Debug, Eq, PartialEq, sqlx::FromRow)]
pub struct ServerFacts {
    /// Such as `15.8`.
    pub version: String,
    /// The same as a number: 150008.
    pub version_number: i32,
    /// Whether what is committed is on the disk.
    pub fsync: bool,
    /// `on` and stronger words: a commit is answered when it is safe.
    pub synchronous_commit: String,
    /// Whether it is a standby, which takes no writes.
    pub in_recovery: bool,
    /// Who we are.
    pub role: String,
    /// Whether that role could change the schema.
    pub may_create: bool,
    /// Connections that are open, to all databases.
    pub connections: i64,
    /// Connections that the server allows to ordinary roles.
    pub max_connections: i64,
    /// Its clock: Unix time, milliseconds.
    pub now_ms: i64,
}

/// How the schema differs from that of this build.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SchemaDrift {
    /// Migrations of this build that were not applied, or not to their end.
    pub missing: Vec<i64>,
    /// Migrations that were applied and are not of this build.
    pub unknown: Vec<i64>,
}

impl Ledger {
    /// What the server tells of itself.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn server_facts(&self) -> Result<ServerFacts, Error> {
        // current_setting asks for no privilege; neither does pg_stat_database.
        let facts = "SELECT split_part(current_setting('server_version'), ' ', 1) AS version,
                    current_setting('server_version_num')::int AS version_number,
                    current_setting('fsync')::bool AS fsync,
                    current_setting('synchronous_commit') AS synchronous_commit,
                    pg_is_in_recovery() AS in_recovery,
                    current_user::text AS role,
                    has_schema_privilege('public', 'CREATE') AS may_create,
                    (SELECT coalesce(sum(numbackends), 0)::bigint FROM pg_stat_database) AS connections,
                    current_setting('max_connections')::bigint
                        - current_setting('superuser_reserved_connections')::bigint AS max_connections,
                    (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now_ms";
        Ok(sqlx::query_as(facts).fetch_one(&self.pool).await?)
    }

    /// How the database's schema differs from that of this build.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn schema_drift(&self) -> Result<SchemaDrift, Error> {
        let exists = "SELECT to_regclass('public._sqlx_migrations') IS NOT NULL";
        let mut applied: BTreeSet<i64> = BTreeSet::new();
        if sqlx::query_scalar(exists).fetch_one(&self.pool).await? {
            let versions = "SELECT version FROM _sqlx_migrations WHERE success";
            applied.extend(sqlx::query_scalar::<_, i64>(versions).fetch_all(&self.pool).await?);
        }
        let ours: BTreeSet<i64> = MIGRATIONS.iter().map(|migration| migration.version).collect();
        let drift = |all: &BTreeSet<i64>, but: &BTreeSet<i64>| all.difference(but).copied().collect();
        Ok(SchemaDrift { missing: drift(&ours, &applied), unknown: drift(&applied, &ours) })
    }
}
