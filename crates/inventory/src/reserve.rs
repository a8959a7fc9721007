//! Reserve: the doorway to `lua/reserve.lua`, which decides a batch of attempts in one atomic step.

use std::net::IpAddr;
use std::time::Duration;

use domain::{Epoch, Quantity, ReservationId, SaleId, Scripts, Terms, UserId};
use redis::{Cmd, RedisWrite, Value};

use crate::keys::Key;
use crate::scripts::{NO_GATE, evalsha};
use crate::{Error, Inventory, Loss, Rate};

/// The most attempts in one call. Larger batches win little more per unit of Redis's time and make everybody else
/// wait: at 256 one call takes about a millisecond. It also bounds what the script unpacks onto Lua's C stack.
pub const MAX_BATCH: usize = 256;

/// One buyer's attempt.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Attempt {
    /// The buyer.
    pub user_id: UserId,
    /// The id that the reservation gets if it wins.
    pub id: ReservationId,
    /// Units asked for.
    pub quantity: Quantity,
    /// Where it comes from; `None` where that is not counted.
    pub address: Option<IpAddr>,
}

/// How often one client may attempt, in one sale and epoch. `None`: as often as they like.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Rates {
    /// One buyer.
    pub per_user: Option<Rate>,
    /// One address; an attempt without one counts for none.
    pub per_address: Option<Rate>,
}

/// Which of the [`Rates`] refused an attempt.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LimitedBy {
    /// [`Rates::per_user`]
    User,
    /// [`Rates::per_address`]
    Address,
}

/// What the gate decided about a batch.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reserved {
    /// Units left after the batch; below zero while adjustments took back more than was left.
    pub stock_left: i64,
    /// What the buyers agreed to.
    pub terms: Terms,
    /// One per attempt, in the order of the attempts.
    pub decisions: Vec<Decision>,
}

/// What the gate decided about one attempt.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Decision {
    /// The units are the buyer's, under the attempt's own id.
    Won {
        /// The outbox entry, or `None` if an earlier call with this id won: its answer was lost.
        outbox_id: Option<String>,
    },
    /// The buyer holds this other reservation already.
    Holds(ReservationId),
    /// Fewer units are left than were asked for.
    NotEnough {
        /// Units left when this attempt's turn came.
        left: i64,
    },
    /// The gate is closed.
    Closed,
    /// The window has not started, by Redis's clock.
    NotStarted,
    /// The window has passed, by Redis's clock.
    Ended,
    /// The outbox holds as many entries as it may: the ledger has to catch up first.
    OutboxFull,
    /// An operator has paused the sale.
    Paused,
    /// More units than one buyer may have.
    OverLimit {
        /// The most units of one order.
        limit: Quantity,
    },
    /// The buyer, or the address, asks too often. Nothing else was looked at: the buyer may hold a reservation.
    TooOften {
        /// Who of the two has to wait, or has to wait longer.
        by: LimitedBy,
        /// How long.
        retry: Duration,
    },
}

impl Inventory {
    /// Decides 1 to [`MAX_BATCH`] attempts in order and writes an outbox entry for each win.
    ///
    /// A call whose outcome is not known (no answer in time, or the connection broke) is made once more with the same
    /// ids: a win that the first call made comes back as a win.
    ///
    /// # Errors
    /// [`Error::BatchSize`]; [`Error::Lost`] if the epoch's script or gate is gone; [`Error::Unreachable`] if the
    /// outcome is still not known: any of the attempts may have won; [`Error::Protocol`] on an unknown answer.
    pub async fn reserve(
        &self,
        sale: SaleId,
        epoch: Epoch,
        scripts: &Scripts,
        attempts: &[Attempt],
    ) -> Result<Reserved, Error> {
        if attempts.is_empty() || attempts.len() > MAX_BATCH {
            return Err(Error::BatchSize(attempts.len()));
        }
        let call = |counted: &[_]| call(sale, epoch, scripts, self.outbox_limit, attempts, counted);
        let counted = self.rates.counted();
        // What is asked again was counted the first time; to be told now that one asks too often would say nothing of
        // what that call has won.
        let again = || call(&[]);
        let read = |reply: Vec<Value>| decode(&reply, attempts, &counted);
        self.connection.call_repeatable(&call(&counted), again, read).await
    }
}

