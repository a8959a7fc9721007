//! Is the epoch still what a reconciler installed? And which server are we talking to?

use domain::{Epoch, Installation, SaleId, ServerIdentity};
use redis::{Value, from_redis_value_ref};

use crate::gate::{Gate, ask_for_gate, read_gate};
use crate::keys::Key;
use crate::{Error, Inventory};

/// What Redis holds of an epoch at one moment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Probe {
    /// Redis's clock: Unix time, milliseconds.
    pub now_ms: i64,
    /// The server that answered.
    pub server: ServerIdentity,
    /// The epoch's gate. A damaged one reads as absent here, so that whoever watches mends it like a lost one.
    pub gate: Option<Gate>,
    /// Whether all four scripts of the epoch are loaded.
    pub scripts_present: bool,
    /// Entries in the outbox.
    pub outbox_len: u64,
}

impl Inventory {
    /// Which server answers, and which history of it.
    ///
    /// # Errors
    /// [`Error::Unreachable`]; [`Error::Protocol`] if `INFO` lacks a field.
    pub async fn server(&self) -> Result<ServerIdentity, Error> {
        let info: String = self.connection.call(redis::cmd("INFO").arg(&INFO_SECTIONS)).await?;
        identity(&info)
    }

    /// The time by Redis's clock, which every window goes by: Unix time in milliseconds.
    ///
    /// # Errors
    /// [`Error::Unreachable`]; [`Error::Protocol`] on an unknown answer.
    pub async fn now_ms(&self) -> Result<i64, Error> {
        unix_ms(&self.connection.call(&redis::cmd("TIME")).await?)
    }

    /// [`Inventory::probe_all`] for one sale.
    ///
    /// # Errors
    /// As [`Inventory::probe_all`].
    pub async fn probe(&self, sale: SaleId, epoch: Epoch, installation: &Installation) -> Result<Probe, Error> {
        let probes = self.probe_all(&[(sale, epoch, installation)]).await?;
        probes.into_iter().next().ok_or_else(|| Error::Protocol("no answer about the only sale asked for".to_owned()))
    }

    /// Looks at several epochs in one round trip, in the same order; the server's identity is read once.
    ///
    /// # Errors
    /// [`Error::Unreachable`]; [`Error::Protocol`] on an unknown answer.
    pub async fn probe_all(&self, sales: &[(SaleId, Epoch, &Installation)]) -> Result<Vec<Probe>, Error> {
        let mut ask = redis::pipe();
        ask.cmd("TIME").cmd("INFO").arg(&INFO_SECTIONS);
        for &(sale, epoch, installation) in sales {
            let scripts = &installation.scripts;
            ask_for_gate(&mut ask, sale, epoch);
            ask.cmd("SCRIPT").arg("EXISTS");
            ask.arg(&[
                &scripts.reserve,
                &scripts.adjust,
                &scripts.open,
                &scripts.close,
                &scripts.configure,
                &scripts.claim,
            ]);
            ask.cmd("XLEN").arg(Key::outbox(sale, epoch));
        }
        let answers: Vec<Value> = self.connection.pipeline(&ask).await?;
        let [time, info, answers @ ..] = answers.as_slice() else {
            return Err(Error::Protocol(format!("TIME and INFO gave {answers:?}")));
        };
        let (now_ms, server) = (unix_ms(time)?, identity(&from_redis_value_ref::<String>(info)?)?);
        let answers = answers.as_chunks().0.iter();
        let probes = sales.iter().zip(answers).map(|(&(sale, epoch, _), [gate, scripts, outbox_len])| {
            let scripts: [bool; 6] = from_redis_value_ref(scripts)?;
            Ok(Probe {
                now_ms,
                server: server.clone(),
                gate: read_gate(sale, epoch, &from_redis_value_ref(gate)?).unwrap_or(None),
                scripts_present: scripts == [true; 6],
                outbox_len: from_redis_value_ref(outbox_len)?,
            })
        });
        probes.collect()
    }
}

const INFO_SECTIONS: [&str; 2] = ["server", "replication"];

/// The answer to `TIME` (seconds, microseconds) as Unix time in milliseconds.
pub(crate) fn unix_ms(time: &Value) -> Result<i64, Error> {
    let (seconds, micros): (i64, i64) = from_redis_value_ref(time)?;
    Ok(seconds * 1_000 + micros / 1_000)
}

fn identity(info: &str) -> Result<ServerIdentity, Error> {
    let field = |name: &str| {
        let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.map(str::to_owned).ok_or_else(|| Error::Protocol(format!("INFO has no {name}")))
    };
    Ok(ServerIdentity { run_id: field("run_id")?, master_replid: field("master_replid")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_read_by_exact_field_names() {
        let info = "# Server\r\nrun_id:aa\r\n# Replication\r\nmaster_replid2:00\r\nmaster_replid:bb\r\n";
        let expected = ServerIdentity { run_id: "aa".to_owned(), master_replid: "bb".to_owned() };
        assert_eq!(identity(info).unwrap(), expected);
        assert!(identity("run_id:aa\r\nmaster_replid2:00\r\n").is_err());
    }
}
