//! What happens in a round, drawn from a seed.

use std::fmt;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::fault::Fault;

/// One sale, its load, and what is broken meanwhile.
pub(crate) struct Round {
    pub(crate) seed: u64,
    /// Units of the sale: sometimes it sells out under the faults, sometimes it does not.
    pub(crate) stock: u32,
    /// One to three.
    pub(crate) strikes: Vec<Strike>,
}

/// A fault with its times.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Strike {
    pub(crate) fault: Fault,
    /// When it begins, since the load began.
    pub(crate) at: Duration,
    /// How long it lasts where it is no single blow.
    pub(crate) lasts: Duration,
}

impl Round {
    /// Round `number` of a seed: always the same.
    pub(crate) fn of(seed: u64, number: u64) -> Self {
        let seed = seed.wrapping_mul(1_000_003).wrapping_add(number);
        let mut random = SmallRng::seed_from_u64(seed);
        let stock = [5_000, 8_000, 30_000, 200_000][random.random_range(0..4)];
        let count = random.random_range(1..=3);
        let mut strikes: Vec<Strike> = Vec::new();
        while strikes.len() < count {
            let fault = Fault::ALL[random.random_range(0..Fault::ALL.len())];
            // Most often they come together: what one alone cannot do, two at once may.
            let at = match strikes.first() {
                Some(first) if random.random_bool(0.7) => first.at + Duration::from_millis(random.random_range(0..800)),
                _ => Duration::from_millis(random.random_range(300..3_000)),
            };
            let lasts = fault.shortest() + Duration::from_millis(random.random_range(200..5_000));
            let strike = Strike { fault, at, lasts };
            if strikes.iter().all(|other| fault.may_meet(other.fault)) {
                strikes.push(strike);
            }
        }
        Self { seed, stock, strikes }
    }

    /// When the last fault is over, since the load began.
    pub(crate) fn length(&self) -> Duration {
        self.strikes.iter().map(|strike| strike.at + strike.lasts).max().unwrap_or_default()
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} units", self.stock)?;
        for Strike { fault, at, lasts } in &self.strikes {
            write!(f, "; {} at {:.1} s for {:.1} s", fault.name(), at.as_secs_f64(), lasts.as_secs_f64())?;
        }
        Ok(())
    }
}
