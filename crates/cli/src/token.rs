//! `flashsale token`: a buyer's token, for tests, load and demonstrations. Asks nobody: whoever has the secret may.

use std::process::ExitCode;

use clap::Args;
use identity::Mint;
use secrecy::SecretString;
use serde_json::json;

use crate::error::Error;
use crate::output::{Output, print, print_json};

/// On the command line everybody on this machine could read it.
const SECRET: &str = "FLASHSALE__AUTH__HS256_SECRET";

const DEFAULT_SECONDS: u64 = 3_600;

/// Whom the token is for, and what it says.
#[derive(Args)]
pub(crate) struct Command {
    /// The buyer whom the token names
    #[arg(long, value_name = "USER")]
    sub: String,
    /// Seconds until it expires
    #[arg(long, default_value_t = DEFAULT_SECONDS, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// The API's setting auth.issuer
    #[arg(long, env = "FLASHSALE__AUTH__ISSUER", default_value = "flashsale")]
    issuer: String,
    /// The API's setting auth.audience
    #[arg(long, env = "FLASHSALE__AUTH__AUDIENCE", default_value = "flashsale")]
    audience: String,
}

pub(crate) fn run(output: Output, command: &Command) -> Result<ExitCode, Error> {
    let user: domain::UserId = command.sub.parse().map_err(|invalid| Error::Usage(format!("--sub {invalid}")))?;
    let secret = std::env::var(SECRET)
        .map_err(|_| Error::Usage(format!("set {SECRET} to the secret that the API verifies tokens with")))?;
    let mint = Mint::new(&SecretString::from(secret), &command.issuer, &command.audience, command.seconds);
    let minted = mint.map_err(|invalid| Error::Usage(invalid.to_string()))?.mint(user.as_str(), boot::clock::now_ms());
    match output {
        Output::Table => print(&minted.token),
        Output::Json => {
            print_json(&json!({ "token": minted.token, "tokenType": "Bearer", "expiresIn": minted.expires_in }));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What makes the tokens of simulated buyers, where the secret is set.
///
/// # Errors
/// The secret is none.
pub(crate) fn mint(issuer: &str, audience: &str) -> Result<Option<Mint>, Error> {
    let Some(secret) = std::env::var(SECRET).ok().filter(|secret| !secret.is_empty()) else { return Ok(None) };
    let mint = Mint::new(&SecretString::from(secret), issuer, audience, DEFAULT_SECONDS);
    mint.map(Some).map_err(|invalid| Error::Usage(invalid.to_string()))
}
