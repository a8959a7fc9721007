//! For tests only: the pages in real Chromium, driven as a person does it.
//!
//! A [`Browser`] is a Chromium with a profile of its own, a [`Tab`] a page in it. Whatever the pages complain of, or ask
//! of anybody but their own server, comes out in [`Browser::close`].

mod accessible;
mod browser;
mod complaints;
mod driver;
mod look;
mod tab;

pub use browser::Browser;
pub use look::Look;
pub use tab::{Key, Tab};
