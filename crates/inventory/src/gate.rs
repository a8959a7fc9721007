//! The gate of an epoch, and who holds a reservation there.

use domain::{Epoch, Halt, ReservationId, Rules, SaleId, UserId, Window};
use redis::Pipeline;

use crate::keys::Key;
use crate::{Error, Inventory, Loss};

/// What a gate holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Gate {
    /// The epoch it belongs to.
    pub epoch: Epoch,
    /// Whether it decides; a closed gate refuses everybody.
    pub open: bool,
    /// Units left; below zero while adjustments took back more than was left.
    pub stock: i64,
    /// By which rules it sells, its window by Redis's clock.
    pub rules: Rules,
}

impl Inventory {
    /// The gates of several sales in one round trip, in the same order; `None` where there is no gate of the epoch.
    ///
    /// # Errors
    /// [`Error::Unreachable`]; [`Error::Protocol`] if one of the gates is damaged.
    pub async fn gates(&self, sales: &[(SaleId, Epoch)]) -> Result<Vec<Option<Gate>>, Error> {
        if sales.is_empty() {
            return Ok(Vec::new());
        }
        let mut ask = redis::pipe();
        for &(sale, epoch) in sales {
            ask_for_gate(&mut ask, sale, epoch);
        }
        let answers: Vec<GateFields> = self.connection.pipeline(&ask).await?;
        sales.iter().zip(answers).map(|(&(sale, epoch), fields)| read_gate(sale, epoch, &fields)).collect()
    }

    /// The reservation that a user holds in this epoch, if any.
    ///
    /// # Errors
    /// [`Error::Lost`] if the epoch's gate is gone: its buyers are then not to be trusted; [`Error::Unreachable`];
    /// [`Error::Protocol`].
    pub async fn holder(&self, sale: SaleId, epoch: Epoch, user: &UserId) -> Result<Option<ReservationId>, Error> {
        // The gate comes second: where it still stands, the buyers stood a moment before.
        let mut ask = redis::pipe();
        ask.cmd("HGET").arg(Key::buyers(sale, epoch)).arg(user.as_str());
        ask.cmd("HGET").arg(Key::gate(sale, epoch)).arg("epoch");
        let (holder, found): (Option<String>, Option<i64>) = self.connection.pipeline(&ask).await?;
        if found != Some(epoch.0) {
            return Err(Error::Lost(Loss::Gate));
        }
        let damaged = |id: &str| Error::Protocol(format!("{} names {id:?}", Key::buyers(sale, epoch)));
        holder.map(|id| id.parse().map_err(|_| damaged(&id))).transpose()
    }
}

/// The fields of a gate as Redis answers for them: `epoch`, `open`, `stock`, `starts_ms`, `ends_ms`, `terms`,
/// `replid`, `limit`, `halted`, `revision`.
pub(crate) type GateFields = [Option<String>; 10];
/// Where among them the history stands that the gate was installed on.
pub(crate) const REPLID: usize = 6;

/// Adds the question that [`read_gate`] reads the answer of.
pub(crate) fn ask_for_gate(ask: &mut Pipeline, sale: SaleId, epoch: Epoch) {
    let fields = ["epoch", "open", "stock", "starts_ms", "ends_ms", "terms", "replid", "limit", "halted", "revision"];
    ask.cmd("HMGET").arg(Key::gate(sale, epoch)).arg(&fields);
}

/// `None`: there is no gate, or it is another epoch's.
pub(crate) fn read_gate(sale: SaleId, epoch: Epoch, fields: &GateFields) -> Result<Option<Gate>, Error> {
    if fields[0].as_deref() != Some(epoch.to_string().as_str()) {
        return Ok(None);
    }
    let gate = intact_gate(epoch, fields);
    gate.map(Some).ok_or_else(|| Error::Protocol(format!("{} holds {fields:?}", Key::gate(sale, epoch))))
}

fn intact_gate(epoch: Epoch, fields: &GateFields) -> Option<Gate> {
    let [_, open, stock, starts_ms, ends_ms, terms, replid, limit, halted, revision] =
        fields.each_ref().map(Option::as_deref);
    // Compared by `reserve.lua`.
    replid?;
    Some(Gate {
        epoch,
        open: match open? {
            "1" => true,
            "0" => false,
            _ => return None,
        },
        stock: stock?.parse().ok()?,
        rules: Rules {
            window: Window { starts_ms: starts_ms?.parse().ok()?, ends_ms: ends_ms?.parse().ok()? },
            terms: terms?.parse().ok()?,
            limit: limit?.parse::<u32>().ok()?.try_into().ok()?,
            halted: match halted? {
                "" => None,
                halted => Some(halted.parse::<Halt>().ok()?),
            },
            revision: revision?.parse().ok()?,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(values: [&str; 10]) -> GateFields {
        values.map(|value| (value != "absent").then(|| value.to_owned()))
    }

    #[test]
    fn a_gate_is_whole_absent_or_damaged_and_never_a_default() {
        let sale = "018f4b1e-0000-7000-8000-000000000001".parse().unwrap();
        let whole = ["7", "1", "-3", "10", "20", "1999 EUR 600", "aa", "2", "", "0"];
        let gate = read_gate(sale, Epoch(7), &fields(whole)).unwrap().unwrap();
        assert_eq!((gate.open, gate.stock, gate.rules.terms.hold_seconds), (true, -3, 600));
        assert_eq!(read_gate(sale, Epoch(8), &fields(whole)).unwrap(), None);
        assert_eq!(read_gate(sale, Epoch(7), &fields(["absent"; 10])).unwrap(), None);
        for field in [1, 2, 3, 4, 5, 7, 9] {
            for wrong in ["absent", "", "x"] {
                let mut damaged = whole;
                damaged[field] = wrong;
                assert!(read_gate(sale, Epoch(7), &fields(damaged)).is_err(), "{damaged:?}");
            }
        }
        for (field, wrong) in [(6, "absent"), (8, "absent"), (8, "x")] {
            let mut damaged = whole;
            damaged[field] = wrong;
            assert!(read_gate(sale, Epoch(7), &fields(damaged)).is_err(), "{damaged:?}");
        }
    }
}
