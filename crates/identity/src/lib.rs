//! Who a buyer is: tokens that are verified or made, the keys they are signed with, and the passwords of the built-in
//! accounts. Knows neither HTTP's answers nor a table.

mod config;
mod email;
mod keys;
mod mint;
mod passwords;
mod verifier;

pub use config::{Algorithm, Config, InvalidConfig, Mode};
pub use email::{Email, InvalidEmail};
pub use keys::InvalidKeys;
pub use mint::{Mint, Minted};
pub use passwords::{Busy, InvalidPassword, Password, PasswordHash, Passwords};
pub use verifier::{Refusal, Verifier};
