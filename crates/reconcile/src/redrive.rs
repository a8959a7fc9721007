//! An operator's second try with a dead letter: here, because it takes the decoder as well as the ledger.

use domain::Applied;
use ledger::{BuriedLetter, Verdict};
use uuid::Uuid;

use crate::reconciler::{Error, Reconciler};

impl Reconciler {
    /// Tries again to make orders of a dead letter. One of a reservation goes through the ledger as a whole or not at
    /// all. A message that could not be read is read anew; where that succeeds, its reservations are persisted as a
    /// worker would persist them, so that those which became orders meanwhile are found and not sold again.
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
        let applied = self.ledger.persist(&batch, None).await?;
        if applied.iter().any(|(_, outcome)| *outcome == Applied::Fenced) {
            return Ok(Verdict::Fenced);
        }
        // What was refused for its data has a letter of its own now.
        Ok(self.ledger.mark_redriven(letter.id, actor).await?)
    }
}
