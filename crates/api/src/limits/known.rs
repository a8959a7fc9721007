//! Who is known to have to wait, and until when.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use domain::{Epoch, SaleId};

/// Most clients that are remembered: some megabytes. Who is forgotten is refused by Redis once more.
const MOST: usize = 100_000;

/// A client, by a hash that nobody can aim at: names of any length take the same little room.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub(crate) struct Client(u64);

/// Clients that were refused. Shared by all threads: held for a look-up only, and not at all where nothing is limited.
#[derive(Default)]
pub(crate) struct Known {
    hasher: RandomState,
    waits: Mutex<HashMap<Client, Wait>>,
}

struct Wait {
    until: Instant,
    /// Whose gate has refused: the statistics of that sale count the refusals from here.
    sale: Option<(SaleId, Epoch)>,
}

impl Known {
    /// Whoever this names, for [`Known::wait_of`] and [`Known::refused`].
    pub(crate) fn client(&self, name: &impl Hash) -> Client {
        Client(self.hasher.hash_one(name))
    }

    /// How much longer the client has to wait, and which sale it has to wait for.
    pub(crate) fn wait_of(&self, client: Client, now: Instant) -> Option<(Duration, Option<(SaleId, Epoch)>)> {
        let mut waits = self.waits();
        let wait = waits.get(&client)?;
        if now < wait.until {
            return Some((wait.until - now, wait.sale));
        }
        waits.remove(&client);
        None
    }

    /// The client has to wait until then.
    pub(crate) fn refused(&self, client: Client, until: Instant, sale: Option<(SaleId, Epoch)>) {
        let mut waits = self.waits();
        if waits.len() >= MOST {
            let now = Instant::now();
            waits.retain(|_, wait| now < wait.until);
            // Looked through again only after as many have come as there are left.
            if waits.len() > MOST / 2 {
                waits.clear();
            }
        }
        waits.insert(client, Wait { until, sale });
    }

    fn waits(&self) -> MutexGuard<'_, HashMap<Client, Wait>> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_refused_waits_until_then_and_not_longer() {
        let (known, now) = (Known::default(), Instant::now());
        let (ann, bob) = (known.client(&("user", "ann")), known.client(&("user", "bob")));
        let sale = Some((SaleId(uuid::Uuid::nil()), Epoch(7)));
        known.refused(ann, now + Duration::from_secs(2), sale);
        assert_eq!(known.wait_of(ann, now), Some((Duration::from_secs(2), sale)));
        assert_eq!(known.wait_of(bob, now), None);
        assert_eq!(known.wait_of(ann, now + Duration::from_secs(2)), None);
        assert!(known.waits().is_empty(), "what is over is forgotten");
    }

    #[test]
    fn however_many_are_refused_few_are_remembered() {
        let (known, hour) = (Known::default(), Instant::now() + Duration::from_secs(3_600));
        for n in 0..3 * MOST {
            known.refused(known.client(&n), hour, None);
            assert!(known.waits().len() <= MOST);
        }
        assert!(known.wait_of(known.client(&(3 * MOST - 1)), Instant::now()).is_some(), "the last one is remembered");
    }
}
