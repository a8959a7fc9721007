//! What can go wrong between us and Redis, by what it means for the caller.

use redis::{ErrorKind, ParsingError, RedisError, ServerErrorKind};

use crate::MAX_BATCH;

/// Why a call to Redis gave no answer that can be used. No variant shows the URL or its password.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL is none of Redis.
    #[error("redis.url is not a Redis URL: {0}")]
    Url(#[source] RedisError),
    /// No answer, or a refusal by the server itself (`LOADING`, `READONLY`, `MISCONF`, `OOM`, ...). Whether a write
    /// took place is not known.
    #[error("Redis does not answer or refuses: {0}")]
    Unreachable(#[source] RedisError),
    /// Redis no longer holds the epoch: nothing was written, and only a reconcile brings the sale back.
    #[error("Redis lost the epoch: {0}")]
    Lost(Loss),
    /// Redis holds or answers something that this crate never writes or expects.
    #[error("unexpected data in Redis: {0}")]
    Protocol(String),
    /// No attempt, or more than [`MAX_BATCH`] in one call.
    #[error("a batch has 1 to {MAX_BATCH} attempts, this one {0}")]
    BatchSize(usize),
}

/// What of an epoch Redis lost.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Loss {
    /// The script is not loaded: Redis restarted, or a replica was promoted.
    #[error("its script is gone")]
    Script,
    /// There is no gate of this epoch.
    #[error("its gate is gone")]
    Gate,
    /// Not as many buyers as were loaded.
    #[error("it has {found} buyers where {expected} were loaded")]
    Buyers {
        /// Buyers that were loaded.
        expected: u64,
        /// Buyers that are there.
        found: u64,
    },
}

impl From<RedisError> for Error {
    /// Sorts an answer. What is neither a lost script nor bad data is [`Error::Unreachable`], codes unknown to us
    /// included: "refused or unknown" is the class that promises nothing.
    fn from(error: RedisError) -> Self {
        match error.kind() {
            ErrorKind::Server(ServerErrorKind::NoScript) => Self::Lost(Loss::Script),
            ErrorKind::Parse
            | ErrorKind::UnexpectedReturnType
            | ErrorKind::Server(ServerErrorKind::ResponseError | ServerErrorKind::CrossSlot) => {
                Self::Protocol(error.to_string())
            }
            ErrorKind::Extension if is_bad_data(&error) => Self::Protocol(error.to_string()),
            _ => Self::Unreachable(error),
        }
    }
}

/// Whether the server complains about what it holds: `WRONGTYPE` is Redis's own word, `DAMAGED` our scripts'.
fn is_bad_data(error: &RedisError) -> bool {
    let complaints = error.clone().into_server_errors();
    complaints.is_some_and(|errors| errors.iter().any(|(_, error)| ["WRONGTYPE", "DAMAGED"].contains(&error.code())))
}

impl From<ParsingError> for Error {
    fn from(error: ParsingError) -> Self {
        Self::Protocol(error.to_string())
    }
}
