//! Waiting for a condition, bounded.

use std::time::{Duration, Instant};

/// How often a condition is looked at. Short against everything waited for here (10 ms to minutes), long against the
/// cost of looking (a system call or a loopback connection).
const STEP: Duration = Duration::from_millis(10);

/// Looks at `condition` until it holds or `timeout` has passed; whether it held.
pub fn poll(timeout: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + timeout;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        #[expect(clippy::disallowed_methods, reason = "the one pause between two looks at a condition, bounded above")]
        std::thread::sleep(STEP);
    }
}
