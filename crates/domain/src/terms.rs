//! What a buyer agrees to when a reservation is made.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An ISO 4217 currency code: three capital letters.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency([u8; 3]);

impl Currency {
    /// The code, such as `EUR`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).expect("a currency is made of ASCII capitals only")
    }
}

impl FromStr for Currency {
    type Err = InvalidTerms;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match <[u8; 3]>::try_from(text.as_bytes()) {
            Ok(code) if code.iter().all(u8::is_ascii_uppercase) => Ok(Self(code)),
            _ => Err(InvalidTerms::Currency(text.to_owned())),
        }
    }
}

impl TryFrom<String> for Currency {
    type Error = InvalidTerms;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> Self {
        currency.as_str().to_owned()
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Price and hold as they stood when the gate decided: a later edit of the sale changes no reservation.
///
/// The gate keeps them as one opaque text, `<unit price> <currency> <hold>`, and copies it into each outbox entry.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Terms {
    /// Price of one unit in the currency's minor units (cents).
    pub unit_price_minor: i64,
    /// The currency.
    pub currency: Currency,
    /// How long an unpaid order holds its units, in seconds; 0: there is no payment step, an order is confirmed
    /// at once.
    pub hold_seconds: u32,
}

/// Why a text is no [`Terms`] or no [`Currency`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidTerms {
    /// Not three capital letters.
    #[error("{0:?} is not an ISO 4217 currency code")]
    Currency(String),
    /// Not `<unit price> <currency> <hold>`.
    #[error("{0:?} is not of the form `<unit price> <currency> <hold>`")]
    Form(String),
}

impl fmt::Display for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.unit_price_minor, self.currency, self.hold_seconds)
    }
}

impl FromStr for Terms {
    type Err = InvalidTerms;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let form = || InvalidTerms::Form(text.to_owned());
        let mut parts = text.split(' ');
        let (Some(price), Some(currency), Some(hold), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(form());
        };
        Ok(Self {
            unit_price_minor: price.parse().map_err(|_| form())?,
            currency: currency.parse()?,
            hold_seconds: hold.parse().map_err(|_| form())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_read_back_from_their_text() {
        let terms = Terms { unit_price_minor: 1_999, currency: "EUR".parse().unwrap(), hold_seconds: 600 };
        assert_eq!(terms.to_string(), "1999 EUR 600");
        assert_eq!(terms.to_string().parse(), Ok(terms));
    }

    #[test]
    fn a_damaged_text_is_an_error_and_never_a_default() {
        for text in ["", "1999", "1999 EUR", "1999 eur 0", "x EUR 0", "1999 EUR -1", "1999 EUR 0 0"] {
            assert!(text.parse::<Terms>().is_err(), "{text:?}");
        }
    }
}
