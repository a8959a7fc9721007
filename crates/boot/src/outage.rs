//! Outages: told when they begin and when they are over, and how long to wait before the next try.

use std::fmt::Display;
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// An outage that lasts is told again this often: somebody who reads the end of a log must find it.
pub const REMIND_EVERY: Duration = Duration::from_secs(60);

/// Pauses between tries without end: they double from `first` to `longest`, and each is lengthened by chance to up to
/// twice that. Many processes lose a server at the same moment; they must not all return at the same one.
#[must_use]
pub fn pauses(first: Duration, longest: Duration) -> ExponentialBuilder {
    ExponentialBuilder::default().with_jitter().with_min_delay(first).with_max_delay(longest).without_max_times()
}

/// Something that is tried again and again.
pub struct Outage {
    what: String,
    /// When the first failure in a row was, and when one was last told.
    ongoing: Option<(Instant, Instant)>,
    pauses: Option<ExponentialBackoff>,
}

impl Outage {
    /// Nothing has failed yet. `what` is the sentence for the log: what cannot be done while this lasts.
    #[must_use]
    pub fn of(what: impl Into<String>) -> Self {
        Self { what: what.into(), ongoing: None, pauses: None }
    }

    /// Takes note of a try: a warning at the first failure in a row and each minute from then on, a word when it works
    /// again.
    pub fn note<T, E: Display>(&mut self, result: &Result<T, E>) {
        match (result, &mut self.ongoing) {
            (Ok(_), None) => {}
            (Ok(_), ongoing) => {
                *ongoing = None;
                self.pauses = None;
                tracing::info!("over: {}", self.what);
            }
            (Err(error), ongoing @ None) => {
                let now = Instant::now();
                *ongoing = Some((now, now));
                tracing::warn!(%error, "{}", self.what);
            }
            (Err(error), Some((since, told))) if told.elapsed() >= REMIND_EVERY => {
                *told = Instant::now();
                tracing::warn!(%error, seconds = since.elapsed().as_secs(), "{}, still", self.what);
            }
            (Err(_), Some(_)) => {}
        }
    }

    /// [`Outage::note`], and how long to wait before the next try where this one failed: `first` after the first
    /// failure in a row, then more, up to `longest`; see [`pauses`].
    pub fn note_and_pause<T, E: Display>(
        &mut self,
        result: &Result<T, E>,
        (first, longest): (Duration, Duration),
    ) -> Option<Duration> {
        self.note(result);
        result.as_ref().err()?;
        self.pauses.get_or_insert_with(|| pauses(first, longest).build()).next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

    fn pause_after(outage: &mut Outage, result: Result<(), &str>) -> Option<Duration> {
        outage.note_and_pause(&result, SPAN)
    }

    #[test]
    fn pauses_grow_up_to_a_limit_and_begin_anew_after_a_success() {
        let mut outage = Outage::of("a test");
        let grown: Vec<Duration> = (0..10).filter_map(|_| pause_after(&mut outage, Err("away"))).collect();
        assert_eq!(grown.len(), 10);
        assert!((SPAN.0..=SPAN.0 * 2).contains(&grown[0]), "{grown:?}");
        assert!(grown[5..].iter().all(|pause| (SPAN.1..=SPAN.1 * 2).contains(pause)), "{grown:?}");
        assert_eq!(pause_after(&mut outage, Ok(())), None);
        assert!(pause_after(&mut outage, Err("away")).is_some_and(|pause| pause <= SPAN.0 * 2));
    }

    #[test]
    fn no_two_processes_come_back_in_step() {
        let mut grown: Vec<Duration> = (0..10).filter_map(|_| pauses(SPAN.0, SPAN.1).build().next()).collect();
        grown.sort();
        grown.dedup();
        assert!(grown.len() > 5, "{grown:?}");
    }
}
