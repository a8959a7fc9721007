//! Limit: the doorway to `lua/limit.lua`, which counts how often a client asks, the same for all replicas of the API.

use std::sync::OnceLock;
use std::time::Duration;

use redis::Cmd;

use crate::{Error, Inventory, Loss, Rate};

const LIMIT: &str = include_str!("../../../lua/limit.lua");

/// Counts requests that are no purchases; those are counted where they are decided ([`Inventory::reserve`]).
///
/// Nothing here belongs to an epoch, so this is the one script that a caller loads who finds it missing.
pub struct Limiter {
    inventory: Inventory,
    /// Its SHA-1, once it was loaded.
    script: OnceLock<String>,
}

impl Limiter {
    /// A limiter that has loaded nothing yet.
    #[must_use]
    pub fn new(inventory: Inventory) -> Self {
        Self { inventory, script: OnceLock::new() }
    }

    /// Counts one request of `client` among those of `group`. `None`: it may ask; otherwise how long it has to wait,
    /// and the request is not counted.
    ///
    /// One round trip; three where Redis has lost the script.
    ///
    /// # Errors
    /// [`Error::Unreachable`]; [`Error::Protocol`].
    pub async fn ask(&self, group: &str, client: &str, rate: Rate) -> Result<Option<Duration>, Error> {
        let script = match self.script.get() {
            Some(script) => script,
            None => self.load().await?,
        };
        let call = call(script, group, client, rate);
        let answer = match self.inventory.run(&call).await {
            Err(Error::Lost(Loss::Script)) => {
                self.load().await?;
                self.inventory.run(&call).await
            }
            answer => answer,
        };
        decode(&answer?)
    }

    async fn load(&self) -> Result<&str, Error> {
        let script: String = self.inventory.connection.call(redis::cmd("SCRIPT").arg("LOAD").arg(LIMIT)).await?;
        Ok(self.script.get_or_init(|| script))
    }
}

fn call(script: &str, group: &str, client: &str, rate: Rate) -> Cmd {
    let mut call = redis::cmd("EVALSHA");
    call.arg(script).arg(1).arg(format!("limit:{group}:{client}")).arg(rate.cost_us()).arg(rate.burst_us());
    call
}

fn decode(reply: &[i64]) -> Result<Option<Duration>, Error> {
    match reply {
        [0] => Ok(None),
        [retry_ms] if *retry_ms > 0 => Ok(Some(Duration::from_millis(retry_ms.unsigned_abs()))),
        _ => Err(Error::Protocol(format!("limit.lua answered {reply:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_answer_is_an_error_and_lets_nobody_in() {
        assert_eq!(decode(&[0]).unwrap(), None);
        assert_eq!(decode(&[1_500]).unwrap(), Some(Duration::from_millis(1_500)));
        for reply in [&[][..], &[-1], &[0, 0]] {
            assert!(matches!(decode(reply), Err(Error::Protocol(_))), "{reply:?}");
        }
    }
}
