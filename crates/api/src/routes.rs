//! The paths, and which function answers each.

mod admin;
pub(crate) mod health;
mod purchase;
mod sales;

use actix_web::middleware::from_fn;
use actix_web::web::{self, ServiceConfig};

use domain::{SaleId, UserId};

use crate::error::Problem;
use crate::guard::operators_only;

/// Registers every route.
pub(crate) fn configure(service: &mut ServiceConfig) {
    let path = web::resource::<&str>;
    service
        .service(path("/livez").route(web::get().to(health::alive)))
        .service(path("/readyz").route(web::get().to(health::ready)))
        .service(path("/health").route(web::get().to(health::health)))
        .service(
            // Denies by default: whatever is added below needs the token.
            web::scope("/api/v1/admin")
                .wrap(from_fn(operators_only))
                .service(path("/reset").route(web::post().to(admin::reset)))
                .service(path("/sales/{sale_id}/verify").route(web::get().to(admin::verify))),
        )
        .service(
            web::scope("/api/v1")
                .service(path("/sales").route(web::get().to(sales::list)))
                .service(path("/sale/purchase").route(web::post().to(purchase::purchase)))
                .service(path("/sale/{sale_id}/status").route(web::get().to(sales::status)))
                .service(path("/sale/{sale_id}/user/{user_id}/purchase").route(web::get().to(sales::purchase_of))),
        );
}

/// A sale's id in the usual form only: not in braces, as a URN or without dashes.
fn sale_id(text: &str) -> Result<SaleId, Problem> {
    let usual = text.len() == uuid::fmt::Hyphenated::LENGTH;
    text.parse().ok().filter(|_| usual).ok_or_else(|| Problem::field("saleId", &"must be a UUID"))
}

fn user_id(text: &str) -> Result<UserId, Problem> {
    text.parse().map_err(|invalid| Problem::field("userId", &invalid))
}
