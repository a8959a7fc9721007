//! The outbox: wins that are not known to be in the ledger yet.

use domain::{Epoch, Quantity, Reservation, ReservationBatch, ReservationId, SaleId, Terms};
use redis::{Value, from_redis_value_ref};

use crate::keys::Key;
use crate::probe::unix_ms;
use crate::{Error, Inventory, Loss, MAX_BATCH};

/// Entries of one outbox that are read to find one.
const SOUGHT_ENTRIES: usize = 1_000;
/// How much earlier and later than its id says a win may be written, in milliseconds: the id is made by the clock of the
/// process that was asked, the entry by Redis's, a moment later.
const SOUGHT_MS: (i64, i64) = (2_000, 10_000);

/// One win as the gate wrote it down.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OutboxEntry {
    /// The entry's id in the stream, `<Unix milliseconds>-<number>`.
    pub id: String,
    /// The win.
    pub reservation: Reservation,
    /// What its buyer agreed to.
    pub terms: Terms,
}

/// How much is on its way to the ledger.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Backlog {
    /// Entries in the outbox.
    pub entries: i64,
    /// How long the oldest has been there, in milliseconds by Redis's clock.
    pub oldest_ms: Option<i64>,
}

/// What became of the search for one win.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sought {
    /// It is on its way, in this sale.
    Found(SaleId),
    /// It is in none of the outboxes.
    Nowhere,
    /// There are too many entries to look at all of them, and it is not among those that were.
    Unknown,
}

impl Inventory {
    /// Looks for a win in the outboxes of these epochs, in one round trip as a rule. Of an outbox that is long, only the
    /// oldest entries are read, and those around the time that the id tells (a `UUIDv7`).
    ///
    /// # Errors
    /// [`Error::Lost`] if the gate of one of them is gone: what its outbox lacks tells nothing then;
    /// [`Error::Unreachable`]; [`Error::Protocol`] if an entry is damaged.
    pub async fn seek(&self, sales: &[(SaleId, Epoch)], id: ReservationId) -> Result<Sought, Error> {
        let all = ("-".to_owned(), "+".to_owned());
        let mut long = Vec::new();
        for (&(sale, epoch), entries) in sales.iter().zip(self.read_outboxes(sales, &all).await?) {
            if entries.len() > SOUGHT_ENTRIES {
                long.push((sale, epoch));
            }
            if entries.iter().any(|entry| entry.reservation.id == id) {
                return Ok(Sought::Found(sale));
            }
        }
        if long.is_empty() {
            return Ok(Sought::Nowhere);
        }
        if let Some(at_ms) = made_at(id) {
            let around = |by_ms: i64| at_ms.saturating_add(by_ms).max(0).to_string();
            let window = (around(-SOUGHT_MS.0), around(SOUGHT_MS.1));
            for (&(sale, _), entries) in long.iter().zip(self.read_outboxes(&long, &window).await?) {
                if entries.iter().any(|entry| entry.reservation.id == id) {
                    return Ok(Sought::Found(sale));
                }
            }
        }
        Ok(Sought::Unknown)
    }

    /// Of each outbox the first entries within the window, one more than [`SOUGHT_ENTRIES`] at most.
    async fn read_outboxes(
        &self,
        sales: &[(SaleId, Epoch)],
        (from, to): &(String, String),
    ) -> Result<Vec<Vec<OutboxEntry>>, Error> {
        if sales.is_empty() {
            return Ok(Vec::new());
        }
        let mut ask = redis::pipe();
        for &(sale, epoch) in sales {
            ask.cmd("XRANGE").arg(Key::outbox(sale, epoch)).arg(from).arg(to).arg("COUNT").arg(SOUGHT_ENTRIES + 1);
        }
        // The gates come second: where they still stand, the outboxes stood a moment before.
        for &(sale, epoch) in sales {
            ask.cmd("HGET").arg(Key::gate(sale, epoch)).arg("epoch");
        }
        let answers: Vec<Value> = self.connection.pipeline(&ask).await?;
        let (outboxes, gates) = answers.split_at(sales.len().min(answers.len()));
        for (gate, (_, epoch)) in gates.iter().zip(sales) {
            if from_redis_value_ref::<Option<i64>>(gate)? != Some(epoch.0) {
                return Err(Error::Lost(Loss::Gate));
            }
        }
        outboxes.iter().map(read_entries).collect()
    }

