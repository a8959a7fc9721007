//! Messages that can never become an order, and what is known of a reservation.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use domain::{Epoch, Reservation, ReservationBatch, ReservationId, SaleId, UserId};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgExecutor, Row};
use uuid::Uuid;

use crate::apply::units;
use crate::row::checked;
use crate::{Error, Ledger};

/// A message, or one reservation of it, that can never become an order. Its units, where they are known, are
/// withheld from sale until an operator decides.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// The sale it names, which need not exist.
    pub sale_id: Option<SaleId>,
    /// The epoch it names.
    pub epoch: Option<Epoch>,
    /// The reservation; `None` where the body cannot be read.
    pub reservation: Option<Reservation>,
    /// Why it can never become an order.
    pub reason: String,
    /// The message; for one reservation of a batch, a batch of that one in JSON.
    pub body: Vec<u8>,
}

impl DeadLetter {
    /// A message out of the queue of this sale and epoch that cannot be read.
    #[must_use]
    pub fn unreadable(sale: SaleId, epoch: Epoch, reason: String, body: Vec<u8>) -> Self {
        Self { sale_id: Some(sale), epoch: Some(epoch), reservation: None, reason, body }
    }

    /// One reservation of a batch.
    ///
    /// # Panics
    /// Never: a batch is JSON with text keys only.
    #[must_use]
    pub fn of(batch: &ReservationBatch, reservation: &Reservation, reason: String) -> Self {
        let alone = ReservationBatch { reservations: vec![reservation.clone()], ..*batch };
        Self {
            sale_id: Some(batch.sale_id),
            epoch: Some(batch.epoch),
            reservation: Some(reservation.clone()),
            reason,
            body: serde_json::to_vec(&alone).expect("a batch has text keys only"),
        }
    }
}

impl DeadLetter {
    /// Random for a reservation, which has an id of its own. For the rest derived from where it came from and what it
    /// says, so that a redelivery finds its grave.
    fn id(&self) -> Uuid {
        match (&self.reservation, self.sale_id) {
            (None, Some(sale)) => {
                let epoch = self.epoch.map_or(0, |epoch| epoch.0);
                Uuid::new_v5(&sale.0, &[&epoch.to_be_bytes(), self.body.as_slice()].concat())
            }
            _ => Uuid::new_v4(),
        }
    }
}

/// How a dead letter was resolved.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Resolution {
    /// Its reservation became an order after all.
    Redriven,
    /// It was given up, and its units went back on sale.
    Discarded,
    /// Its message could be read after all, and each reservation in it got a letter of its own.
    Split,
}

impl Resolution {
    /// Its name in PostgreSQL and in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Redriven => "redriven",
            Self::Discarded => "discarded",
            Self::Split => "split",
        }
    }
}

impl fmt::Display for Resolution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no [`Resolution`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is not a resolution")]
pub struct UnknownResolution(String);

impl FromStr for Resolution {
    type Err = UnknownResolution;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = [Self::Redriven, Self::Discarded, Self::Split].into_iter().find(|each| each.as_str() == text);
        known.ok_or_else(|| UnknownResolution(text.to_owned()))
    }
}

/// A dead letter as PostgreSQL has it.
#[derive(Clone, Debug, PartialEq)]
pub struct BuriedLetter {
    /// The letter's own id.
    pub id: Uuid,
    /// The sale it names, which need not exist.
    pub sale_id: Option<SaleId>,
    /// The epoch it names.
    pub epoch: Option<Epoch>,
    /// Its reservation; `None`, like the next two, where the message cannot be read.
    pub reservation_id: Option<ReservationId>,
    /// The buyer.
    pub user_id: Option<String>,
    /// Units reserved.
    pub quantity: Option<i32>,
    /// Why it is no order.
    pub reason: String,
    /// The message; in a list no more than its first [`LISTED_BODY_BYTES`].
    pub body: Vec<u8>,
    /// Length of the whole message.
    pub body_bytes: i32,
    /// When it was buried, by PostgreSQL's clock.
    pub created_at: DateTime<Utc>,
    /// When and how it was resolved; `None` while nobody has decided.
    pub resolved: Option<(DateTime<Utc>, Resolution)>,
}

/// How much of a message a list shows. Messages may have megabytes, and a list two hundred of them.
pub const LISTED_BODY_BYTES: i32 = 4_096;

/// Which dead letters to list.
#[derive(Clone, Debug, Default)]
pub struct LetterFilter {
    /// Of this sale only.
    pub sale: Option<SaleId>,
    /// The resolved ones only, or the unresolved ones only.
    pub resolved: Option<bool>,
    /// Those after the letter with this age and id, in the list's order.
    pub after: Option<(DateTime<Utc>, Uuid)>,
    /// The most letters to list.
    pub limit: i64,
}

