//! The paths, and which function answers each: two tables. What is registered is what they say, and `flashsale-api
//! routes` prints them, so that tests hold every route to the rules and not only those that somebody remembered.

mod admin;
mod dead_letters;
pub(crate) mod health;
mod purchase;
mod sales;

use actix_web::dev::HttpServiceFactory;
use actix_web::http::Method;
use actix_web::middleware::from_fn;
use actix_web::web::{self, ServiceConfig};
use actix_web::{Resource, Route};

use domain::{SaleId, UserId};

use crate::deadline::deadline;
use crate::error::Problem;
use crate::guard::operators_only;

/// Everything below this path needs the operator's token, paths that nothing answers included.
pub(crate) const OPERATORS: &str = "/api/v1/admin";

/// A method, a path and the handler.
type Row = (Method, &'static str, fn() -> Route);

/// What anyone may ask.
const OPEN: &[Row] = &[
    (Method::GET, "/livez", || web::to(health::alive)),
    (Method::GET, "/readyz", || web::to(health::ready)),
    (Method::GET, "/health", || web::to(health::health)),
    (Method::GET, "/api/v1/sales", || web::to(sales::list)),
    (Method::POST, "/api/v1/sale/purchase", || web::to(purchase::purchase)),
    (Method::GET, "/api/v1/sale/{sale_id}/status", || web::to(sales::status)),
    (Method::GET, "/api/v1/sale/{sale_id}/user/{user_id}/purchase", || web::to(sales::purchase_of)),
];

/// What operators may do, below [`OPERATORS`]. A row here is protected by being here.
const ADMIN: &[Row] = &[
    (Method::POST, "/reset", || web::to(admin::reset)),
    (Method::GET, "/sales/{sale_id}/verify", || web::to(admin::verify)),
    (Method::GET, "/dead-letters", || web::to(dead_letters::list)),
    (Method::GET, "/dead-letters/{id}", || web::to(dead_letters::show)),
    (Method::POST, "/dead-letters/{id}/redrive", || web::to(dead_letters::redrive)),
    (Method::POST, "/dead-letters/{id}/discard", || web::to(dead_letters::discard)),
];

/// Registers every route.
pub(crate) fn configure(service: &mut ServiceConfig) {
    let mut operators = web::scope(OPERATORS).wrap(from_fn(operators_only));
    for resource in resources(ADMIN) {
        operators = operators.service(resource);
    }
    service.service(operators);
    for resource in resources(OPEN) {
        service.service(resource);
    }
}

/// One line for each route: method, whole path, who may call it.
pub(crate) fn listing() -> String {
    let open = OPEN.iter().map(|(method, path, _)| format!("{method} {path} anyone\n"));
    let admin = ADMIN.iter().map(|(method, path, _)| format!("{method} {OPERATORS}{path} operators\n"));
    open.chain(admin).collect()
}

/// One resource for each path, with all its methods: another method is then a 405 and no 404.
fn resources(rows: &[Row]) -> impl Iterator<Item = impl HttpServiceFactory + 'static> {
    let is_first = |n: &usize| !rows[..*n].iter().any(|(_, path, _)| *path == rows[*n].1);
    (0..rows.len()).filter(is_first).map(|n| {
        let path = rows[n].1;
        let methods = rows.iter().filter(|row| row.1 == path);
        let add = |resource: Resource, (method, _, route): &Row| resource.route(route().method(method.clone()));
        methods.fold(web::resource(path), add).wrap(from_fn(deadline))
    })
}

/// A sale's id in the usual form only: not in braces, as a URN or without dashes.
fn sale_id(text: &str) -> Result<SaleId, Problem> {
    let usual = text.len() == uuid::fmt::Hyphenated::LENGTH;
    text.parse().ok().filter(|_| usual).ok_or_else(|| Problem::field("saleId", &"must be a UUID"))
}

fn user_id(text: &str) -> Result<UserId, Problem> {
    text.parse().map_err(|invalid| Problem::field("userId", &invalid))
}
