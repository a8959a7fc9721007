//! Install, open, close and remove the gate of an epoch: the reconciler's side.

use domain::{Epoch, Halt, Installation, ReservationId, Rules, SaleId, Scripts, UserId};
use failpoints::Bug;

use crate::keys::Key;
use crate::scripts::evalsha;
use crate::{Error, Inventory, Loss};

/// How long the keys of an epoch live if nobody opens it, in seconds: a reconciler that crashed leaves no garbage.
const UNOPENED_TTL_SECONDS: i64 = 3_600;

/// What a new gate starts with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NewGate {
    /// Units for sale.
    pub stock: i64,
    /// By which rules it sells, its window by Redis's clock.
    pub rules: Rules,
}

impl Inventory {
    /// Loads the epoch's scripts, then writes its gate, closed and without buyers. Whatever an unopened installation
    /// of the same epoch left is replaced; to be called only by the one who owns the epoch, and before it is opened.
    ///
    /// `nonce`: random letters, digits and dashes that set this installation's scripts apart.
    ///
    /// # Errors
    /// [`Error::Unreachable`]; [`Error::Protocol`].
    ///
    /// # Panics
    /// If the nonce holds any other character: it becomes part of a script.
    pub async fn install(
        &self,
        sale: SaleId,
        epoch: Epoch,
        nonce: &str,
        gate: &NewGate,
    ) -> Result<Installation, Error> {
        // The identity is read first: should another server take over midway, a probe will tell.
        let server = self.server().await?;
        let scripts = self.load_scripts(epoch, nonce).await?;
        let key = Key::gate(sale, epoch);
        let mut write = redis::pipe();
        write.atomic().cmd("UNLINK").arg(&Key::all(sale, epoch)).ignore();
        write.cmd("HSET").arg(key).arg("epoch").arg(epoch.0).arg("open").arg("0").arg("stock").arg(gate.stock);
        let Rules { window, terms, limit, halted, revision } = gate.rules;
        write.arg("starts_ms").arg(window.starts_ms).arg("ends_ms").arg(window.ends_ms);
        write.arg("terms").arg(terms.to_string()).arg("limit").arg(limit.get());
        write.arg("halted").arg(halted.map_or("", Halt::as_str)).arg("revision").arg(revision);
        // The history the gate is good for. With the bug planted, every history has what the script looks for.
        let is_any = failpoints::planted(Bug::ServerNotCompared);
        write.arg("replid").arg(if is_any { "" } else { &server.master_replid }).ignore();
        write.cmd("EXPIRE").arg(key).arg(UNOPENED_TTL_SECONDS).ignore();
        self.connection.pipeline::<()>(&write).await?;
        Ok(Installation { scripts, server })
    }

    /// Adds buyers to an installed gate that is not open yet. Call it once per chunk of about a thousand.
    ///
    /// # Errors
    /// [`Error::Unreachable`]; [`Error::Protocol`].
    pub async fn load_buyers(
        &self,
        sale: SaleId,
        epoch: Epoch,
        buyers: &[(UserId, ReservationId)],
    ) -> Result<(), Error> {
        if buyers.is_empty() {
            return Ok(());
        }
        let key = Key::buyers(sale, epoch);
        let mut write = redis::pipe();
        write.atomic().cmd("HSET").arg(key);
        for (user, id) in buyers {
            write.arg(user.as_str()).arg(id.to_string());
        }
        write.ignore().cmd("EXPIRE").arg(key).arg(UNOPENED_TTL_SECONDS).ignore();
        self.connection.pipeline(&write).await
    }

    /// Opens the gate if it and all `buyers` loaded are there: from here on it decides, and its keys do not expire.
    /// Opening an open gate changes nothing.
    ///
    /// # Errors
    /// [`Error::Lost`] tells what is missing; [`Error::Unreachable`]; [`Error::Protocol`].
    pub async fn open(&self, sale: SaleId, epoch: Epoch, scripts: &Scripts, buyers: u64) -> Result<(), Error> {
        let mut call = evalsha(&scripts.open, &[Key::gate(sale, epoch), Key::buyers(sale, epoch)]);
        let reply = self.run(call.arg(epoch.0).arg(buyers)).await?;
        match reply.as_slice() {
            [1] => Ok(()),
            [0, found] => Err(Error::Lost(Loss::Buyers { expected: buyers, found: found.unsigned_abs() })),
            _ => Err(Error::Protocol(format!("open.lua answered {reply:?}"))),
        }
    }

    /// Closes the gate: every attempt is refused from here on. Closing a closed gate changes nothing.
    ///
    /// # Errors
    /// [`Error::Lost`]; [`Error::Unreachable`]; [`Error::Protocol`].
    pub async fn close(&self, sale: SaleId, epoch: Epoch, scripts: &Scripts) -> Result<(), Error> {
        let mut call = evalsha(&scripts.close, &[Key::gate(sale, epoch)]);
        let reply = self.run(call.arg(epoch.0)).await?;
        match reply.as_slice() {
            [1] => Ok(()),
            _ => Err(Error::Protocol(format!("close.lua answered {reply:?}"))),
        }
    }

    /// Deletes every key of an epoch. Its scripts stay until Redis restarts: there is no way to unload a single one.
    ///
    /// # Errors
    /// [`Error::Unreachable`]
    pub async fn remove(&self, sale: SaleId, epoch: Epoch) -> Result<(), Error> {
        self.connection.call(redis::cmd("UNLINK").arg(&Key::all(sale, epoch))).await
    }
}
