//! What can go wrong, each with what to do about it.

use std::process::ExitCode;

/// Why a command was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The command cannot be done as it was given.
    #[error("{0}")]
    Usage(String),
    /// Whoever was asked did not confirm.
    #[error("not confirmed: nothing was done")]
    Declined,
    /// No answer came. Whether the API has done something is not known.
    #[error("no answer from {url}: {cause}; is this the API's address, and does it run? flashsale doctor looks closer")]
    NoAnswer {
        /// Whom we asked.
        url: String,
        /// What the connection met.
        cause: String,
    },
    /// The API says no.
    #[error("{detail} ({code}){}", advice(.code))]
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
    /// What was waited for did not come.
    #[error("{0}")]
    Overdue(String),
    /// The terminal cannot be used.
    #[error("the terminal cannot be used: {0}; --output json needs none")]
    Terminal(#[from] std::io::Error),
}

impl Error {
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) => ExitCode::from(2),
            _ => ExitCode::FAILURE,
        }
    }

    /// Whether the API refused for this reason.
    pub(crate) fn is(&self, wanted: &str) -> bool {
        matches!(self, Self::Refused { code, .. } if code == wanted)
    }
}

/// What to do about a refusal that does not say so itself.
fn advice(code: &str) -> &'static str {
    match code {
        "SALE_NOT_FOUND" => "; flashsale sale list shows all sales",
        "UNAVAILABLE" => "; flashsale doctor shows which server is away",
        "NO_SUCH_ROUTE" => "; the API is older than this program",
        "STOCK_CHANGE_PENDING" => "; flashsale sale show says when it is decided",
        _ => "",
    }
}
