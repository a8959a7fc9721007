//! What the buyers of a simulation saw: every answer, and what became of every payment.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use uuid::Uuid;

/// What an answer to a click says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Told {
    /// SUCCESS, with the order promised.
    Promised(Uuid),
    /// ALREADY_PURCHASED, with the order that the buyer has.
    Held(Uuid),
    /// SOLD_OUT.
    SoldOut,
    /// The sale does not sell now.
    NotActive,
    /// 429: to be asked again later.
    Limited,
    /// A 503: it may have won or not.
    TryAgain,
    /// No answer, or half of one: it may have won or not.
    Lost(String),
    /// Nothing that the contract knows.
    Odd(String),
}

impl Told {
    /// Its name in the report.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Promised(_) => "SUCCESS",
            Self::Held(_) => "ALREADY_PURCHASED",
            Self::SoldOut => "SOLD_OUT",
            Self::NotActive => "NOT_ACTIVE",
            Self::Limited => "RATE_LIMITED",
            Self::TryAgain => "TRY_AGAIN",
            Self::Lost(_) => "no answer",
            Self::Odd(_) => "unexpected",
        }
    }

    /// Whether the buyer knows where they stand, and nothing is won by asking the same again.
    pub(crate) fn is_decided(&self) -> bool {
        !matches!(self, Self::Limited | Self::TryAgain | Self::Lost(_) | Self::NotActive)
    }

    /// Whether it says that the buyer has nothing.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, Self::SoldOut | Self::NotActive | Self::Limited)
    }
}

/// One answer, or its absence.
#[derive(Clone, Debug)]
pub(crate) struct Click {
    /// Which buyer.
    pub(crate) buyer: u32,
    /// What was said.
    pub(crate) told: Told,
    /// Whether nothing more was asked after this one, though it left the buyer in doubt.
    pub(crate) gave_up: bool,
}

/// What became of one payment.
#[derive(Clone, Debug)]
pub(crate) struct Paid {
    /// The order.
    pub(crate) order: Uuid,
    /// Whether the provider was made to say yes; `None` where it decided by itself.
    pub(crate) wanted: Option<bool>,
    /// The order's last status, or why there is none.
    pub(crate) ended: Result<String, String>,
}

impl Paid {
    pub(crate) fn is_confirmed(&self) -> bool {
        self.ended.as_deref() == Ok("CONFIRMED")
    }

    /// Whether the order's units were given back.
    pub(crate) fn has_failed(&self) -> bool {
        matches!(self.ended.as_deref(), Ok("CANCELLED" | "EXPIRED"))
    }
}

/// Everything that was seen.
#[derive(Debug)]
pub(crate) struct History {
    /// Every answer of a click.
    pub(crate) clicks: Vec<Click>,
    /// Every payment.
    pub(crate) payments: Vec<Paid>,
    /// How long each answer took, in microseconds.
    pub(crate) latency: Histogram<u64>,
    /// How long buyers clicked, in all waves together.
    pub(crate) clicking: Duration,
    /// Whether some who were refused would have come back for units of failed payments, and time was over.
    pub(crate) cut_short: bool,
}

impl Default for History {
    fn default() -> Self {
        Self {
            clicks: Vec::new(),
            payments: Vec::new(),
            // Up to a minute, to three digits.
            latency: Histogram::new_with_bounds(1, 60_000_000, 3).expect("valid bounds"),
            clicking: Duration::ZERO,
            cut_short: false,
        }
    }
}

impl History {
    pub(crate) fn record(&mut self, buyer: u32, told: Told, took: Duration, gave_up: bool) {
        self.latency.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        self.clicks.push(Click { buyer, told, gave_up });
    }

    /// Takes over what another worker saw.
    pub(crate) fn absorb(&mut self, other: Self) {
        self.clicks.extend(other.clicks);
        self.payments.extend(other.payments);
        self.latency.add(other.latency).expect("all have the same bounds");
    }

    /// How many of each answer.
    pub(crate) fn answers(&self) -> BTreeMap<&'static str, usize> {
        let mut count = BTreeMap::new();
        for click in &self.clicks {
            *count.entry(click.told.name()).or_default() += 1;
        }
        count
    }
}
