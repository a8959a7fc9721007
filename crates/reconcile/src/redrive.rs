//! An operator's second try with a dead letter: here, because it takes the decoder as well as the ledger.

use domain::{Reservation, ReservationBatch};
use ledger::{BuriedLetter, DeadLetter, Resolution, Verdict};
use uuid::Uuid;

use crate::reconciler::{Error, Reconciler};

/// How many of a message's letters an answer names. The others are in the list of dead letters.
const MOST_NAMED: usize = 10;

/// What became of the reservations of a message.
#[derive(Default)]
struct Tally {
    redriven: usize,
    discarded: usize,
    /// Units of those that were discarded.
    units: i32,
    /// Letters that stay unresolved, and why.
    unresolved: Vec<(Uuid, String)>,
}

impl Reconciler {
    /// Tries again to make orders of a dead letter. One of a reservation goes through the ledger as a whole or not at
    /// all. A message that could not be read is read anew; where that succeeds, each of its reservations is buried in a
    /// letter of its own and that is redriven: one that is an order by now is found and not sold again, and one that is
    /// refused waits in its letter for another decision.
    ///
    /// # Errors
    /// PostgreSQL failed; the same call may be repeated.
    pub async fn redrive(&self, id: Uuid, actor: &str) -> Result<Verdict, Error> {
        let Some(letter) = self.ledger.dead_letter(id).await? else { return Ok(Verdict::NotFound) };
        match letter {
            BuriedLetter { resolved: Some((_, resolution)), .. } => Ok(Verdict::Resolved(resolution)),
            BuriedLetter { reservation_id: Some(_), .. } => Ok(self.ledger.redrive(&letter, actor).await?),
            letter => self.read_again(&letter, actor).await,
        }
    }

    async fn read_again(&self, letter: &BuriedLetter, actor: &str) -> Result<Verdict, Error> {
        let (Some(sale), Some(epoch)) = (letter.sale_id, letter.epoch) else {
            return Ok(self.ledger.still_dead(letter.id, "nobody knows which queue it came from").await?);
        };
        let batch = match broker::decode(&letter.body, (sale, epoch)) {
            Ok(batch) => batch,
            Err(error) => return Ok(self.ledger.still_dead(letter.id, &error.to_string()).await?),
        };
        let mut tally = Tally::default();
        for reservation in &batch.reservations {
            let (own, verdict) = self.redrive_alone(&batch, reservation, actor).await?;
            match verdict {
                Verdict::Redriven { .. } | Verdict::Resolved(Resolution::Redriven) => tally.redriven += 1,
                Verdict::Discarded { units, .. } => {
                    tally.discarded += 1;
                    tally.units += units;
                }
                Verdict::Resolved(_) | Verdict::Split { .. } => tally.discarded += 1,
                Verdict::Failed(reason) => tally.unresolved.push((own, reason)),
                // A rebuild, or a reset: this letter waits for the next try, which finds what was done so far.
                Verdict::Fenced | Verdict::NotFound => return Ok(verdict),
            }
        }
        if tally.redriven == batch.reservations.len() {
            return Ok(self.ledger.mark_redriven(letter.id, actor).await?);
        }
        Ok(self.ledger.mark_split(letter.id, actor, tally.units, tally.told()).await?)
    }

    /// Buries a reservation of a message that could not be read, once, and redrives its letter.
    async fn redrive_alone(
        &self,
        batch: &ReservationBatch,
        reservation: &Reservation,
        actor: &str,
    ) -> Result<(Uuid, Verdict), Error> {
        let letter = DeadLetter::of(batch, reservation, "its message could not be read".to_owned());
        self.ledger.bury(&letter).await?;
        match self.ledger.dead_letter_of(reservation.id).await? {
            Some(letter) => Ok((letter.id, self.ledger.redrive(&letter, actor).await?)),
            None => Ok((Uuid::nil(), Verdict::NotFound)),
        }
    }
}

impl Tally {
    fn told(&self) -> String {
        let mut text = format!("reservations that are orders: {}; discarded: {}", self.redriven, self.discarded);
        if !self.unresolved.is_empty() {
            let named = self.unresolved.iter().take(MOST_NAMED).map(|(id, reason)| format!("{id}, {reason}"));
            let named: Vec<String> = named.collect();
            text +=
                &format!("; unresolved, each in a letter of its own: {}: {}", self.unresolved.len(), named.join("; "));
        }
        text
    }
}
