//! An operator's decisions about dead letters. Each is one call of a function in `migrations/0004_dead_letters.sql`,
//! with the sale's row locked: the letter's units are sold, given back or still withheld, and never two of these.

use domain::ReservationBatch;
use sqlx::postgres::PgRow;
use sqlx::{FromRow, Row};
use uuid::Uuid;

use crate::{BuriedLetter, Error, Ledger, Resolution};

/// What a decision about a dead letter has come to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Its reservation is an order, or all the reservations of its message are.
    Redriven {
        /// Why, where that was so before anybody asked.
        because: Option<String>,
    },
    /// No order will ever be made of it.
    Discarded {
        /// Units that go back on sale.
        units: i32,
        /// Why, where that was not the operator's own choice.
        because: Option<String>,
    },
    /// Its message can be read, and each reservation in it has a letter of its own now; not all of them are orders.
    Split {
        /// Units of those letters that go back on sale.
        units: i32,
        /// What became of them.
        detail: String,
    },
    /// It was refused again, for this reason, and stays unresolved: the order where it was to be redriven, the
    /// cancelled order where it was to be discarded.
    Failed(String),
    /// A reconciler is draining the sale, and only it may write orders. Nothing was written.
    Fenced,
    /// Somebody has decided before.
    Resolved(Resolution),
    /// There is no such letter, or no longer.
    NotFound,
}

impl FromRow<'_, PgRow> for Verdict {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let detail: Option<String> = row.try_get("detail")?;
        let verdict = match (row.try_get("verdict")?, detail) {
            ("redriven", because) => Self::Redriven { because },
            ("discarded", because) => Self::Discarded { units: row.try_get("units")?, because },
            // The caller knows the rest.
            ("split", _) => Self::Split { units: 0, detail: String::new() },
            ("failed", Some(reason)) => Self::Failed(reason),
            ("fenced", _) => Self::Fenced,
            ("resolved", Some(resolution)) => {
                Self::Resolved(resolution.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))?)
            }
            ("not_found", _) => Self::NotFound,
            (verdict, detail) => {
                return Err(sqlx::Error::Decode(format!("a decision came to {verdict:?}, {detail:?}").into()));
            }
        };
        Ok(verdict)
    }
}

impl Ledger {
    /// Gives a letter up: its buyer gets a cancelled order, and its units go back on sale. [`Verdict::Redriven`] where
    /// its reservation is an order already, [`Verdict::Failed`] where PostgreSQL refuses even the cancelled one.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn discard(&self, id: Uuid, actor: &str) -> Result<Verdict, Error> {
        self.decide(id, Resolution::Discarded, actor).await
    }

    /// Tries again to make an order of a letter's reservation, the way a worker does. [`Verdict::Failed`] where the
    /// letter's message could not be read: that takes a decoder, then [`Ledger::bury`] and this for each
    /// reservation, and at last [`Ledger::mark_redriven`] or [`Ledger::mark_split`].
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn redrive(&self, letter: &BuriedLetter, actor: &str) -> Result<Verdict, Error> {
        let batch: ReservationBatch = match serde_json::from_slice(&letter.body) {
            Ok(batch) => batch,
            Err(error) => return self.still_dead(letter.id, &format!("the letter cannot be read: {error}")).await,
        };
        let [reservation] = batch.reservations.as_slice() else {
            return self.still_dead(letter.id, "the letter is not about one reservation").await;
        };
        let sql = "SELECT verdict, units, detail FROM redrive_dead_letter($1, $2, $3, $4, $5, $6)";
        let verdict = sqlx::query_as(sql)
            .bind(letter.id)
            .bind(actor)
            .bind(batch.terms.unit_price_minor)
            .bind(batch.terms.currency.as_str())
            .bind(i64::from(batch.terms.hold_seconds))
            .bind(reservation.reserved_at)
            .fetch_one(&self.pool)
            .await?;
        Ok(verdict)
    }

    /// Resolves the letter of a message that can be read by now: the caller has made orders of all its reservations.
    ///
    /// # Errors
    /// PostgreSQL failed, or the letter withholds units.
    pub async fn mark_redriven(&self, id: Uuid, actor: &str) -> Result<Verdict, Error> {
        self.decide(id, Resolution::Redriven, actor).await
    }

    /// Resolves the letter of a message that can be read by now: the caller has buried each of its reservations in a
    /// letter of its own. `units` of these are back on sale; `detail` says what became of them.
    ///
    /// # Errors
    /// PostgreSQL failed, or the letter withholds units.
    pub async fn mark_split(&self, id: Uuid, actor: &str, units: i32, detail: String) -> Result<Verdict, Error> {
        let verdict = self.decide(id, Resolution::Split, actor).await?;
        Ok(if matches!(verdict, Verdict::Split { .. }) { Verdict::Split { units, detail } } else { verdict })
    }

    /// Writes down why an unresolved letter is still no order.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn still_dead(&self, id: Uuid, reason: &str) -> Result<Verdict, Error> {
        sqlx::query("UPDATE dead_letters SET reason = $2 WHERE id = $1 AND resolved_at IS NULL")
            .bind(id)
            .bind(reason.replace('\0', "\\0"))
            .execute(&self.pool)
            .await?;
        Ok(Verdict::Failed(reason.to_owned()))
    }

    async fn decide(&self, id: Uuid, resolution: Resolution, actor: &str) -> Result<Verdict, Error> {
        let verdict = sqlx::query_as("SELECT verdict, units, detail FROM decide_dead_letter($1, $2, $3)")
            .bind(id)
            .bind(resolution.as_str())
            .bind(actor)
            .fetch_one(&self.pool)
            .await?;
        Ok(verdict)
    }
}
