//! The names of an epoch's keys. The braces keep all keys of a sale in one Redis Cluster slot.

use std::fmt;

use domain::{Epoch, SaleId};
use redis::{RedisWrite, ToRedisArgs};

/// The name of one key; written straight into a command, without a `String` of its own.
#[derive(Clone, Copy)]
pub(crate) struct Key {
    sale: SaleId,
    epoch: Epoch,
    part: &'static str,
}

impl Key {
    /// Hash: `epoch`, `open`, `stock`, `starts_ms`, `ends_ms`, `terms`, `replid`, `limit`, `halted`, `revision`.
    pub(crate) fn gate(sale: SaleId, epoch: Epoch) -> Self {
        Self { sale, epoch, part: "gate" }
    }

    /// Hash: user id to reservation id.
    pub(crate) fn buyers(sale: SaleId, epoch: Epoch) -> Self {
        Self { sale, epoch, part: "buyers" }
    }

    /// Stream of wins: `r` reservation id, `u` user id, `q` quantity, `t` terms.
    pub(crate) fn outbox(sale: SaleId, epoch: Epoch) -> Self {
        Self { sale, epoch, part: "outbox" }
    }

    /// Set: ids of the adjustments booked and of the claims granted; `<id>:refused` of those refused.
    pub(crate) fn adjusted(sale: SaleId, epoch: Epoch) -> Self {
        Self { sale, epoch, part: "adjusted" }
    }

    /// Hashes of even and of odd periods: client to until when it has paid for its attempts. They expire by themselves.
    pub(crate) fn rates(sale: SaleId, epoch: Epoch) -> [Self; 2] {
        ["rates:even", "rates:odd"].map(|part| Self { sale, epoch, part })
    }

    /// Every key of an epoch.
    pub(crate) fn all(sale: SaleId, epoch: Epoch) -> [Self; 6] {
        let [gate, buyers, outbox, adjusted] =
            [Self::gate, Self::buyers, Self::outbox, Self::adjusted].map(|key| key(sale, epoch));
        let [even, odd] = Self::rates(sale, epoch);
        [gate, buyers, outbox, adjusted, even, odd]
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sale:{{{}}}:{}:{}", self.sale, self.epoch, self.part)
    }
}

impl ToRedisArgs for Key {
    fn write_redis_args<W: ?Sized + RedisWrite>(&self, out: &mut W) {
        out.write_arg_fmt(self);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_braces_of_a_key_hold_the_sale_id_alone() {
        let sale = "018f4b1e-0000-7000-8000-000000000001".parse().unwrap();
        let names = Key::all(sale, Epoch(7)).map(|key| key.to_string());
        assert_eq!(
            names,
            ["gate", "buyers", "outbox", "adjusted", "rates:even", "rates:odd"]
                .map(|part| format!("sale:{{018f4b1e-0000-7000-8000-000000000001}}:7:{part}"))
        );
    }
}