    /// A page of at most `limit` entries, oldest first, that are at least `min_age_ms` old by Redis's clock; 0 asks for
    /// all, whatever that clock says (it may have been set back). `after` is the id of the last entry of the page
    /// before. An absent outbox reads as an empty one.
    ///
    /// # Errors
    /// [`Error::Unreachable`]; [`Error::Protocol`] if an entry is damaged.
    pub async fn outbox(
        &self,
        sale: SaleId,
        epoch: Epoch,
        after: Option<&str>,
        min_age_ms: i64,
        limit: usize,
    ) -> Result<Vec<OutboxEntry>, Error> {
        let start = after.map_or_else(|| "-".to_owned(), |id| format!("({id}"));
        let mut ask = redis::pipe();
        ask.cmd("TIME").cmd("XRANGE").arg(Key::outbox(sale, epoch)).arg(start).arg("+").arg("COUNT").arg(limit);
        let (time, entries): (Value, Value) = self.connection.pipeline(&ask).await?;
        let newest_ms = unix_ms(&time)? - min_age_ms;
        let mut entries = read_entries(&entries)?;
        entries.retain(|entry| min_age_ms == 0 || entry.reservation.reserved_at <= newest_ms);
        Ok(entries)
    }

    /// How much is on its way in each of several epochs, in the same order. An absent outbox reads as an empty one.
    ///
    /// # Errors
    /// [`Error::Unreachable`]; [`Error::Protocol`] if an entry is damaged.
    pub async fn backlogs(&self, sales: &[(SaleId, Epoch)]) -> Result<Vec<Backlog>, Error> {
        let mut ask = redis::pipe();
        ask.cmd("TIME");
        for &(sale, epoch) in sales {
            let outbox = Key::outbox(sale, epoch);
            ask.cmd("XLEN").arg(outbox).cmd("XRANGE").arg(outbox).arg("-").arg("+").arg("COUNT").arg(1);
        }
        let answers: Vec<Value> = self.connection.pipeline(&ask).await?;
        let [time, answers @ ..] = answers.as_slice() else {
            return Err(Error::Protocol(format!("TIME gave {answers:?}")));
        };
        let now_ms = unix_ms(time)?;
        let backlogs = answers.as_chunks().0.iter().map(|[entries, oldest]| {
            let oldest = read_entries(oldest)?.pop();
            let oldest_ms = oldest.map(|entry| (now_ms - entry.reservation.reserved_at).max(0));
            Ok(Backlog { entries: from_redis_value_ref(entries)?, oldest_ms })
        });
        backlogs.collect()
    }

    /// Deletes entries whose orders are committed; answers how many were still there.
    ///
    /// # Errors
    /// [`Error::Unreachable`]; [`Error::Protocol`] if one of the ids is no stream id.
    pub async fn settle(&self, sale: SaleId, epoch: Epoch, outbox_ids: &[impl AsRef<str>]) -> Result<u64, Error> {
        if outbox_ids.is_empty() {
            return Ok(0);
        }
        let mut delete = redis::cmd("XDEL");
        delete.arg(Key::outbox(sale, epoch));
        outbox_ids.iter().for_each(|id| {
            delete.arg(id.as_ref());
        });
        self.connection.call(&delete).await
    }
}

/// When an id was made, by its maker's clock: Unix time, milliseconds. One made of an idempotency key does not tell.
fn made_at(id: ReservationId) -> Option<i64> {
    let (seconds, nanos) = id.0.get_timestamp()?.to_unix();
    Some(i64::try_from(seconds).ok()?.saturating_mul(1_000).saturating_add(i64::from(nanos / 1_000_000)))
}

