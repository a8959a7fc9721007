//! What the functions of `migrations/0006_payments.sql` answer.

use domain::{OrderState, SaleId};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, Row};

use crate::Payment;
use crate::row::checked;

/// What a call about an order or its payment has come to.
#[derive(Clone, Debug, PartialEq)]
pub struct Move<V> {
    /// The answer.
    pub verdict: V,
    /// Where the order stands now; `None` where there is none, or none any more.
    pub status: Option<OrderState>,
    /// Its payment as it stands now.
    pub payment: Option<Payment>,
    /// The sale whose gate has something to learn by this call, units that come back or are claimed: whoever tells it at
    /// once spares buyers the keeper's next tick.
    pub to_tell: Option<SaleId>,
}

/// What a buyer's wish to pay has come to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StartVerdict {
    /// The order is being paid for, by this call or an earlier one. Without a `provider_ref` the provider is to be asked
    /// for one and [`Ledger::payment_started`] told.
    Started,
    /// There was nothing to pay: the order is confirmed, by this call or an earlier one.
    Confirmed,
    /// The buyer has paid already.
    Paid,
    /// The hold had run out: the order has expired, by this very call.
    Expired,
    /// The order is over, as its status says.
    Closed,
    /// There is no such order.
    NotFound,
}

/// What a word about a payment has come to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PaymentVerdict {
    /// The payment stands where it says, by this call or an earlier one.
    Applied,
    /// This very event was applied before.
    Duplicate,
    /// It came too late or out of order, and changes nothing: the payment has moved on, as its state says.
    Ignored,
    /// There is no such payment.
    Unknown,
}

/// What a wish to cancel has come to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CancelVerdict {
    /// The order is cancelled, by this call or an earlier one; money is on its way back where there was any.
    Cancelled,
    /// It is paid for, or confirmed without a payment: only an operator may cancel it.
    Paid,
    /// It has expired or was refused: there is nothing to cancel.
    Closed,
    /// There is no such order.
    NotFound,
}

/// An answer of a function in `0006_payments.sql`.
trait Verdict: Sized {
    fn of(name: &str) -> Option<Self>;
}

impl Verdict for StartVerdict {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "started" => Self::Started,
            "confirmed" => Self::Confirmed,
            "paid" => Self::Paid,
            "expired" => Self::Expired,
            "closed" => Self::Closed,
            "not_found" => Self::NotFound,
            _ => return None,
        })
    }
}

impl Verdict for PaymentVerdict {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "applied" => Self::Applied,
            "duplicate" => Self::Duplicate,
            "ignored" => Self::Ignored,
            "unknown" => Self::Unknown,
            _ => return None,
        })
    }
}

impl Verdict for CancelVerdict {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "cancelled" => Self::Cancelled,
            "paid" => Self::Paid,
            "closed" => Self::Closed,
            "not_found" => Self::NotFound,
            _ => return None,
        })
    }
}

impl<V: Verdict> FromRow<'_, PgRow> for Move<V> {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let name: &str = row.try_get("verdict")?;
        let unknown = || sqlx::Error::Decode(format!("a move came to {name:?}").into());
        Ok(Self {
            verdict: V::of(name).ok_or_else(unknown)?,
            status: checked(row, "status", |text: Option<&str>| text.map(str::parse).transpose())?,
            payment: Payment::maybe_of(row)?,
            to_tell: row.try_get::<Option<_>, _>("tell")?.map(SaleId),
        })
    }
}
