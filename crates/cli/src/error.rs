//! What can go wrong, each with what to do about it.

use std::process::ExitCode;

/// Why a command was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The command cannot be done as it was given.
    #[error("{0}")]
    Usage(String),
    /// No answer came. Whether the API has done something is not known.
    #[error("no answer from {url}: {cause}; is this the API's address, and does it run?")]
    NoAnswer {
        /// Whom we asked.
        url: String,
        /// What the connection met.
        cause: String,
    },
    /// The API says no.
    #[error("{detail} ({code})")]
    Refused {
        /// The problem's code, such as `REDRIVE_FAILED`.
        code: String,
        /// What is wrong.
        detail: String,
    },
    /// Something answered that does not speak as the API does.
    #[error("{url} answered {status} and not as the API does: is this its address, and its version ours?")]
    Foreign {
        /// Whom we asked.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// The API answers in a shape that this program does not know.
    #[error("the API and this program are not of one version: {0}")]
    Version(String),
}

impl Error {
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) => ExitCode::from(2),
            Self::NoAnswer { .. } | Self::Refused { .. } | Self::Foreign { .. } | Self::Version(_) => ExitCode::FAILURE,
        }
    }
}
