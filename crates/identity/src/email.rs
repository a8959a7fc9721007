//! E-mail addresses, as far as a program can tell: whether one exists only a message to it can.

/// Longest address that mail can be sent to (RFC 5321, section 4.5.3.1.3, less the angle brackets).
const LONGEST: usize = 254;

/// An address in the one form in which it is stored and compared: trimmed, in lower case.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Email(String);

/// The text is no address.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be an e-mail address of at most {LONGEST} bytes")]
pub struct InvalidEmail;

impl Email {
    /// The address in this text.
    ///
    /// # Errors
    /// There is none.
    pub fn read(text: &str) -> Result<Self, InvalidEmail> {
        let address = text.trim().to_lowercase();
        let has_sides = address.split_once('@').is_some_and(|(name, host)| {
            !name.is_empty()
                && !host.is_empty()
                && !host.contains('@')
                && !host.starts_with('.')
                && !host.ends_with('.')
        });
        let is_line = !address.chars().any(|character| character.is_control() || character.is_whitespace());
        if has_sides && is_line && address.len() <= LONGEST { Ok(Self(address)) } else { Err(InvalidEmail) }
    }

    /// The address.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_trimmed_and_in_lower_case() {
        for text in ["ann@shop.example", "  Ann@Shop.Example\n", "ANN@SHOP.EXAMPLE"] {
            assert_eq!(Email::read(text).unwrap().as_str(), "ann@shop.example");
        }
        assert!(Email::read("ann+sale@localhost").is_ok());
        assert!(Email::read(&format!("{}@shop.example", "a".repeat(254 - 13))).is_ok());
    }

    #[test]
    fn what_no_mail_can_be_sent_to_is_no_address() {
        let long = format!("{}@shop.example", "a".repeat(255 - 13));
        for text in ["", "ann", "@", "ann@", "@shop.example", "a@b@c", "a b@c", "a\0@c", "a@.c", "a@c.", "a\n@c", &long]
        {
            assert_eq!(Email::read(text), Err(InvalidEmail), "{text:?}");
        }
    }
}
