//! For tests only: what integration tests of several crates need to run against real servers.

mod client;
mod crowd;
pub mod database;
mod history;
mod host;
mod issuer;
mod judge;
mod load;
mod operator;
mod postman;
mod process;
mod proxy;
mod receiver;
mod scene;
mod stack;
mod stripe;
mod wait;

pub use client::{ADMIN_TOKEN, Answer, Client, WEBHOOK_SECRET};
pub use crowd::{Told, buy_one_by_one, rush};
pub use history::{Attempt, History, Outcome};
pub use host::Host;
pub use issuer::{Issuer, KeyServer, TOKEN_SECRET, encoded, jwks};
pub use judge::Judgement;
pub use load::{HUNG_AFTER, Load, Pace};
pub use operator::{Operator, Wishes};
pub use postman::{Post, Postman};
pub use process::Process;
pub use proxy::{Proxy, Wire};
pub use receiver::{Delivery, Manner, Receiver};
pub use scene::{Cast, Replica, Scene, Wires};
pub use stack::{Api, Own, REDIS_PASSWORD, Stack, new_sale};
pub use stripe::{Intent, Stripe, StripeEvent, Weather};
pub use wait::until;
