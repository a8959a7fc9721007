//! Who and what: sales, buyers, reservations, epochs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::Quantity;

/// Identifies a sale.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct SaleId(pub Uuid);

/// Identifies a reservation and, once it is persisted, its order: a `UUIDv7` made by the API, or a `UUIDv8` made of the
/// buyer's idempotency key.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct ReservationId(pub Uuid);

impl ReservationId {
    /// The id of a reservation attempted at `unix_ms` (Unix time, milliseconds), with ten random bytes
    /// (RFC 9562, section 5.7).
    #[must_use]
    pub fn new_v7(unix_ms: u64, random: &[u8; 10]) -> Self {
        Self(uuid::Builder::from_unix_timestamp_millis(unix_ms, random).into_uuid())
    }

    /// The id of every attempt of this buyer with this idempotency key and quantity (RFC 9562, section 5.8): 106 bits
    /// of a hash, then the quantity. `since` is the first epoch that counts in this sale: a reset sale is a new one.
    #[must_use]
    pub fn keyed(sale: SaleId, since: Epoch, user: &UserId, key: &str, quantity: Quantity) -> Self {
        let user = user.as_str().as_bytes();
        let mut hash = Sha256::new();
        hash.update(sale.0.as_bytes());
        hash.update(since.0.to_be_bytes());
        // The length keeps user and key apart.
        hash.update((user.len() as u64).to_be_bytes());
        hash.update(user);
        hash.update(key.as_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash.finalize()[..16]);
        let units = u16::try_from(quantity.get()).expect("Quantity::MAX fits 16 bits");
        bytes[14..].copy_from_slice(&units.to_be_bytes());
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }

    /// Whether both were made of one idempotency key, for whatever quantity each.
    #[must_use]
    pub fn has_key_of(self, other: Self) -> bool {
        self.0.get_version_num() == 8 && self.0.as_bytes()[..14] == other.0.as_bytes()[..14]
    }
}

/// Which incarnation of a sale's gate, outbox and queue is meant. Raising it makes every older one dead.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct Epoch(pub i64);

impl Epoch {
    /// The epoch that follows this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Identifies a buyer: 1 to 128 characters, none of them a control character.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserId(Box<str>);

impl UserId {
    /// The most characters an id may have.
    pub const MAX_CHARS: usize = 128;

    /// The id as the buyer gave it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a text is no [`UserId`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidUserId {
    /// No character at all.
    #[error("must not be empty")]
    Empty,
    /// More than [`UserId::MAX_CHARS`] characters.
    #[error("must have at most {} characters", UserId::MAX_CHARS)]
    TooLong,
    /// A control character such as NUL, a tab or a line break.
    #[error("must not contain control characters")]
    ControlCharacter,
}

impl TryFrom<String> for UserId {
    type Error = InvalidUserId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.is_empty() {
            Err(InvalidUserId::Empty)
        } else if text.chars().any(char::is_control) {
            Err(InvalidUserId::ControlCharacter)
        } else if text.len() > Self::MAX_CHARS && text.chars().count() > Self::MAX_CHARS {
            Err(InvalidUserId::TooLong)
        } else {
            Ok(Self(text.into_boxed_str()))
        }
    }
}

impl FromStr for UserId {
    type Err = InvalidUserId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::try_from(text.to_owned())
    }
}

impl From<UserId> for String {
    fn from(user: UserId) -> Self {
        user.0.into()
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for SaleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for ReservationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for SaleId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(text).map(Self)
    }
}

impl FromStr for ReservationId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(text).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_id_has_one_to_128_characters_counted_as_characters() {
        assert_eq!("".parse::<UserId>(), Err(InvalidUserId::Empty));
        assert!("u".parse::<UserId>().is_ok());
        assert!("é".repeat(128).parse::<UserId>().is_ok());
        assert_eq!("é".repeat(129).parse::<UserId>(), Err(InvalidUserId::TooLong));
    }

    #[test]
    fn a_user_id_has_no_control_characters() {
        for text in ["a\0", "a\r\n", "\u{7f}", "\u{85}", "\t"] {
            assert_eq!(text.parse::<UserId>(), Err(InvalidUserId::ControlCharacter), "{text:?}");
        }
        assert!("user{1}:x y/ü".parse::<UserId>().is_ok());
    }

    #[test]
    fn a_reservation_id_is_a_version_7_uuid_that_sorts_by_time() {
        let early = ReservationId::new_v7(1_000, &[0xff; 10]);
        let late = ReservationId::new_v7(1_001, &[0; 10]);
        assert_eq!(early.0.get_version_num(), 7);
        assert!(early < late);
        assert!(!early.has_key_of(early), "it has no key");
    }

    #[test]
    fn a_keyed_id_is_a_version_8_uuid_that_changes_with_all_it_is_made_of_and_ends_in_the_quantity() {
        let sale = SaleId(Uuid::from_u128(1));
        let user = |name: &str| name.parse::<UserId>().unwrap();
        let id = |sale, since, name, key, units: u32| {
            ReservationId::keyed(sale, Epoch(since), &user(name), key, units.try_into().unwrap())
        };
        let one = id(sale, 0, "ann", "key", 1);
        // For ever: a retry may meet another version of this program.
        assert_eq!(one.to_string(), "3b18d725-7c65-8e31-b54b-d45662810001");
        assert_eq!((one.0.get_version_num(), one.0.get_variant()), (8, uuid::Variant::RFC4122));
        assert_eq!(one, id(sale, 0, "ann", "key", 1));
        let other_sale = SaleId(Uuid::from_u128(2));
        for other in [
            id(other_sale, 0, "ann", "key", 1),
            id(sale, 1, "ann", "key", 1),
            id(sale, 0, "ann", "kez", 1),
            id(sale, 0, "annk", "ey", 1),
        ] {
            assert!(one != other && !one.has_key_of(other), "{other}");
        }
        let most = id(sale, 0, "ann", "key", Quantity::MAX);
        assert!(one != most && one.has_key_of(most) && most.has_key_of(one));
        assert_eq!(most.0.as_bytes()[14..], [0x27, 0x10]);
    }
}
