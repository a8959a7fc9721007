//! What a developer types: `cargo xtask up`, `down`, `status`, `env`, `test`, `soak`, `k6`, `flashsale`,
//! `pictures`, `ci`.
//!
//! One module per task, and what they stand on: the [`home`] folder with its locks and pid files, the [`stack`] with
//! its ports and secrets, and the one table of our [`roles`].

pub mod bench;
pub mod ci;
pub mod down;
pub mod env;
pub mod flashsale;
pub mod home;
mod http;
mod install;
mod interrupt;
pub mod k6;
pub mod pictures;
mod progress;
mod python;
pub mod roles;
mod scratch;
pub mod soak;
pub mod stack;
pub mod status;
pub mod test;
pub mod up;
pub mod workspace;

pub use progress::note;
