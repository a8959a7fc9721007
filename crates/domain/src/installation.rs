//! What a reconciler records when it has installed the gate of an epoch.

use serde::{Deserialize, Serialize};

/// The gate of an epoch as it was installed. A keeper compares it with what Redis holds: any difference means that
/// Redis lost the epoch.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Installation {
    /// The epoch's scripts.
    pub scripts: Scripts,
    /// The server that held them.
    pub server: ServerIdentity,
}

/// The SHA-1 (40 hexadecimal digits) of each script of one epoch. Each script's source starts with its epoch and a
/// random nonce, so no two epochs share one.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Scripts {
    /// `lua/reserve.lua`
    pub reserve: String,
    /// `lua/adjust.lua`
    pub adjust: String,
    /// `lua/open.lua`
    pub open: String,
    /// `lua/close.lua`
    pub close: String,
    /// `lua/configure.lua`; empty in an installation by a build that did not know it: no server has a script of that
    /// name, so the gate is rebuilt.
    #[serde(default)]
    pub configure: String,
    /// `lua/claim.lua`; likewise.
    #[serde(default)]
    pub claim: String,
}

/// Which Redis server, and which history of it: `INFO server` and `INFO replication`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ServerIdentity {
    /// Changes with each start of the process.
    pub run_id: String,
    /// Changes when a replica is promoted.
    pub master_replid: String,
}
