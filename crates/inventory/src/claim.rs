//! Claim: the doorway to `lua/claim.lua`, which takes units off the stock only if they are there.

use domain::{Epoch, SaleId, Scripts};

use crate::keys::Key;
use crate::scripts::evalsha;
use crate::{Error, Inventory};

impl Inventory {
    /// Takes `units` off the stock if it has them, and answers whether it had. The answer to a claim never changes, so a
    /// call may be repeated freely.
    ///
    /// # Errors
    /// [`Error::Lost`] if the epoch's script or gate is gone; [`Error::Unreachable`]; [`Error::Protocol`].
    pub async fn claim(
        &self,
        sale: SaleId,
        epoch: Epoch,
        scripts: &Scripts,
        id: i64,
        units: i64,
    ) -> Result<bool, Error> {
        let mut call = evalsha(&scripts.claim, &[Key::gate(sale, epoch), Key::adjusted(sale, epoch)]);
        let reply = self.run(call.arg(epoch.0).arg(id).arg(units)).await?;
        match reply.as_slice() {
            [1, _stock] => Ok(true),
            [0, _stock] => Ok(false),
            _ => Err(Error::Protocol(format!("claim.lua answered {reply:?}"))),
        }
    }
}
