//! For tests: places where a process can be told to die or to freeze, and known bugs that can be switched on.
//!
//! Compiled into debug builds only; in a release build every function here is empty. Two variables, read once per
//! process, switch one on:
//!
//! - `FLASHSALE_FAILPOINT=<point>=<crash|freeze>[@n]`: the n-th time (1 without it) the process reaches the point, it
//!   kills itself as a power cut would, or blocks the thread for good.
//! - `FLASHSALE_PLANTED_BUG=<bug>`: the bug is there for the life of the process.
//!
//! A value that names nothing panics at the first point that is reached: a fault that cannot fire must not look like
//! one that was survived. Every test asserts besides that its fault has fired.

macro_rules! named {
    ($(#[$doc:meta])* $enum:ident { $($(#[$variant_doc:meta])* $variant:ident = $name:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum $enum { $($(#[$variant_doc])* $variant,)+ }

        impl $enum {
            /// Every one of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Its name in the variable that switches it on.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// The one with this name.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.name() == name)
            }
        }
    };
}

named! {
    /// A step after which a process may die: between any two writes to different stores.
    Point {
        /// The gate has decided a batch; nothing is published.
        ApiReserved = "api.reserved",
        /// A message is handed to the broker; its confirm has not been read.
        BrokerPublished = "broker.published",
        /// A publish is over, as a rule confirmed; its buyers have not been told.
        ApiConfirmed = "api.confirmed",
        /// An operator's change of a sale is committed; its gate has not been told.
        ApiEdited = "api.edited",
        /// A persister holds deliveries and has written nothing.
        PersisterGathered = "persister.gathered",
        /// Orders are committed; their messages are not acknowledged.
        PersisterCommitted = "persister.committed",
        /// Messages are acknowledged; the outbox still holds their entries.
        PersisterAcknowledged = "persister.acknowledged",
        /// A keeper has booked adjustments in the gate; PostgreSQL does not know.
        KeeperAdjusted = "keeper.adjusted",
        /// A keeper has published outbox entries again, confirmed or perhaps.
        KeeperRepublished = "keeper.republished",
        /// The provider has taken a payment's money; PostgreSQL does not know.
        KeeperCaptured = "keeper.captured",
        /// A receiver has answered some webhooks; PostgreSQL does not know.
        KeeperDelivered = "keeper.delivered",
        /// A reconciler has raised the epoch.
        ReconcileFenced = "reconcile.fenced",
        /// The dead queues are unbound and drained.
        ReconcileDrained = "reconcile.drained",
        /// PostgreSQL has settled what the new gate will hold.
        ReconcileSettled = "reconcile.settled",
        /// The new gate is open; PostgreSQL does not know.
        ReconcileOpened = "reconcile.opened",
    }
}

named! {
    /// A bug that others of this design have shipped. The checks of this repository must catch each of them.
    Bug {
        /// A rebuild does not drain the dead queue before it counts.
        RebuildWithoutDrain = "rebuild-without-drain",
        /// A publish without a confirm gives its units back.
        StockGivenBackOnTimeout = "stock-given-back-on-timeout",
        /// The outbox entry is deleted when the broker confirms, not when the order is committed.
        OutboxDeletedOnConfirm = "outbox-deleted-on-confirm",
        /// A persister acknowledges before it commits.
        AckBeforeCommit = "ack-before-commit",
        /// A gate is trusted whatever server, or history of a server, it is found on.
        ServerNotCompared = "server-not-compared",
    }
}

impl Point {
    /// What a process writes to its standard error as its last words at this point: a test asserts that its fault has fired.
    #[must_use]
    pub fn last_words(self) -> String {
        format!("failpoint {} fired", self.name())
    }
}

#[cfg(debug_assertions)]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::{Bug, Point};

    struct Armed {
        point: Point,
        freeze: bool,
        reached_before: AtomicU32,
        nth: u32,
    }

    fn armed() -> Option<&'static Armed> {
        static ARMED: OnceLock<Option<Armed>> = OnceLock::new();
        let read = || {
            let text = std::env::var("FLASHSALE_FAILPOINT").ok()?;
            let armed = parse(&text);
            assert!(armed.is_some(), "FLASHSALE_FAILPOINT={text} is not <point>=<crash|freeze>[@n] with a known point");
            armed
        };
        ARMED.get_or_init(read).as_ref()
    }

    fn parse(text: &str) -> Option<Armed> {
        let (point, action) = text.split_once('=')?;
        let (action, nth) = action.split_once('@').unwrap_or((action, "1"));
        let freeze = match action {
            "crash" => false,
            "freeze" => true,
            _ => return None,
        };
        let nth = nth.parse().ok().filter(|nth| *nth > 0)?;
        Some(Armed { point: Point::from_name(point)?, freeze, reached_before: AtomicU32::new(0), nth })
    }

    pub(super) fn reach(point: Point) {
        let Some(armed) = armed().filter(|armed| armed.point == point) else { return };
        if armed.reached_before.fetch_add(1, Ordering::Relaxed) + 1 != armed.nth {
            return;
        }
        eprintln!("{}", point.last_words());
        if armed.freeze {
            loop {
                std::thread::park();
            }
        }
        std::process::abort();
    }

    pub(super) fn planted(bug: Bug) -> bool {
        static PLANTED: OnceLock<Option<Bug>> = OnceLock::new();
        let planted = PLANTED.get_or_init(|| {
            let name = std::env::var("FLASHSALE_PLANTED_BUG").ok()?;
            Some(Bug::from_name(&name).unwrap_or_else(|| panic!("FLASHSALE_PLANTED_BUG={name} is no bug we know")))
        });
        *planted == Some(bug)
    }
}

/// Dies or freezes here, if a test said so.
#[inline]
pub fn reach(point: Point) {
    #[cfg(debug_assertions)]
    armed::reach(point);
    #[cfg(not(debug_assertions))]
    let _ = point;
}

/// Whether a test has planted this bug.
#[inline]
#[must_use]
pub fn planted(bug: Bug) -> bool {
    #[cfg(debug_assertions)]
    return armed::planted(bug);
    #[cfg(not(debug_assertions))]
    {
        let _ = bug;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_finds_its_own_and_no_other() {
        for point in Point::ALL {
            assert_eq!(Point::from_name(point.name()), Some(*point));
        }
        for bug in Bug::ALL {
            assert_eq!(Bug::from_name(bug.name()), Some(*bug));
        }
        assert_eq!(Point::from_name("api.reservd"), None);
    }
}