impl Rates {
    /// The limits that there are, in the order in which the script numbers them.
    fn counted(self) -> Vec<(LimitedBy, Rate)> {
        let both = [(LimitedBy::User, self.per_user), (LimitedBy::Address, self.per_address)];
        both.into_iter().filter_map(|(by, rate)| Some((by, rate?))).collect()
    }
}

/// The hot path's command: all arguments go into one buffer, reserved at once. Without rates to count nothing of them is
/// sent.
fn call(
    sale: SaleId,
    epoch: Epoch,
    scripts: &Scripts,
    outbox_limit: u64,
    attempts: &[Attempt],
    counted: &[(LimitedBy, Rate)],
) -> Cmd {
    const UUID_LEN: usize = 36;
    const QUANTITY_LEN: usize = 5;
    let mut keys = vec![Key::gate(sale, epoch), Key::buyers(sale, epoch), Key::outbox(sale, epoch)];
    if !counted.is_empty() {
        keys.extend(Key::rates(sale, epoch));
    }
    let mut call = evalsha(&scripts.reserve, &keys);
    call.arg(epoch.0).arg(outbox_limit);
    if let Some(period_us) = counted.iter().map(|(_, rate)| rate.burst_us()).max() {
        call.arg(counted.len()).arg(period_us);
    }
    for (_, rate) in counted {
        call.arg(rate.cost_us()).arg(rate.burst_us() - rate.cost_us());
    }
    call.reserve_space_for_args(attempts.iter().flat_map(|a| [a.user_id.as_str().len(), UUID_LEN, QUANTITY_LEN]));
    for attempt in attempts {
        call.arg(attempt.user_id.as_str());
        call.write_arg_fmt(attempt.id);
        call.arg(attempt.quantity.get());
    }
    for (attempt, (by, _)) in attempts.iter().flat_map(|attempt| counted.iter().map(move |rate| (attempt, rate))) {
        match (by, attempt.address) {
            (LimitedBy::User, _) => call.write_arg_fmt(format_args!("u{}", attempt.user_id)),
            (LimitedBy::Address, Some(address)) => call.write_arg_fmt(format_args!("a{address}")),
            // Alone in the world: its id was never seen before.
            (LimitedBy::Address, None) => call.write_arg_fmt(format_args!("i{}", attempt.id)),
        }
    }
    call
}

fn decode(reply: &[Value], attempts: &[Attempt], counted: &[(LimitedBy, Rate)]) -> Result<Reserved, Error> {
    match reply {
        [Value::Int(NO_GATE)] => Err(Error::Lost(Loss::Gate)),
        [Value::Int(stock_left), Value::BulkString(terms), pairs @ ..] if pairs.len() == 2 * attempts.len() => {
            let pairs = pairs.as_chunks().0;
            Ok(Reserved {
                stock_left: *stock_left,
                terms: parse(terms)?,
                decisions: attempts
                    .iter()
                    .zip(pairs)
                    .map(|(attempt, pair)| decision(attempt, pair, counted))
                    .collect::<Result<_, _>>()?,
            })
        }
        _ => Err(Error::Protocol(format!("reserve.lua answered {} attempts with {reply:?}", attempts.len()))),
    }
}

fn decision(attempt: &Attempt, pair: &[Value; 2], counted: &[(LimitedBy, Rate)]) -> Result<Decision, Error> {
    let unknown = || Error::Protocol(format!("reserve.lua decided {pair:?}"));
    Ok(match pair {
        [Value::Int(1), Value::BulkString(outbox_id)] => Decision::Won { outbox_id: Some(parse(outbox_id)?) },
        [Value::Int(2), Value::BulkString(holder)] => match parse(holder)? {
            id if id == attempt.id => Decision::Won { outbox_id: None },
            id => Decision::Holds(id),
        },
        [Value::Int(0), Value::Int(left)] => Decision::NotEnough { left: *left },
        [Value::Int(-1), _] => Decision::Closed,
        [Value::Int(-3), _] => Decision::NotStarted,
        [Value::Int(-4), _] => Decision::Ended,
        [Value::Int(-5), _] => Decision::OutboxFull,
        [Value::Int(-6), _] => Decision::Paused,
        [Value::Int(-7), Value::Int(limit)] => {
            let limit = u32::try_from(*limit).ok().and_then(|limit| limit.try_into().ok());
            Decision::OverLimit { limit: limit.ok_or_else(unknown)? }
        }
        [Value::Int(-8), Value::BulkString(why)] => too_often(why, counted).ok_or_else(unknown)?,
        _ => return Err(unknown()),
    })
}

