//! The states of a payment.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::OrderState;

/// Where the payment of an order stands. The two move together: which state goes with which of the order,
/// [`PaymentState::fits`] tells.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PaymentState {
    /// The buyer wants to pay. The provider has not been asked, or its answer is unknown.
    Starting,
    /// The provider knows of it and waits for the buyer.
    Pending,
    /// Its time is over and its units are given up; the provider still has it, and a success now is a late payment.
    Late,
    /// It succeeded late: the units are being claimed from the gate, which may refuse.
    Claiming,
    /// The money is reserved and the units are the buyer's: the money is to be taken.
    Authorized,
    /// The money was taken, for good.
    Captured,
    /// No money may be kept: the provider is to cancel the payment or give the money back. Never taken back.
    Releasing,
    /// The provider has let go of it.
    Released,
    /// The provider has refused it.
    Failed,
}

impl PaymentState {
    /// Every state.
    pub const ALL: [Self; 9] = [
        Self::Starting,
        Self::Pending,
        Self::Late,
        Self::Claiming,
        Self::Authorized,
        Self::Captured,
        Self::Releasing,
        Self::Released,
        Self::Failed,
    ];

    /// Whether an order in state `order` (`None`: it was reset away) may have a payment in this state.
    #[must_use]
    pub fn fits(self, order: Option<OrderState>) -> bool {
        match self {
            Self::Starting | Self::Pending | Self::Authorized => order == Some(OrderState::Paying),
            Self::Late | Self::Claiming => order == Some(OrderState::Expired),
            Self::Captured => order == Some(OrderState::Confirmed),
            Self::Releasing | Self::Released | Self::Failed => {
                matches!(order, None | Some(OrderState::Expired | OrderState::Cancelled))
            }
        }
    }

    /// The state's name in PostgreSQL and in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Pending => "pending",
            Self::Late => "late",
            Self::Claiming => "claiming",
            Self::Authorized => "authorized",
            Self::Captured => "captured",
            Self::Releasing => "releasing",
            Self::Released => "released",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for PaymentState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no [`PaymentState`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is not a payment state")]
pub struct UnknownPaymentState(pub String);

impl FromStr for PaymentState {
    type Err = UnknownPaymentState;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| UnknownPaymentState(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_reads_back_from_its_name() {
        for state in PaymentState::ALL {
            assert_eq!(state.as_str().parse(), Ok(state));
        }
        assert!("PENDING".parse::<PaymentState>().is_err());
    }

    #[test]
    fn only_a_confirmed_order_has_its_money_taken_and_an_order_that_was_reset_away_keeps_none() {
        for state in PaymentState::ALL {
            assert_eq!(state.fits(Some(OrderState::Confirmed)), state == PaymentState::Captured, "{state}");
            assert!(!state.fits(Some(OrderState::Held)), "{state}: nobody has started to pay");
        }
        assert!(!PaymentState::Captured.fits(None));
    }
}
