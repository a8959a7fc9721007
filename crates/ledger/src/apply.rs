//! The persist step: reservations become orders.

use domain::{Applied, Reservation, ReservationBatch, ReservationId};
use sqlx::error::DatabaseError;
use uuid::Uuid;

use crate::error::UNKNOWN_SALE;
use crate::{DeadLetter, Error, Ledger};

/// What became of each reservation of a batch, in its order.
type Outcomes = Vec<(ReservationId, Applied)>;

impl Ledger {
    /// Applies a batch with one call of `apply_batch` (`migrations/0002_apply_batch.sql`): all of it or, on an error,
    /// nothing. `token` is a draining reconciler's; everybody else has none. Applying a batch again changes nothing.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no such sale, [`Error::Data`] where at least one reservation is
    /// unacceptable; PostgreSQL failed.
    pub async fn apply(&self, batch: &ReservationBatch, token: Option<Uuid>) -> Result<Outcomes, Error> {
        self.apply_part(batch, &batch.reservations, token).await
    }

    /// Applies a batch; reservations that PostgreSQL can never accept go to the dead letters, each alone, and the
    /// others become orders.
    ///
    /// Not one transaction: on an error a part of the batch may have been applied, and a repetition answers
    /// [`Applied::Duplicate`] for it.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn persist(&self, batch: &ReservationBatch, token: Option<Uuid>) -> Result<Outcomes, Error> {
        let mut outcomes = Vec::with_capacity(batch.reservations.len());
        // The parts that are left, the first on top.
        let mut parts: Vec<&[Reservation]> = vec![&batch.reservations];
        while let Some(part) = parts.pop() {
            match (self.apply_part(batch, part, token).await, part) {
                (Ok(applied), _) => outcomes.extend(applied),
                (Err(error), [reservation]) if error.is_for_the_data() => {
                    self.bury(&DeadLetter::of(batch, reservation, error.to_string())).await?;
                    outcomes.push((reservation.id, Applied::Buried));
                }
                (Err(error), _) if error.is_for_the_data() => {
                    let (left, right) = part.split_at(part.len() / 2);
                    parts.extend([right, left]);
                }
                (Err(error), _) => return Err(error),
            }
        }
        Ok(outcomes)
    }

    async fn apply_part(
        &self,
        batch: &ReservationBatch,
        part: &[Reservation],
        token: Option<Uuid>,
    ) -> Result<Outcomes, Error> {
        if part.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<Uuid> = part.iter().map(|reservation| reservation.id.0).collect();
        let users: Vec<&str> = part.iter().map(|reservation| reservation.user_id.as_str()).collect();
        let quantities: Vec<i32> = part.iter().map(units).collect();
        let reserved_at_ms: Vec<i64> = part.iter().map(|reservation| reservation.reserved_at).collect();
        let answer: Result<Vec<String>, sqlx::Error> =
            sqlx::query_scalar("SELECT apply_batch($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)")
                .bind(batch.sale_id.0)
                .bind(batch.epoch.0)
                .bind(token)
                .bind(batch.terms.unit_price_minor)
                .bind(batch.terms.currency.as_str())
                .bind(i64::from(batch.terms.hold_seconds))
                .bind(ids)
                .bind(users)
                .bind(quantities)
                .bind(reserved_at_ms)
                .fetch_one(&self.pool)
                .await;
        let names = answer.map_err(|error| {
            let code = error.as_database_error().and_then(DatabaseError::code);
            if code.as_deref() == Some(UNKNOWN_SALE) { Error::NotFound(batch.sale_id) } else { error.into() }
        })?;
        part.iter().zip(&names).map(|(reservation, name)| Ok((reservation.id, applied(name)?))).collect()
    }
}

/// The reservation's units as PostgreSQL's `int`.
pub(crate) fn units(reservation: &Reservation) -> i32 {
    i32::try_from(reservation.quantity.get()).expect("a quantity is at most Quantity::MAX, which fits")
}

fn applied(name: &str) -> Result<Applied, Error> {
    match name {
        "inserted" => Ok(Applied::Inserted),
        "duplicate" => Ok(Applied::Duplicate),
        "user_has_order" => Ok(Applied::UserHasOrder),
        "no_stock" => Ok(Applied::NoStock),
        "stale" => Ok(Applied::Stale),
        "fenced" => Ok(Applied::Fenced),
        _ => Err(Error::Other(sqlx::Error::Decode(format!("apply_batch answered {name:?}").into()))),
    }
}
