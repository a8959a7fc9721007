//! What can go wrong between us and the broker. No text holds the URL or its password.

use std::time::Duration;

/// Why the broker did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The configured URL cannot be used. Its text is withheld: it holds the password.
    #[error("the broker's URL is not of the form amqp://user:password@host:port/vhost")]
    Url,
    /// No answer in time.
    #[error("the broker did not answer within {0:?}")]
    Timeout(Duration),
    /// The broker refused, or the connection or the channel failed.
    #[error("{0}")]
    Amqp(#[from] lapin::Error),
    /// The delivery can no longer be acknowledged: its channel is gone, and the broker will deliver it again.
    #[error("delivery {0} is not held any more")]
    NotHeld(u64),
}

impl Error {
    /// Whether the broker answered that there is no such queue (404).
    pub(crate) fn is_not_found(&self) -> bool {
        self.reply_code() == Some(404)
    }

    /// Whether another connection holds the exclusive queue asked for (405).
    pub(crate) fn is_locked(&self) -> bool {
        self.reply_code() == Some(405)
    }

    fn reply_code(&self) -> Option<u16> {
        match self {
            Self::Amqp(error) => match error.kind() {
                lapin::ErrorKind::ProtocolError(refusal) => Some(refusal.get_id()),
                _ => None,
            },
            _ => None,
        }
    }
}

/// Why a batch is not known to be in its queue. Only a publish that returned `Ok` may be promised.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PublishError {
    /// The message surely never left this process: no connection, blocked, too many unconfirmed, or no valid batch.
    #[error("not sent: {0}")]
    NotSent(String),
    /// The broker gave the message back: no queue is bound to the epoch. It is in no queue.
    #[error("returned: no queue is bound to the batch's epoch")]
    Returned,
    /// The message may be in its queue, may still get there, or may be lost.
    #[error("outcome unknown: {0}")]
    Unknown(String),
}
