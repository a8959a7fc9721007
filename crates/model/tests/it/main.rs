//! The model, checked: exhaustively where it is small, at random where it is not, and with each planted bug.

mod exhaustive;
mod planted;
mod walk;
