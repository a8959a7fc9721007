//! The life of a sale.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

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
