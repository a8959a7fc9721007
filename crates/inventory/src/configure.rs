//! Configure: the doorway to `lua/configure.lua`, which brings a gate up to what an operator has changed.

use domain::{Epoch, Halt, Rules, SaleId, Scripts};

use crate::keys::Key;
use crate::scripts::evalsha;
use crate::{Error, Inventory};

impl Inventory {
    /// Has the gate sell by `rules`, unless it knows newer ones. Answers the revision it goes by from now on. A call may
    /// be repeated freely.
    ///
    /// # Errors
    /// [`Error::Lost`] if the epoch's script or gate is gone; [`Error::Unreachable`]; [`Error::Protocol`].
    pub async fn configure(&self, sale: SaleId, epoch: Epoch, scripts: &Scripts, rules: &Rules) -> Result<i64, Error> {
        let Rules { window, terms, limit, halted, revision } = rules;
        let mut call = evalsha(&scripts.configure, &[Key::gate(sale, epoch)]);
        call.arg(epoch.0).arg(revision).arg(window.starts_ms).arg(window.ends_ms).arg(terms.to_string());
        let reply = self.run(call.arg(limit.get()).arg(halted.map_or("", Halt::as_str))).await?;
        match reply.as_slice() {
            [revision] => Ok(*revision),
            _ => Err(Error::Protocol(format!("configure.lua answered {reply:?}"))),
        }
    }
}
