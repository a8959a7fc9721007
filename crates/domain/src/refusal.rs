//! Why an attempt did not win.

use serde::{Deserialize, Serialize};

/// Why an attempt to purchase was refused; the name is the `code` that clients see and statistics count.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Refusal {
    /// Fewer units are left than were asked for.
    SoldOut,
    /// The buyer holds a reservation or an order already.
    AlreadyPurchased,
    /// The sale has not started or is over.
    NotActive,
    /// The quantity is more than the sale allows one buyer.
    QuantityNotAllowed,
    /// The buyer, or the address they click from, asks more often than is allowed.
    RateLimited,
    /// Nothing was decided, or the outcome is not known: the gate is closed, a server is away or there is too
    /// much load. The buyer should try again.
    TryAgain,
}

impl Refusal {
    /// Every reason.
    pub const ALL: [Self; 6] = [
        Self::SoldOut,
        Self::AlreadyPurchased,
        Self::NotActive,
        Self::QuantityNotAllowed,
        Self::RateLimited,
        Self::TryAgain,
    ];

    /// The reason's name in PostgreSQL and in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SoldOut => "SOLD_OUT",
            Self::AlreadyPurchased => "ALREADY_PURCHASED",
            Self::NotActive => "NOT_ACTIVE",
            Self::QuantityNotAllowed => "QUANTITY_NOT_ALLOWED",
            Self::RateLimited => "RATE_LIMITED",
            Self::TryAgain => "TRY_AGAIN",
        }
    }
}
