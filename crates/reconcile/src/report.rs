//! What a rebuild did.

use domain::Epoch;
use serde::Serialize;
use utoipa::ToSchema;

use crate::Reason;

/// The drift that a rebuild found and what it did about it: the detail of the audit event RECONCILED.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Why it ran.
    pub reason: Reason,
    /// The epoch that was given up.
    #[schema(value_type = i64)]
    pub from_epoch: Epoch,
    /// The epoch that stands now.
    #[schema(value_type = i64)]
    pub epoch: Epoch,
    /// Orders written from messages that waited in dead epochs' queues.
    pub drained: u64,
    /// Orders written from dead epochs' outboxes: no message carried them.
    pub recovered: u64,
    /// Units for sale in the old gate, where it could still be read.
    #[schema(required)]
    pub stock_before: Option<i64>,
    /// Units for sale in the new gate.
    pub stock: i64,
    /// Buyers loaded into the new gate.
    pub buyers: u64,
    /// How long the sale was closed, in milliseconds.
    pub took_ms: u64,
}
