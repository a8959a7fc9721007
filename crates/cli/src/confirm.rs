//! Asks whoever sits there before something is done that cannot be undone.

use std::io::{IsTerminal, Write, stderr, stdin};

use crate::error::Error;
use crate::output::printable;

/// Says what will happen and has `word` typed, unless `yes`.
///
/// # Errors
/// [`Error::Usage`] where nobody sits there, [`Error::Declined`] where something else was typed.
pub(crate) fn typed(what: &str, word: &str, yes: bool) -> Result<(), Error> {
    if yes {
        return Ok(());
    }
    if !stdin().is_terminal() {
        return Err(Error::Usage("nobody is here to be asked: say --yes to do it without asking".to_owned()));
    }
    let word = printable(word);
    let _ = write!(stderr(), "{}\nType {word} to go on: ", printable(what));
    let mut answer = String::new();
    let _ = stdin().read_line(&mut answer);
    if answer.trim() == word.trim() { Ok(()) } else { Err(Error::Declined) }
}
