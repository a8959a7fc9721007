//! Messages that can never become an order, and what is known of a reservation.

use std::collections::HashSet;

use domain::{Epoch, Reservation, ReservationBatch, ReservationId, SaleId};
use sqlx::PgExecutor;
use uuid::Uuid;

use crate::apply::units;
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

    /// One reservation of a batch that PostgreSQL refuses.
    pub(crate) fn of(batch: &ReservationBatch, reservation: &Reservation, error: &Error) -> Self {
        let alone = ReservationBatch { reservations: vec![reservation.clone()], ..*batch };
        Self {
            sale_id: Some(batch.sale_id),
            epoch: Some(batch.epoch),
            reservation: Some(reservation.clone()),
            reason: error.to_string(),
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

impl Ledger {
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
