//! The rules of a flash sale, without I/O: identities, quantities, terms, order states and their legal moves,
//! the outcome of an attempt and of a persist.
//!
//! Nothing here reads a clock, draws a random number or talks to a server: those come in as arguments.

mod ids;
mod installation;
mod order;
mod payment;
mod refusal;
mod reservation;
mod sale;
mod terms;

pub use ids::{Epoch, InvalidUserId, ReservationId, SaleId, UserId};
pub use installation::{Installation, Scripts, ServerIdentity};
pub use order::{OrderState, UnknownOrderState};
pub use payment::{PaymentState, UnknownPaymentState};
pub use refusal::Refusal;
pub use reservation::{Applied, InvalidQuantity, Quantity, Reservation, ReservationBatch};
pub use sale::{Halt, Rules, SaleState, UnknownHalt, UnknownSaleState, Window};
pub use terms::{Currency, InvalidTerms, Terms};
