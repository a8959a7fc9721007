//! Passwords: argon2id, never more of it at a time than the machine can spare.

use std::sync::Arc;
use std::time::Duration;

use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

/// OWASP's first choice among the equally strong ones with little memory: 19 MiB, two passes, one lane.
/// <https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html#argon2id>
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// How long a password waits for its turn.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// A password of 8 to 128 characters of any kind (NIST SP 800-63B, section 3.1.1.2: no rules of composition).
pub struct Password(SecretString);

/// Why a text is no password.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidPassword {
    /// Fewer than [`Password::FEWEST`] characters.
    #[error("must have at least {} characters", Password::FEWEST)]
    TooShort,
    /// More than [`Password::MOST`] characters.
    #[error("must have at most {} characters", Password::MOST)]
    TooLong,
}

/// A password's hash with its salt and parameters, in PHC's string format.
#[derive(Clone, Debug)]
pub struct PasswordHash(pub SecretString);

/// Too many passwords wait for their turn.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("too many passwords wait to be checked")]
pub struct Busy;

/// Hashes and checks passwords, on threads of their own and on half of the cores at most: whoever storms the login
/// takes nothing from the sale. Cheap to clone; all clones take turns with each other.
#[derive(Clone)]
pub struct Passwords {
    turns: Arc<Semaphore>,
    /// The hash of a password that nobody has.
    decoy: PasswordHash,
}

impl Password {
    /// The fewest characters.
    pub const FEWEST: usize = 8;
    /// The most characters.
    pub const MOST: usize = 128;

    /// The password in this text, as it is.
    ///
    /// # Errors
    /// It is too short or too long.
    pub fn read(text: &str) -> Result<Self, InvalidPassword> {
        match text.chars().count() {
            0..Self::FEWEST => Err(InvalidPassword::TooShort),
            Self::FEWEST..=Self::MOST => Ok(Self(text.into())),
            _ => Err(InvalidPassword::TooLong),
        }
    }
}

impl Passwords {
    /// For a machine with so many cores. Hashes once, for the decoy.
    #[must_use]
    pub fn new(cores: usize) -> Self {
        let nobody = Password(Uuid::new_v4().to_string().into());
        Self { turns: Arc::new(Semaphore::new((cores / 2).max(1))), decoy: hash(&nobody) }
    }

    /// The password's hash, with a salt of its own.
    ///
    /// # Errors
    /// [`Busy`]
    pub async fn hash(&self, password: Password) -> Result<PasswordHash, Busy> {
        self.in_turn(move || hash(&password)).await
    }

    /// Whether the password is the one that was hashed. Takes as long where there is no hash: nobody learns from the
    /// time it takes whether an account exists.
    ///
    /// # Errors
    /// [`Busy`]
    pub async fn is_right(&self, password: Password, hash: Option<PasswordHash>) -> Result<bool, Busy> {
        let exists = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.decoy.clone());
        let matches = self.in_turn(move || matches(&password, &hash)).await?;
        Ok(matches && exists)
    }

    /// The permit goes with the work: a caller who no longer waits has not made it any less.
    async fn in_turn<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Busy> {
        let turn = tokio::time::timeout(LONGEST_WAIT, Arc::clone(&self.turns).acquire_owned());
        let turn: OwnedSemaphorePermit = turn.await.map_err(|_| Busy)?.map_err(|_| Busy)?;
        let done = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(turn);
            done
        });
        // Only a runtime that is shutting down does not do the work.
        done.await.map_err(|_| Busy)
    }
}

fn argon2() -> Argon2<'static> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).expect("parameters that argon2 allows");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

fn hash(password: &Password) -> PasswordHash {
    // 122 random bits: a salt needs to be unlike others, not secret.
    let salt = Uuid::new_v4().into_bytes();
    let hash = argon2().hash_password_with_salt(password.0.expose_secret().as_bytes(), &salt);
    PasswordHash(hash.expect("a salt of 16 bytes fits").to_string().into())
}

/// A hash that cannot be read is nobody's.
fn matches(password: &Password, hash: &PasswordHash) -> bool {
    argon2().verify_password(password.0.expose_secret().as_bytes(), hash.0.expose_secret()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(text: &str) -> Password {
        Password::read(text).unwrap()
    }

    #[test]
    fn a_password_has_8_to_128_characters_of_any_kind() {
        assert_eq!(Password::read("seven c").err(), Some(InvalidPassword::TooShort));
        assert!(Password::read("eight ch").is_ok());
        assert!(Password::read(&"é".repeat(128)).is_ok());
        assert_eq!(Password::read(&"é".repeat(129)).err(), Some(InvalidPassword::TooLong));
    }

    #[tokio::test]
    async fn only_the_password_that_was_hashed_is_right() {
        let passwords = Passwords::new(2);
        let hash = passwords.hash(password("correct horse")).await.unwrap();
        let again = passwords.hash(password("correct horse")).await.unwrap();
        assert_ne!(hash.0.expose_secret(), again.0.expose_secret(), "each has a salt of its own");
        assert!(hash.0.expose_secret().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", hash.0.expose_secret());
        assert!(!format!("{hash:?}").contains("argon2"), "a hash does not show");
        for (given, hash, right) in [
            ("correct horse", Some(hash.clone()), true),
            ("Correct horse", Some(hash.clone()), false),
            ("correct horse ", Some(hash), false),
            ("correct horse", Some(PasswordHash("no hash".into())), false),
            ("correct horse", None, false),
        ] {
            assert_eq!(passwords.is_right(password(given), hash).await, Ok(right), "{given}");
        }
    }

    #[tokio::test]
    async fn the_decoy_costs_what_a_real_hash_costs() {
        let passwords = Passwords::new(2);
        let real = passwords.hash(password("correct horse")).await.unwrap();
        let parameters = |hash: &PasswordHash| hash.0.expose_secret().rsplitn(3, '$').nth(2).map(str::to_owned);
        assert_eq!(parameters(&passwords.decoy), parameters(&real));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_longer_than_two_seconds_is_told_that_it_is_busy() {
        let passwords = Passwords::new(1);
        let turn = Arc::clone(&passwords.turns).acquire_owned().await.unwrap();
        assert_eq!(passwords.is_right(password("correct horse"), None).await, Err(Busy));
        drop(turn);
        assert_eq!(passwords.is_right(password("correct horse"), None).await, Ok(false));
    }
}
