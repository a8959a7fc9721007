//! How often one client may ask.

use std::fmt;
use std::str::FromStr;

/// So many requests in so many seconds, `<count>/<seconds>`: all of them at once if the client likes, and then one more
/// each time that a share of the seconds has passed.
///
/// It is counted by GCRA: of each client one time is kept, when it will have its whole burst again. A request moves it
/// on by [`Rate::cost_us`], and is refused where it would be more than [`Rate::burst_us`] ahead of the clock.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rate {
    count: u32,
    seconds: u32,
}

impl Rate {
    /// The most requests of a burst.
    pub const MAX_COUNT: u32 = 1_000_000;
    /// The longest time that a burst may be counted over, in seconds: a day.
    pub const MAX_SECONDS: u32 = 86_400;

    /// Requests of a burst.
    #[must_use]
    pub fn count(self) -> u32 {
        self.count
    }

    /// Seconds after which a client has its whole burst again.
    #[must_use]
    pub fn seconds(self) -> u32 {
        self.seconds
    }

    /// How long one request is paid for, in microseconds. Rounded down, so that a burst is never one too small.
    #[must_use]
    pub fn cost_us(self) -> u64 {
        u64::from(self.seconds) * 1_000_000 / u64::from(self.count)
    }

    /// How long a whole burst is paid for, in microseconds: exactly [`Rate::count`] requests, not one more.
    #[must_use]
    pub fn burst_us(self) -> u64 {
        self.cost_us() * u64::from(self.count)
    }
}

/// A text that is no [`Rate`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "{0:?} is not a rate: write <count>/<seconds>, such as 10/60, with at most {most} requests and {longest} seconds",
    most = Rate::MAX_COUNT,
    longest = Rate::MAX_SECONDS
)]
pub struct InvalidRate(String);

impl FromStr for Rate {
    type Err = InvalidRate;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |text: &str, most| text.parse().ok().filter(|number| (1..=most).contains(number));
        let read = |text: &str| {
            let (count, seconds) = text.split_once('/')?;
            Some(Self { count: number(count, Self::MAX_COUNT)?, seconds: number(seconds, Self::MAX_SECONDS)? })
        };
        read(text).ok_or_else(|| InvalidRate(text.to_owned()))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, self.seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_reads_back_from_its_text() {
        for text in ["1/1", "10/60", "1000000/86400"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        for text in ["", "10", "10/", "/60", "0/60", "10/0", "-1/60", "10/60/1", "1000001/1", "1/86401", "10 / 60"] {
            assert!(text.parse::<Rate>().unwrap_err().to_string().contains("10/60"), "{text:?}");
        }
    }

    #[test]
    fn a_burst_is_exactly_the_count_however_the_seconds_divide() {
        for text in ["1/1", "3/1", "7/60", "3000/1", "999999/1", "1000000/1", "999983/86399"] {
            let rate: Rate = text.parse().unwrap();
            let requests = rate.burst_us() / rate.cost_us();
            assert_eq!((requests, rate.burst_us() % rate.cost_us()), (u64::from(rate.count()), 0), "{text}");
            // What rounding takes off is given to the client, and is little.
            let nominal = u64::from(rate.seconds()) * 1_000_000;
            assert!(rate.burst_us() <= nominal && nominal - rate.burst_us() < u64::from(rate.count()), "{text}");
        }
    }
}
