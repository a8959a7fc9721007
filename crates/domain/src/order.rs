//! The states of an order and the moves between them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Where an order stands. A row that holds no units is a tombstone: a redelivered message never resurrects it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum OrderState {
    /// Units are held for the buyer, who has not started to pay.
    Held,
    /// The payment provider is deciding.
    Paying,
    /// The buyer owns the units.
    Confirmed,
    /// The hold, or the time to pay, ran out before payment.
    Expired,
    /// The buyer, the operator or a failed payment gave the units back.
    Cancelled,
    /// There was no unit left when the reservation reached PostgreSQL. Stays at 0 while the protocol holds.
    Refused,
}

impl OrderState {
    /// Every state.
    pub const ALL: [Self; 6] =
        [Self::Held, Self::Paying, Self::Confirmed, Self::Expired, Self::Cancelled, Self::Refused];

    /// Whether an order in this state counts toward the units sold.
    #[must_use]
    pub fn is_active(self) -> bool {
        matches!(self, Self::Held | Self::Paying | Self::Confirmed)
    }

    /// Whether an order may go from this state straight to `next`. A held order is confirmed at once where there is
    /// nothing to pay; an expired one comes back where its payment succeeds late and its units are still to be had; a
    /// confirmed one is cancelled by an operator, who gives the money back.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        matches!(
            (self, next),
            (Self::Held, Self::Paying | Self::Confirmed | Self::Expired | Self::Cancelled)
                | (Self::Paying, Self::Confirmed | Self::Expired | Self::Cancelled)
                | (Self::Expired, Self::Paying)
                | (Self::Confirmed, Self::Cancelled)
        )
    }

    /// The state's name in PostgreSQL and in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Held => "HELD",
            Self::Paying => "PAYING",
            Self::Confirmed => "CONFIRMED",
            Self::Expired => "EXPIRED",
            Self::Cancelled => "CANCELLED",
            Self::Refused => "REFUSED",
        }
    }
}

impl fmt::Display for OrderState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no [`OrderState`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is not an order state")]
pub struct UnknownOrderState(pub String);

impl FromStr for OrderState {
    type Err = UnknownOrderState;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| UnknownOrderState(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_up_comes_back_only_by_a_late_payment_and_nothing_is_ever_held_again() {
        for state in OrderState::ALL {
            assert!(!state.may_become(OrderState::Held) && !state.may_become(OrderState::Refused), "{state}");
            assert!(!OrderState::Cancelled.may_become(state) && !OrderState::Refused.may_become(state), "{state}");
            assert_eq!(OrderState::Expired.may_become(state), state == OrderState::Paying, "{state}");
            assert_eq!(OrderState::Confirmed.may_become(state), state == OrderState::Cancelled, "{state}");
        }
    }

    #[test]
    fn every_state_reads_back_from_its_name() {
        for state in OrderState::ALL {
            assert_eq!(state.as_str().parse(), Ok(state));
        }
        assert!("held".parse::<OrderState>().is_err());
    }
}
