//! Built-in accounts.

use secrecy::{ExposeSecret, SecretString};
use sqlx::Row;
use uuid::Uuid;

use crate::{Error, Ledger};

/// What a log-in is checked against.
#[derive(Clone, Debug)]
pub struct Account {
    /// The account's id: the user id of its orders.
    pub id: Uuid,
    /// The password's hash in PHC's string format.
    pub password_hash: SecretString,
}

impl Ledger {
    /// Creates an account for a normalised address. `false` where there is one already, which stays as it is.
    ///
    /// # Errors
    /// [`Error::Data`] where the id is taken or a constraint of the table forbids the values; PostgreSQL failed.
    pub async fn create_account(&self, account: &Account, email: &str) -> Result<bool, Error> {
        let created = sqlx::query(
            "INSERT INTO accounts (id, email, password_hash) VALUES ($1, $2, $3) ON CONFLICT (email) DO NOTHING",
        )
        .bind(account.id)
        .bind(email)
        .bind(account.password_hash.expose_secret())
        .execute(&self.pool)
        .await?;
        Ok(created.rows_affected() == 1)
    }

    /// The account of a normalised address.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn account(&self, email: &str) -> Result<Option<Account>, Error> {
        let row = sqlx::query("SELECT id, password_hash FROM accounts WHERE email = $1")
            .bind(email)
            .fetch_optional(&self.pool)
            .await?;
        let read = |row: sqlx::postgres::PgRow| -> Result<Account, sqlx::Error> {
            let password_hash: String = row.try_get("password_hash")?;
            Ok(Account { id: row.try_get("id")?, password_hash: password_hash.into() })
        };
        Ok(row.map(read).transpose()?)
    }
}