/// Entries as batches to publish or to persist: each of one set of terms and of at most [`MAX_BATCH`] wins, in order.
#[must_use]
pub fn batches(sale: SaleId, epoch: Epoch, entries: Vec<OutboxEntry>) -> Vec<ReservationBatch> {
    let mut batches: Vec<ReservationBatch> = Vec::new();
    for OutboxEntry { reservation, terms, .. } in entries {
        match batches.last_mut() {
            Some(last) if last.terms == terms && last.reservations.len() < MAX_BATCH => {
                last.reservations.push(reservation);
            }
            _ => batches.push(ReservationBatch { sale_id: sale, epoch, terms, reservations: vec![reservation] }),
        }
    }
    batches
}

/// When the gate wrote this outbox entry, by Redis's clock: Unix time, milliseconds. A stream id starts with it. Redis
/// 7.0 reads its clock anew for each entry, so it may be a few milliseconds later than the decision on the window.
///
/// # Errors
/// [`Error::Protocol`] if the text is no stream id.
pub fn reserved_at(outbox_id: &str) -> Result<i64, Error> {
    let millis = outbox_id.split_once('-').and_then(|(millis, _)| millis.parse().ok());
    millis.ok_or_else(|| Error::Protocol(format!("{outbox_id:?} is no stream id")))
}

/// The answer to `XRANGE`.
pub(crate) fn read_entries(entries: &Value) -> Result<Vec<OutboxEntry>, Error> {
    let entries: Vec<(String, Vec<String>)> = from_redis_value_ref(entries)?;
    entries.into_iter().map(|(id, fields)| read_entry(id, &fields)).collect()
}

fn read_entry(id: String, fields: &[String]) -> Result<OutboxEntry, Error> {
    let reserved_at = reserved_at(&id)?;
    let damaged = || Error::Protocol(format!("outbox entry {id} holds {fields:?}"));
    let names_and_values: Vec<&str> = fields.iter().map(String::as_str).collect();
    let ["r", reservation, "u", user, "q", quantity, "t", terms] = names_and_values[..] else {
        return Err(damaged());
    };
    let quantity: u32 = quantity.parse().map_err(|_| damaged())?;
    Ok(OutboxEntry {
        reservation: Reservation {
            id: reservation.parse().map_err(|_| damaged())?,
            user_id: user.parse().map_err(|_| damaged())?,
            quantity: Quantity::try_from(quantity).map_err(|_| damaged())?,
            reserved_at,
            outbox_id: Some(id.clone()),
        },
        terms: terms.parse().map_err(|_| damaged())?,
        id,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_batched_by_their_terms_and_up_to_the_largest_batch() {
        let entry = |terms: &str| {
            let fields = ["r", "018f4b1e-0000-7000-8000-000000000001", "u", "ann", "q", "2", "t", terms];
            read_entry("1-0".to_owned(), &fields.map(str::to_owned)).unwrap()
        };
        let mut entries = vec![entry("1999 EUR 0"); MAX_BATCH + 1];
        entries.push(entry("999 EUR 0"));
        let batches = batches(SaleId(uuid::Uuid::nil()), Epoch(1), entries);
        let shapes: Vec<_> = batches.iter().map(|b| (b.terms.unit_price_minor, b.reservations.len())).collect();
        assert_eq!(shapes, [(1_999, MAX_BATCH), (1_999, 1), (999, 1)]);
    }

    #[test]
    fn a_damaged_entry_is_an_error_and_never_a_default() {
        let whole = ["r", "018f4b1e-0000-7000-8000-000000000001", "u", "ann", "q", "2", "t", "1999 EUR 0"];
        let read = |id: &str, fields: &[&str]| {
            read_entry(id.to_owned(), &fields.iter().map(|&field| field.to_owned()).collect::<Vec<_>>())
        };
        let entry = read("1700000000123-4", &whole).unwrap();
        assert_eq!((entry.reservation.reserved_at, entry.reservation.quantity.get()), (1_700_000_000_123, 2));
        assert!(read("1700000000123", &whole).is_err());
        assert!(read("1-0", &whole[..6]).is_err());
        for position in 0..whole.len() {
            let mut damaged = whole;
            damaged[position] = "";
            assert!(read("1-0", &damaged).is_err(), "{damaged:?}");
        }
    }
}
