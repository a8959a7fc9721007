//! What can go wrong, sorted by what the caller should do about it.

use domain::SaleId;
use sqlx::migrate::MigrateError;

/// SQLSTATE that `apply_batch` raises for a sale that does not exist.
pub(crate) const UNKNOWN_SALE: &str = "FS001";

/// Why PostgreSQL did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such sale.
    #[error("there is no sale {0}")]
    NotFound(SaleId),
    /// PostgreSQL is away, busy or short of something. The same call may succeed later.
    #[error("PostgreSQL is not available: {0}")]
    Transient(sqlx::Error),
    /// PostgreSQL refuses these values (SQLSTATE 22xxx or 23xxx) and always will.
    #[error("PostgreSQL refuses the data: {message} ({code})")]
    Data {
        /// The SQLSTATE.
        code: String,
        /// PostgreSQL's explanation.
        message: String,
    },
    /// The schema could not be brought up to date.
    #[error("the database cannot be migrated: {0}")]
    Migrate(MigrateError),
    /// The configured URL cannot be read.
    #[error("postgres.url is not a PostgreSQL URL: {0}")]
    Config(sqlx::Error),
    /// A fault of this program or of the installation: wrong credentials, a missing table.
    #[error("PostgreSQL failed: {0}")]
    Other(sqlx::Error),
}

impl Error {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Transient(_))
    }

    /// Whether PostgreSQL gave the statement up because of its time.
    #[must_use]
    pub fn took_too_long(&self) -> bool {
        matches!(self, Self::Transient(sqlx::Error::Database(refusal)) if refusal.code().as_deref() == Some("57014"))
    }

    /// Whether it is the data's fault: no repetition helps, less of it may.
    pub(crate) fn is_for_the_data(&self) -> bool {
        matches!(self, Self::Data { .. } | Self::NotFound(_))
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::WorkerCrashed => Self::Transient(error),
            sqlx::Error::Database(refusal) => {
                let code = refusal.code().unwrap_or_default();
                if is_transient(&code) {
                    Self::Transient(error)
                } else if code.starts_with("22") || code.starts_with("23") {
                    Self::Data { code: code.into_owned(), message: refusal.message().to_owned() }
                } else {
                    Self::Other(error)
                }
            }
            _ => Self::Other(error),
        }
    }
}

impl From<MigrateError> for Error {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => match Self::from(error) {
                transient @ Self::Transient(_) => transient,
                Self::Other(error) => Self::Migrate(MigrateError::Execute(error)),
                other => other,
            },
            error => Self::Migrate(error),
        }
    }
}

/// SQLSTATEs of states that pass: <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
fn is_transient(code: &str) -> bool {
    let passing = [
        "25006", // read-only: a failover is under way
        "25P03", // idle in transaction for too long
        "40001", // serialization failure
        "40P01", // deadlock
        "55P03", // lock not available
        "57014", // statement timeout
    ];
    // Connection lost, out of resources, shutting down or starting up, trouble with the disk.
    passing.contains(&code) || ["08", "53", "57P0", "58"].iter().any(|class| code.starts_with(class))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_that_pass_are_transient_and_bad_data_is_not() {
        for code in ["08006", "40001", "40P01", "53100", "53300", "57P01", "57P03", "55P03", "57014", "58030"] {
            assert!(is_transient(code), "{code}");
        }
        for code in ["22021", "23505", "23514", "28P01", "42P01", UNKNOWN_SALE, ""] {
            assert!(!is_transient(code), "{code}");
        }
    }
}
