//! What a gate is recognised by: as long as its mark stays the same, nobody has won and nothing was given back.

use std::collections::HashMap;

use domain::{Epoch, SaleId};
use redis::{FromRedisValue, RedisResult, Value};

use crate::gate::{Gate, GateFields, REPLID, ask_for_gate, read_gate};
use crate::keys::Key;
use crate::{Error, Inventory};

/// Buyers that one call reads, about: half a millisecond of Redis's time.
const PAGE: usize = 1_000;

/// The state of a gate, and its last win. A win always moves the last id of the outbox, which no deletion moves back
/// (Redis manual, `XINFO STREAM`): between two equal marks no buyer was added, whatever the stock did meanwhile.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mark {
    /// The gate.
    pub gate: Gate,
    last_win: String,
}

impl Inventory {
    /// The mark of an epoch's gate; `None` where there is none, or none that decides, or where nobody has ever won.
    ///
    /// # Errors
    /// [`Error::Unreachable`]; [`Error::Protocol`] if the gate is damaged or the answers make no sense.
    pub async fn mark(&self, sale: SaleId, epoch: Epoch) -> Result<Option<Mark>, Error> {
        let mut ask = redis::pipe();
        ask_for_gate(&mut ask, sale, epoch);
        ask.cmd("INFO").arg("replication");
        ask.cmd("XINFO").arg("STREAM").arg(Key::outbox(sale, epoch));
        // A stream that was never written to is an error.
        let answers: [RedisResult<Value>; 3] = {
            let answers: Vec<RedisResult<Value>> = self.connection.pipeline(ask.ignore_errors()).await?;
            answers.try_into().map_err(|_| Error::Protocol("three questions have three answers".to_owned()))?
        };
        let [fields, replication, outbox] = answers;
        let (fields, replication): (GateFields, String) = (read(fields?)?, read(replication?)?);
        let Some(gate) = read_gate(sale, epoch, &fields)? else { return Ok(None) };
        // As the scripts ask: a gate on another history decides nothing.
        let is_its_history =
            fields[REPLID].as_ref().is_some_and(|id| replication.contains(&format!("master_replid:{id}")));
        let Ok(outbox) = outbox else { return Ok(None) };
        if !is_its_history {
            return Ok(None);
        }
        let outbox: HashMap<String, Value> = read(outbox)?;
        let last_win = outbox.get("last-generated-id").cloned().map(read::<String>).transpose()?;
        Ok(last_win.map(|last_win| Mark { gate, last_win }))
    }

    /// Every buyer who holds a reservation, in pages, each handed to `note`. Buyers who win or lose theirs meanwhile may be
    /// in or not, and any may come twice (Redis manual, `SCAN`).
    ///
    /// # Errors
    /// [`Error::Unreachable`]
    pub async fn each_buyer(&self, sale: SaleId, epoch: Epoch, mut note: impl FnMut(&str)) -> Result<(), Error> {
        let mut cursor = 0_u64;
        loop {
            let mut scan = redis::cmd("HSCAN");
            scan.arg(Key::buyers(sale, epoch)).arg(cursor).arg("COUNT").arg(PAGE);
            let (next, page): (u64, Vec<(String, String)>) = self.connection.call(&scan).await?;
            page.iter().for_each(|(user, _)| note(user));
            if next == 0 {
                return Ok(());
            }
            cursor = next;
        }
    }
}

fn read<T: FromRedisValue>(value: Value) -> Result<T, Error> {
    redis::from_redis_value(value).map_err(|error| Error::Protocol(error.to_string()))
}
