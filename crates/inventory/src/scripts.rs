//! The sources in `lua/` and how they are called.

use domain::{Epoch, Scripts};
use redis::Cmd;

use crate::keys::Key;
use crate::{Error, Inventory, Loss};

const RESERVE: &str = include_str!("../../../lua/reserve.lua");
const ADJUST: &str = include_str!("../../../lua/adjust.lua");
const OPEN: &str = include_str!("../../../lua/open.lua");
const CLOSE: &str = include_str!("../../../lua/close.lua");
const CONFIGURE: &str = include_str!("../../../lua/configure.lua");
const CLAIM: &str = include_str!("../../../lua/claim.lua");

/// Every script of an epoch.
const SOURCES: [&str; 6] = [RESERVE, ADJUST, OPEN, CLOSE, CONFIGURE, CLAIM];

/// The second line of each source, where the epoch and a nonce go: they give each installation scripts of its own.
const PLACEHOLDER: &str = "-- epoch=0 nonce=0\n";

impl Inventory {
    /// Loads an epoch's own version of each script. Scripts loaded by `SCRIPT LOAD` are never evicted: they stay
    /// until the server ends (Redis manual, `SCRIPT LOAD`).
    pub(crate) async fn load_scripts(&self, epoch: Epoch, nonce: &str) -> Result<Scripts, Error> {
        let mut load = redis::pipe();
        for source in SOURCES {
            load.cmd("SCRIPT").arg("LOAD").arg(stamped(source, epoch, nonce));
        }
        let (reserve, adjust, open, close, configure, claim) = self.connection.pipeline(&load).await?;
        Ok(Scripts { reserve, adjust, open, close, configure, claim })
    }

    /// Calls a script that answers with numbers, once.
    pub(crate) async fn run(&self, call: &Cmd) -> Result<Vec<i64>, Error> {
        let reply: Vec<i64> = self.connection.call(call).await?;
        if reply == [NO_GATE] { Err(Error::Lost(Loss::Gate)) } else { Ok(reply) }
    }
}

/// A call of a script: its SHA and every key it touches. The arguments follow.
pub(crate) fn evalsha(sha: &str, keys: &[Key]) -> Cmd {
    let mut call = redis::cmd("EVALSHA");
    call.arg(sha).arg(keys.len()).arg(keys);
    call
}

/// What every script answers, alone, where there is no gate of the epoch.
pub(crate) const NO_GATE: i64 = -2;

/// # Panics
/// If the nonce could end the comment it is put into.
fn stamped(source: &str, epoch: Epoch, nonce: &str) -> String {
    assert!(nonce.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'), "a nonce of letters and digits");
    source.replacen(PLACEHOLDER, &format!("-- epoch={epoch} nonce={nonce}\n"), 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_has_the_placeholder_as_its_second_line_and_at_most_100_lines() {
        for source in SOURCES {
            assert!(source.starts_with(&format!("#!lua\n{PLACEHOLDER}")), "{source}");
            assert!(source.lines().count() <= 100, "{source}");
        }
    }

    #[test]
    fn a_stamp_changes_the_second_line_only() {
        let stamped = stamped(CLOSE, Epoch(7), "9f3a");
        assert_eq!(stamped.lines().nth(1), Some("-- epoch=7 nonce=9f3a"));
        assert_eq!(stamped.replace("epoch=7 nonce=9f3a", "epoch=0 nonce=0"), CLOSE);
    }

    #[test]
    #[should_panic(expected = "letters and digits")]
    fn a_nonce_cannot_smuggle_code_into_a_script() {
        stamped(CLOSE, Epoch(7), "x\nreturn 1");
    }
}