/// `<milliseconds to wait> <number of the limit, from 1>`
fn too_often(why: &[u8], counted: &[(LimitedBy, Rate)]) -> Option<Decision> {
    let (retry_ms, number) = str::from_utf8(why).ok()?.split_once(' ')?;
    let number: usize = number.parse().ok()?;
    let (by, _) = counted.get(number.checked_sub(1)?)?;
    Some(Decision::TooOften { by: *by, retry: Duration::from_millis(retry_ms.parse().ok()?) })
}

fn parse<T: std::str::FromStr>(bytes: &[u8]) -> Result<T, Error> {
    let text = str::from_utf8(bytes).ok().and_then(|text| text.parse().ok());
    text.ok_or_else(|| Error::Protocol(format!("reserve.lua answered {:?}", bytes.escape_ascii().to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt() -> Attempt {
        let id = ReservationId::new_v7(1, &[0; 10]);
        Attempt { user_id: "u".parse().unwrap(), id, quantity: Quantity::ONE, address: None }
    }

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn an_unknown_code_or_shape_is_an_error_and_never_a_decision() {
        let terms = bulk("1999 EUR 0");
        for reply in [
            vec![],
            vec![Value::Int(-9)],
            vec![Value::Int(NO_GATE), terms.clone()],
            vec![Value::Int(5), bulk("1999"), Value::Int(1), bulk("1-0")],
            vec![Value::Int(5), terms.clone(), Value::Int(3), bulk("")],
            vec![Value::Int(5), terms.clone(), Value::Int(0), bulk("5")],
            vec![Value::Int(5), terms.clone(), Value::Int(2), bulk("no id")],
            vec![Value::Int(5), terms.clone(), Value::Int(-8), bulk("100 1")],
            vec![Value::Int(5), terms.clone(), Value::Int(1)],
            vec![Value::Int(5), terms, Value::Int(1), bulk("1-0"), Value::Int(1), bulk("1-1")],
        ] {
            let decoded = decode(&reply, &[attempt()], &[]);
            assert!(matches!(decoded, Err(Error::Protocol(_))), "{reply:?} gave {decoded:?}");
        }
    }

    #[test]
    fn a_limit_is_told_by_its_number_among_those_that_are_counted() {
        let rate: Rate = "2/60".parse().unwrap();
        let both = Rates { per_user: Some(rate), per_address: Some(rate) }.counted();
        let address = Rates { per_user: None, per_address: Some(rate) }.counted();
        let retry = Duration::from_millis(1_500);
        let told = |why: &str, counted: &[_]| decision(&attempt(), &[Value::Int(-8), bulk(why)], counted).ok();
        assert_eq!(told("1500 1", &both), Some(Decision::TooOften { by: LimitedBy::User, retry }));
        assert_eq!(told("1500 2", &both), Some(Decision::TooOften { by: LimitedBy::Address, retry }));
        assert_eq!(told("1500 1", &address), Some(Decision::TooOften { by: LimitedBy::Address, retry }));
        for unknown in ["1500 0", "1500 2", "1500", "x 1", "-1 1", ""] {
            assert_eq!(told(unknown, &address), None, "{unknown:?}");
        }
    }

    #[test]
    fn a_stock_of_minus_two_is_not_mistaken_for_a_missing_gate() {
        let reply = [Value::Int(NO_GATE), bulk("1999 EUR 0"), Value::Int(0), Value::Int(-2)];
        let reserved = decode(&reply, &[attempt()], &[]).unwrap();
        assert_eq!((reserved.stock_left, &reserved.decisions[..]), (-2, &[Decision::NotEnough { left: -2 }][..]));
    }
}
