//! Redis's side of the books, read at one moment.

use std::collections::HashSet;

use domain::{Epoch, SaleId};
use redis::{Value, from_redis_value_ref};

use crate::gate::{Gate, ask_for_gate, read_gate};
use crate::keys::Key;
use crate::outbox::{OutboxEntry, read_entries};
use crate::{Error, Inventory};

/// What an epoch holds at one moment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Snapshot {
    /// The gate with the stock left.
    pub gate: Gate,
    /// How many buyers hold a reservation.
    pub buyers: u64,
    /// The whole outbox, oldest first; at most as long as the outbox may be.
    pub outbox: Vec<OutboxEntry>,
    /// Which of the adjustments asked for are booked.
    pub adjusted: HashSet<i64>,
}

impl Inventory {
    /// Reads gate, buyers and outbox of an epoch in one transaction, and which of the given adjustments are booked.
    /// `None`: there is no gate of this epoch.
    ///
    /// # Errors
    /// [`Error::Unreachable`]; [`Error::Protocol`] if anything is damaged.
    pub async fn snapshot(
        &self,
        sale: SaleId,
        epoch: Epoch,
        adjustment_ids: &[i64],
    ) -> Result<Option<Snapshot>, Error> {
        let mut ask = redis::pipe();
        ask.atomic();
        ask_for_gate(&mut ask, sale, epoch);
        ask.cmd("HLEN").arg(Key::buyers(sale, epoch));
        ask.cmd("XRANGE").arg(Key::outbox(sale, epoch)).arg("-").arg("+");
        if !adjustment_ids.is_empty() {
            ask.cmd("SMISMEMBER").arg(Key::adjusted(sale, epoch)).arg(adjustment_ids);
        }
        let answers: Vec<Value> = self.connection.pipeline(&ask).await?;
        let [gate, buyers, outbox, booked @ ..] = answers.as_slice() else {
            return Err(Error::Protocol(format!("a snapshot gave {answers:?}")));
        };
        let Some(gate) = read_gate(sale, epoch, &from_redis_value_ref(gate)?)? else {
            return Ok(None);
        };
        let booked: Vec<bool> = booked.first().map_or(Ok(Vec::new()), from_redis_value_ref)?;
        let adjusted = adjustment_ids.iter().zip(booked).filter(|(_, booked)| *booked).map(|(&id, _)| id).collect();
        let (buyers, outbox) = (from_redis_value_ref(buyers)?, read_entries(outbox)?);
        Ok(Some(Snapshot { gate, buyers, outbox, adjusted }))
    }
}
