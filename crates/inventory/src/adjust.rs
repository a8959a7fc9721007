//! Adjust: the doorway to `lua/adjust.lua`, which books what PostgreSQL decided about the stock, exactly once.

use domain::{Epoch, SaleId, Scripts};

use crate::keys::Key;
use crate::scripts::evalsha;
use crate::{Error, Inventory, MAX_BATCH};

impl Inventory {
    /// Books adjustments, each a pair of its id and the units to add (negative: to take), and answers the stock.
    /// An id that was booked before changes nothing, so a call may be repeated freely. More than [`MAX_BATCH`] pairs
    /// go in several calls; where one fails, those before it stay booked.
    ///
    /// # Errors
    /// [`Error::Lost`] if the epoch's script or gate is gone; [`Error::Unreachable`]; [`Error::Protocol`].
    pub async fn adjust(
        &self,
        sale: SaleId,
        epoch: Epoch,
        scripts: &Scripts,
        adjustments: &[(i64, i64)],
    ) -> Result<i64, Error> {
        let mut chunks = adjustments.chunks(MAX_BATCH);
        // No adjustments are still one call: it tells the stock.
        let mut stock = self.adjust_chunk(sale, epoch, scripts, chunks.next().unwrap_or_default()).await?;
        for chunk in chunks {
            stock = self.adjust_chunk(sale, epoch, scripts, chunk).await?;
        }
        Ok(stock)
    }

    async fn adjust_chunk(
        &self,
        sale: SaleId,
        epoch: Epoch,
        scripts: &Scripts,
        chunk: &[(i64, i64)],
    ) -> Result<i64, Error> {
        let mut call = evalsha(&scripts.adjust, &[Key::gate(sale, epoch), Key::adjusted(sale, epoch)]);
        call.arg(epoch.0);
        for (id, units) in chunk {
            call.arg(id).arg(units);
        }
        let reply = self.run(&call).await?;
        match reply.as_slice() {
            [stock, _booked] => Ok(*stock),
            _ => Err(Error::Protocol(format!("adjust.lua answered {reply:?}"))),
        }
    }
}
