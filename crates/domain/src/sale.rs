//! The life of a sale.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Quantity, Terms};

/// Where a sale stands, as recorded in PostgreSQL.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SaleState {
    /// No gate was ever installed.
    Closed,
    /// A reconciler is rebuilding the gate; only it may write orders.
    Draining,
    /// The gate stands and decides.
    Open,
    /// The window has passed and everything is settled.
    Ended,
}

impl SaleState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Closed, Self::Draining, Self::Open, Self::Ended];

    /// The state's name in PostgreSQL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Draining => "draining",
            Self::Open => "open",
            Self::Ended => "ended",
        }
    }
}

impl fmt::Display for SaleState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no [`SaleState`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is not a sale state")]
pub struct UnknownSaleState(pub String);

impl FromStr for SaleState {
    type Err = UnknownSaleState;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| UnknownSaleState(text.to_owned()))
    }
}

/// An operator's word that stops a sale, whatever its window says.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Halt {
    /// Until an operator resumes it.
    Paused,
    /// For good.
    Ended,
}

impl Halt {
    /// Its name in PostgreSQL, in the gate and in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::Ended => "ended",
        }
    }
}

/// A text that names no [`Halt`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is neither paused nor ended")]
pub struct UnknownHalt(pub String);

impl FromStr for Halt {
    type Err = UnknownHalt;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Paused, Self::Ended]
            .into_iter()
            .find(|halt| halt.as_str() == text)
            .ok_or_else(|| UnknownHalt(text.to_owned()))
    }
}

/// By which rules a gate sells: what an operator may change while it does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rules {
    /// When it sells.
    pub window: Window,
    /// What buyers agree to.
    pub terms: Terms,
    /// The most units of one order.
    pub limit: Quantity,
    /// Whether an operator has stopped it.
    pub halted: Option<Halt>,
    /// Rises with each change: of two sets of rules for one sale the higher one holds.
    pub revision: i64,
}

impl Rules {
    /// Whether the sale sells at `now_ms`.
    #[must_use]
    pub fn sell_at(&self, now_ms: i64) -> bool {
        self.halted.is_none() && self.window.contains(now_ms)
    }

    /// Whether the sale is over at `now_ms`, and stays so.
    #[must_use]
    pub fn are_over(&self, now_ms: i64) -> bool {
        self.halted == Some(Halt::Ended) || self.window.has_passed(now_ms)
    }
}

/// When a sale sells: from `starts_ms` on, until just before `ends_ms` (Unix time, milliseconds).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Window {
    /// First millisecond that sells.
    pub starts_ms: i64,
    /// First millisecond that no longer sells.
    pub ends_ms: i64,
}

impl Window {
    /// Whether the sale sells at `now_ms`.
    #[must_use]
    pub fn contains(self, now_ms: i64) -> bool {
        self.starts_ms <= now_ms && now_ms < self.ends_ms
    }

    /// Whether the sale is over at `now_ms`.
    #[must_use]
    pub fn has_passed(self, now_ms: i64) -> bool {
        self.ends_ms <= now_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_holds_its_first_millisecond_and_not_its_last() {
        let window = Window { starts_ms: 10, ends_ms: 20 };
        assert_eq!([9, 10, 19, 20].map(|now| window.contains(now)), [false, true, true, false]);
        assert_eq!([19, 20].map(|now| window.has_passed(now)), [false, true]);
    }

    #[test]
    fn every_state_reads_back_from_its_name() {
        for state in SaleState::ALL {
            assert_eq!(state.as_str().parse(), Ok(state));
        }
    }
}