impl FromRow<'_, PgRow> for BuriedLetter {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let resolution: Option<&str> = row.try_get("resolution")?;
        let resolution = resolution
            .map(str::parse)
            .transpose()
            .map_err(|error| sqlx::Error::ColumnDecode { index: "resolution".to_owned(), source: Box::new(error) })?;
        let resolved_at: Option<DateTime<Utc>> = row.try_get("resolved_at")?;
        Ok(Self {
            id: row.try_get("id")?,
            sale_id: row.try_get::<Option<_>, _>("sale_id")?.map(SaleId),
            epoch: row.try_get::<Option<_>, _>("epoch")?.map(Epoch),
            reservation_id: row.try_get::<Option<_>, _>("reservation_id")?.map(ReservationId),
            user_id: row.try_get("user_id")?,
            quantity: row.try_get("quantity")?,
            reason: row.try_get("reason")?,
            body: row.try_get("body")?,
            body_bytes: row.try_get("body_bytes")?,
            created_at: row.try_get("created_at")?,
            resolved: resolved_at.zip(resolution),
        })
    }
}

impl Ledger {
    /// Whose this reservation is, where an operator has to decide about it: it is a dead letter and not resolved.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn buyer_of_buried(&self, id: ReservationId) -> Result<Option<UserId>, Error> {
        let sql = "SELECT user_id FROM dead_letters WHERE reservation_id = $1 AND resolved_at IS NULL";
        let row = sqlx::query(sql).bind(id.0).fetch_optional(&self.pool).await?;
        Ok(row.map(|row| checked(&row, "user_id", |text: &str| text.parse())).transpose()?)
    }

    /// Dead letters, the oldest first, each with the beginning of its message.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn dead_letters(&self, filter: &LetterFilter) -> Result<Vec<BuriedLetter>, Error> {
        let (after_at, after_id) = filter.after.unzip();
        let letters = sqlx::query_as(
            "SELECT id, sale_id, epoch, reservation_id, user_id, quantity, reason, substring(body FOR $6) AS body,
                    octet_length(body) AS body_bytes, created_at, resolved_at, resolution
             FROM dead_letters
             WHERE ($1::uuid IS NULL OR sale_id = $1) AND ($2::bool IS NULL OR (resolved_at IS NOT NULL) = $2)
               AND (created_at, id) > (coalesce($3::timestamptz, '-infinity'), $4::uuid)
             ORDER BY created_at, id LIMIT $5",
        )
        .bind(filter.sale.map(|sale| sale.0))
        .bind(filter.resolved)
        .bind(after_at)
        // Without a letter to follow, nothing is as old as the other half.
        .bind(after_id.unwrap_or_default())
        .bind(filter.limit)
        .bind(LISTED_BODY_BYTES)
        .fetch_all(&self.pool)
        .await?;
        Ok(letters)
    }

    /// One dead letter with its whole message; `None` where there is none of this id.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn dead_letter(&self, id: Uuid) -> Result<Option<BuriedLetter>, Error> {
        let letter = sqlx::query_as(
            "SELECT id, sale_id, epoch, reservation_id, user_id, quantity, reason, body,
                    octet_length(body) AS body_bytes, created_at, resolved_at, resolution
             FROM dead_letters WHERE id = $1",
        )
        .bind(id)
        .fetch_optional(&self.pool)
        .await?;
        Ok(letter)
    }

    /// The dead letter of this reservation, with its whole message; `None` where it was never buried.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn dead_letter_of(&self, reservation: ReservationId) -> Result<Option<BuriedLetter>, Error> {
        let sql = "SELECT id FROM dead_letters WHERE reservation_id = $1";
        match sqlx::query_scalar(sql).bind(reservation.0).fetch_optional(&self.pool).await? {
            Some(id) => self.dead_letter(id).await,
            None => Ok(None),
        }
    }

    /// Writes a dead letter. A reservation, or a body that cannot be read, is buried once, however often this is called
    /// for it.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn bury(&self, letter: &DeadLetter) -> Result<(), Error> {
        let reservation = letter.reservation.as_ref();
        sqlx::query(include_str!("bury.sql"))
            .bind(letter.id())
            .bind(letter.sale_id.map(|id| id.0))
            .bind(letter.epoch.map(|epoch| epoch.0))
            .bind(reservation.map(|reservation| reservation.id.0))
            .bind(reservation.map(|reservation| reservation.user_id.as_str()))
            .bind(reservation.map(units))
            // PostgreSQL's text has no NUL, and a letter about one must not fail for the same reason.
            .bind(letter.reason.replace('\0', "\\0"))
            .bind(&letter.body)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Which of these reservations the ledger has decided on: they have an order or a dead letter, or their units
    /// went back because the buyer has another order.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn known(&self, ids: &[ReservationId]) -> Result<HashSet<ReservationId>, Error> {
        known(&self.pool, ids).await
    }
}

pub(crate) async fn known(
    executor: impl PgExecutor<'_>,
    ids: &[ReservationId],
) -> Result<HashSet<ReservationId>, Error> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let known: Vec<Uuid> = sqlx::query_scalar(include_str!("known.sql")).bind(ids).fetch_all(executor).await?;
    Ok(known.into_iter().map(ReservationId).collect())
}
