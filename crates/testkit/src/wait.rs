//! Bounded waits for a condition.

use std::time::Duration;

use tokio::time::Instant;

const POLL: Duration = Duration::from_millis(20);

/// Asks until the answer is `Some`.
///
/// # Panics
/// After `limit`, naming `what` was waited for.
pub async fn until<T>(what: &str, limit: Duration, ask: impl AsyncFn() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited {limit:?} in vain until {what}");
        tokio::time::sleep(POLL).await;
    }
}
