//! A provider that moves no money and remembers nothing: what becomes of a payment follows from its order's id, and
//! when, from the time that the payment's name carries. So it survives every restart, and any number of processes
//! agree. See docs/adr/0016.

use domain::ReservationId;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{Config, Error, Standing, Started};

/// `sim_<order>_<Unix milliseconds of the start>`
const PREFIX: &str = "sim_";

/// The settings of [`crate::Kind::Simulated`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Simulated {
    delay_ms: u64,
    failure_percent: u8,
}

impl Simulated {
    pub(crate) fn new(config: &Config) -> Self {
        Self { delay_ms: config.simulated_delay_ms, failure_percent: config.simulated_failure_percent }
    }

    pub(crate) fn start(self, order: ReservationId, now_ms: u64) -> Started {
        Started { provider_ref: format!("{PREFIX}{}_{now_ms}", order.0.simple()), client_secret: None }
    }

    pub(crate) fn look_up(self, provider_ref: &str, now_ms: u64) -> Result<Standing, Error> {
        let (order, started_ms) = read(provider_ref)?;
        let standing = if now_ms < started_ms.saturating_add(self.delay_ms) {
            Standing::Pending
        } else if self.refuses(order) {
            Standing::Failed
        } else {
            Standing::Authorized
        };
        Ok(standing)
    }

    pub(crate) fn capture(self, provider_ref: &str, now_ms: u64) -> Result<(), Error> {
        match self.look_up(provider_ref, now_ms)? {
            Standing::Authorized => Ok(()),
            Standing::Pending => Err(Error::Transient("the payment is not decided yet".to_owned())),
            _ => Err(Error::Refused("the payment has failed".to_owned())),
        }
    }

    #[expect(clippy::unused_self, reason = "what every provider can do")]
    pub(crate) fn release(self, provider_ref: &str) -> Result<(), Error> {
        read(provider_ref).map(drop)
    }

    /// The same orders fail for ever, and at a higher percentage they and more.
    fn refuses(self, order: ReservationId) -> bool {
        let digest = Sha256::digest(order.0.as_bytes());
        u16::from_be_bytes([digest[0], digest[1]]) % 100 < u16::from(self.failure_percent)
    }
}

fn read(provider_ref: &str) -> Result<(ReservationId, u64), Error> {
    let parse = || {
        let (order, started_ms) = provider_ref.strip_prefix(PREFIX)?.split_once('_')?;
        Some((ReservationId(Uuid::try_parse(order).ok()?), started_ms.parse().ok()?))
    };
    parse().ok_or_else(|| Error::Refused("there is no such payment".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(number: u64) -> ReservationId {
        ReservationId::new_v7(number, &[7; 10])
    }

    #[test]
    fn a_payment_is_decided_after_its_delay_and_for_ever() {
        let good = Simulated { delay_ms: 100, failure_percent: 0 };
        let bad = Simulated { delay_ms: 100, failure_percent: 100 };
        let payment = good.start(order(1), 1_000).provider_ref;
        assert_eq!(good.look_up(&payment, 1_099), Ok(Standing::Pending));
        assert!(matches!(good.capture(&payment, 1_099), Err(Error::Transient(_))));
        for now in [1_100, u64::MAX] {
            assert_eq!(good.look_up(&payment, now), Ok(Standing::Authorized));
            assert_eq!(good.capture(&payment, now), Ok(()));
            assert_eq!(bad.look_up(&payment, now), Ok(Standing::Failed));
            assert!(matches!(bad.capture(&payment, now), Err(Error::Refused(_))));
        }
        assert_eq!(good.release(&payment), Ok(()));
    }

    #[test]
    fn as_many_of_a_hundred_fail_as_asked_for_and_always_the_same() {
        let failing = |percent| {
            let simulated = Simulated { delay_ms: 0, failure_percent: percent };
            (0..10_000).filter(|number| simulated.refuses(order(*number))).collect::<Vec<_>>()
        };
        let (few, more) = (failing(20), failing(50));
        assert!((1_800..2_200).contains(&few.len()), "{}", few.len());
        assert!((4_700..5_300).contains(&more.len()), "{}", more.len());
        assert!(few.iter().all(|number| more.contains(number)));
        assert_eq!(few, failing(20));
    }

    #[test]
    fn a_payment_of_another_provider_is_refused() {
        let simulated = Simulated { delay_ms: 0, failure_percent: 0 };
        for payment in ["", "pi_1", "sim_", "sim_x_1", "sim_018f4b1e000070008000000000000001", "sim__1"] {
            assert!(matches!(simulated.look_up(payment, 1), Err(Error::Refused(_))), "{payment}");
            assert!(simulated.release(payment).is_err(), "{payment}");
        }
    }
}
