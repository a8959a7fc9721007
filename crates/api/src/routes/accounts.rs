//! Built-in accounts, for a shop that has none of its own: register, log in.

use actix_web::{HttpResponse, web};
use identity::{Busy, Email, Mint, Password, PasswordHash, Passwords};
use ledger::Account;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::app::Process;
use crate::body::Body;
use crate::error::{Code, Problem};

/// What the built-in accounts need besides their table.
pub(crate) struct Accounts {
    pub(crate) mint: Mint,
    pub(crate) passwords: Passwords,
}

/// Who somebody is, and how they prove it.
#[derive(Deserialize, ToSchema)]
#[schema(as = Credentials)]
struct Request {
    /// Spaces around it and capitals do not matter.
    #[schema(value_type = String, format = Email, max_length = 254)]
    email: Option<String>,
    /// Any characters.
    #[schema(value_type = String, format = Password, min_length = 8, max_length = 128)]
    password: Option<SecretString>,
}

/// A new account.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Account)]
struct Registered<'a> {
    /// Who this buyer is in every sale.
    user_id: Uuid,
    /// As it is stored: trimmed and in lower case.
    email: &'a str,
}

/// A token.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Token)]
struct LoggedIn<'a> {
    /// To be sent as `Authorization: Bearer <token>`.
    token: &'a str,
    /// Always `Bearer`.
    token_type: &'static str,
    /// Seconds until it no longer counts.
    expires_in: u64,
    user_id: Uuid,
}

/// Registers an account, where the shop has built-in ones (`auth.accounts`).
#[utoipa::path(
    post, path = "/api/v1/accounts", operation_id = "register", tag = "Accounts",
    request_body = Request,
    responses(
        (status = 201, description = "The account.", body = Registered<'_>),
        (status = 400, description = "INVALID_FIELD"),
        (status = 404, description = "NO_SUCH_ROUTE"),
        (status = 409, description = "EMAIL_TAKEN"),
    ),
)]
pub(super) async fn register(Body(body): Body, process: web::Data<Process>) -> Result<HttpResponse, Problem> {
    let accounts = accounts(&process)?;
    let (email, password) = read(&body)?;
    let email = Email::read(&email).map_err(|invalid| Problem::field("email", &invalid))?;
    let password = Password::read(password.expose_secret()).map_err(|invalid| Problem::field("password", &invalid))?;
    let PasswordHash(password_hash) = accounts.passwords.hash(password).await.map_err(busy)?;
    let account = Account { id: Uuid::new_v4(), password_hash };
    let created = process.ledger.create_account(&account, email.as_str()).await;
    if !created.map_err(|error| Problem::unavailable(&error))? {
        return Err(Problem::new(Code::EmailTaken, "There is an account with this e-mail already; log in instead"));
    }
    Ok(HttpResponse::Created().json(Registered { user_id: account.id, email: email.as_str() }))
}

/// Logs in, where the shop has built-in accounts.
///
/// An address without an account and a wrong password are answered in the same words and after the same work.
#[utoipa::path(
    post, path = "/api/v1/accounts/login", operation_id = "logIn", tag = "Accounts",
    request_body = Request,
    responses(
        (status = 200, description = "A token.", body = LoggedIn<'_>),
        (status = 400, description = "INVALID_FIELD"),
        (status = 401, description = "INVALID_CREDENTIALS"),
        (status = 404, description = "NO_SUCH_ROUTE"),
    ),
)]
pub(super) async fn login(Body(body): Body, process: web::Data<Process>) -> Result<HttpResponse, Problem> {
    let accounts = accounts(&process)?;
    let (email, password) = read(&body)?;
    let wrong = || Problem::new(Code::InvalidCredentials, Code::InvalidCredentials.title());
    // Nobody can have registered with these: that is no secret, and needs no work.
    let email = Email::read(&email).map_err(|_| wrong())?;
    let password = Password::read(password.expose_secret()).map_err(|_| wrong())?;
    let account = process.ledger.account(email.as_str()).await.map_err(|error| Problem::unavailable(&error))?;
    let hash = account.as_ref().map(|account| PasswordHash(account.password_hash.clone()));
    let is_right = accounts.passwords.is_right(password, hash).await.map_err(busy)?;
    let account = account.filter(|_| is_right).ok_or_else(wrong)?;
    let minted = accounts.mint.mint(&account.id.to_string(), boot::clock::now_ms());
    Ok(HttpResponse::Ok().json(LoggedIn {
        token: &minted.token,
        token_type: "Bearer",
        expires_in: minted.expires_in,
        user_id: account.id,
    }))
}

fn accounts(process: &Process) -> Result<&Accounts, Problem> {
    let none = || Problem::new(Code::NoSuchRoute, "This shop has no accounts of its own");
    process.accounts.as_ref().ok_or_else(none)
}

fn read(body: &[u8]) -> Result<(String, SecretString), Problem> {
    // Not in serde's words, which repeat a value that does not fit.
    let invalid = |error: serde_json::Error| {
        let (line, column) = (error.line(), error.column());
        let detail = format!("Send {{\"email\": ..., \"password\": ...}}, two texts (line {line}, column {column})");
        Problem::new(Code::InvalidBody, detail)
    };
    let request: Request = serde_json::from_slice(body).map_err(invalid)?;
    let missing = |name| Problem::field(name, &"is missing");
    Ok((request.email.ok_or_else(|| missing("email"))?, request.password.ok_or_else(|| missing("password"))?))
}

fn busy(_: Busy) -> Problem {
    Problem::new(Code::Unavailable, "Too many people log in at this moment; try again")
}
