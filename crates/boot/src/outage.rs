//! Tells of an outage when it begins and when it is over, not at every try in between.

use std::fmt::Display;

/// Something that is tried again and again.
pub struct Outage {
    what: &'static str,
    ongoing: bool,
}

impl Outage {
    /// Nothing has failed yet. `what` is the sentence for the log: what cannot be done while this lasts.
    #[must_use]
    pub fn of(what: &'static str) -> Self {
        Self { what, ongoing: false }
    }

    /// Takes note of a try: a warning at the first failure in a row, a word when it works again.
    pub fn note<T, E: Display>(&mut self, result: &Result<T, E>) {
        match result {
            Err(error) if !self.ongoing => tracing::warn!(%error, "{}", self.what),
            Ok(_) if self.ongoing => tracing::info!("over: {}", self.what),
            _ => {}
        }
        self.ongoing = result.is_err();
    }
}
