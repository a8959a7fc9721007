//! Message version 1: one batch of reservations as JSON.
//!
//! ```json
//! {"v": 1, "saleId": "…", "epoch": 7, "terms": {"unitPriceMinor": 1999, "currency": "EUR", "holdSeconds": 600},
//!  "reservations": [{"id": "…", "userId": "…", "quantity": 1, "reservedAt": 1763683200000, "outboxId": "1-0"}]}
//! ```

use domain::{Epoch, ReservationBatch, SaleId};
use serde::{Deserialize, Serialize};

/// The most reservations one message may carry.
pub const MAX_RESERVATIONS: usize = 1_000;

/// The largest body that is read, in bytes. The largest valid one is about 750 kB: [`MAX_RESERVATIONS`] buyers with 128
/// characters of four bytes each.
pub const MAX_BODY_BYTES: usize = 1_000_000;

/// The one version there is.
const VERSION: u64 = 1;

/// Enough of a parser's complaint to find the mistake: it may quote the body, which may be large.
const MAX_REASON_CHARS: usize = 200;

/// Why a body is no batch for the queue it came from. A redelivery would not mend it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DecodeError {
    /// Larger than [`MAX_BODY_BYTES`]; it was not parsed.
    #[error("the body has {0} bytes, more than {MAX_BODY_BYTES}")]
    TooLarge(usize),
    /// No JSON, or JSON of another shape.
    #[error("the body is not a batch of reservations: {0}")]
    Malformed(String),
    /// Written by a newer or a foreign program.
    #[error("message version {0} is not known")]
    Version(u64),
    /// The batch names another sale than its queue.
    #[error("the batch is of sale {0}, its queue is not")]
    Sale(SaleId),
    /// The batch names another epoch than its queue.
    #[error("the batch is of epoch {0}, its queue is not")]
    Epoch(Epoch),
    /// A batch of nothing.
    #[error("the batch has no reservation")]
    Empty,
    /// More than [`MAX_RESERVATIONS`].
    #[error("the batch has {0} reservations, more than {MAX_RESERVATIONS}")]
    TooMany(usize),
    /// An outbox entry that is no Redis stream id (`<milliseconds>-<sequence>`): Redis would refuse to delete it, and
    /// with it every other entry of the same call.
    #[error("reservation {index} names an outbox entry that is no stream id")]
    OutboxId {
        /// Which reservation of the batch, counted from 0.
        index: usize,
    },
}

#[derive(Serialize)]
struct Message<'a> {
    v: u64,
    #[serde(flatten)]
    batch: &'a ReservationBatch,
}

#[derive(Deserialize)]
struct Version {
    v: u64,
}

/// The batch as a message body.
#[must_use]
pub fn encode(batch: &ReservationBatch) -> Vec<u8> {
    serde_json::to_vec(&Message { v: VERSION, batch })
        .expect("a batch has text keys only and writing to memory succeeds")
}

/// Reads a body that came out of the queue of `expected`.
///
/// # Errors
/// [`DecodeError`] where a worker could not apply the batch, or should not.
pub fn decode(body: &[u8], expected: (SaleId, Epoch)) -> Result<ReservationBatch, DecodeError> {
    if body.len() > MAX_BODY_BYTES {
        return Err(DecodeError::TooLarge(body.len()));
    }
    // The version first: it says whether the rest can be expected to have our shape.
    let Version { v } = serde_json::from_slice(body).map_err(|error| malformed(&error))?;
    if v != VERSION {
        return Err(DecodeError::Version(v));
    }
    let batch: ReservationBatch = serde_json::from_slice(body).map_err(|error| malformed(&error))?;
    let (sale, epoch) = expected;
    if batch.sale_id != sale {
        return Err(DecodeError::Sale(batch.sale_id));
    }
    if batch.epoch != epoch {
        return Err(DecodeError::Epoch(batch.epoch));
    }
    check_reservations(&batch)?;
    Ok(batch)
}

/// Holds for every batch that is published and every batch that is read.
pub(crate) fn check_reservations(batch: &ReservationBatch) -> Result<(), DecodeError> {
    match batch.reservations.len() {
        0 => return Err(DecodeError::Empty),
        1..=MAX_RESERVATIONS => {}
        count => return Err(DecodeError::TooMany(count)),
    }
    let is_bad = |id: &Option<String>| id.as_deref().is_some_and(|id| !is_stream_id(id));
    match batch.reservations.iter().position(|reservation| is_bad(&reservation.outbox_id)) {
        Some(index) => Err(DecodeError::OutboxId { index }),
        None => Ok(()),
    }
}

fn is_stream_id(text: &str) -> bool {
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit()) && part.parse::<u64>().is_ok();
    text.split_once('-').is_some_and(|(milliseconds, sequence)| is_number(milliseconds) && is_number(sequence))
}

fn malformed(error: &serde_json::Error) -> DecodeError {
    DecodeError::Malformed(error.to_string().chars().take(MAX_REASON_CHARS).collect())
}
