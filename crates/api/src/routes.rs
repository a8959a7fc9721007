//! The paths, and which function answers each: two tables. What is registered is what they say, and `flashsale-api
//! routes` prints them, so that tests hold every route to the rules and not only those that somebody remembered.

pub(crate) mod accounts;
mod admin;
mod dead_letters;
mod docs;
mod events;
pub(crate) mod health;
pub(crate) mod live;
mod orders;
pub(crate) mod pages;
mod payments;
pub(crate) mod purchase;
mod reconcile;
mod records;
pub(crate) mod sales;
mod sales_admin;
pub(crate) mod stats;
mod webhooks;

use actix_web::dev::HttpServiceFactory;
use actix_web::http::Method;
use actix_web::middleware::from_fn;
use actix_web::web::{self, ServiceConfig};
use actix_web::{Resource, Route};

use domain::{SaleId, UserId};
use uuid::Uuid;

use crate::deadline::deadline;
use crate::error::Problem;
use crate::guard::operators_only;
use crate::limits::Group::{self, Free, Login, Order, Purchase, Read};
use crate::limits::limited;

/// Everything below this path needs the operator's token, paths that nothing answers included.
pub(crate) const OPERATORS: &str = "/api/v1/admin";
/// The click and the list, which `front` recognises too.
pub(crate) const PURCHASE: &str = "/api/v1/sale/purchase";
pub(crate) const SALES: &str = "/api/v1/sales";
/// Who acts below [`OPERATORS`], in the audit trail: the token names nobody.
const OPERATOR: &str = "operator";

/// A method, a path, the limit it counts under, and the handler.
type OpenRow = (Method, &'static str, Group, fn() -> Route);
/// The same of an operator's route; they are not limited.
type AdminRow = (Method, &'static str, fn() -> Route);

/// What anyone may ask.
const OPEN: &[OpenRow] = &[
    (Method::GET, "/livez", Free, || web::to(health::alive)),
    (Method::GET, "/readyz", Free, || web::to(health::ready)),
    (Method::GET, "/health", Free, || web::to(health::health)),
    (Method::GET, "/", Free, || web::to(pages::shop)),
    (Method::GET, "/sale/{sale_id}", Free, || web::to(pages::sale)),
    (Method::GET, "/admin", Free, || web::to(pages::admin)),
    (Method::GET, "/assets/{file}", Free, || web::to(pages::file)),
    (Method::GET, "/openapi.json", Free, || web::to(docs::openapi_document)),
    (Method::GET, "/asyncapi.json", Free, || web::to(docs::asyncapi_document)),
    (Method::GET, "/docs", Free, || web::to(docs::page)),
    (Method::GET, "/docs/messages", Free, || web::to(docs::messages_page)),
    (Method::GET, "/docs/{file}", Free, || web::to(docs::file)),
    (Method::GET, SALES, Read, || web::to(sales::list)),
    (Method::POST, PURCHASE, Purchase, || web::to(purchase::purchase)),
    (Method::GET, "/api/v1/sale/{sale_id}/status", Read, || web::to(sales::status)),
    (Method::GET, "/api/v1/sale/{sale_id}/events", Read, || web::to(events::events)),
    (Method::GET, "/api/v1/sale/{sale_id}/user/{user_id}/purchase", Read, || web::to(sales::purchase_of)),
    (Method::GET, "/api/v1/orders", Read, || web::to(orders::list)),
    (Method::GET, "/api/v1/orders/{id}", Read, || web::to(orders::show)),
    (Method::POST, "/api/v1/orders/{id}/pay", Order, || web::to(payments::pay)),
    (Method::POST, "/api/v1/orders/{id}/cancel", Order, || web::to(orders::cancel)),
    (Method::POST, "/api/v1/payments/webhook", Free, || web::to(payments::webhook)),
    (Method::POST, "/api/v1/accounts", Login, || web::to(accounts::register)),
    (Method::POST, "/api/v1/accounts/login", Login, || web::to(accounts::login)),
];

/// What operators may do, below [`OPERATORS`]. A row here is protected by being here.
const ADMIN: &[AdminRow] = &[
    (Method::POST, "/reset", || web::to(admin::reset)),
    (Method::GET, "/sales", || web::to(sales_admin::list)),
    (Method::POST, "/sales", || web::to(sales_admin::create)),
    (Method::GET, "/sales/{sale_id}", || web::to(sales_admin::show)),
    (Method::PATCH, "/sales/{sale_id}", || web::to(sales_admin::edit)),
    (Method::POST, "/sales/{sale_id}/pause", || web::to(sales_admin::pause)),
    (Method::POST, "/sales/{sale_id}/resume", || web::to(sales_admin::resume)),
    (Method::POST, "/sales/{sale_id}/end", || web::to(sales_admin::end)),
    (Method::GET, "/sales/{sale_id}/verify", || web::to(admin::verify)),
    (Method::POST, "/sales/{sale_id}/reconcile", || web::to(reconcile::reconcile)),
    (Method::GET, "/sales/{sale_id}/orders", || web::to(records::orders)),
    (Method::GET, "/sales/{sale_id}/audit", || web::to(records::audit)),
    (Method::GET, "/live", || web::to(live::live)),
    (Method::GET, "/workers", || web::to(records::workers)),
    (Method::GET, "/stats", || web::to(stats::stats)),
    (Method::POST, "/orders/{id}/cancel", || web::to(orders::cancel_as_operator)),
    (Method::GET, "/dead-letters", || web::to(dead_letters::list)),
    (Method::GET, "/dead-letters/{id}", || web::to(dead_letters::show)),
    (Method::POST, "/dead-letters/{id}/redrive", || web::to(dead_letters::redrive)),
    (Method::POST, "/dead-letters/{id}/discard", || web::to(dead_letters::discard)),
    (Method::GET, "/webhooks", || web::to(webhooks::list)),
    (Method::GET, "/webhooks/{id}", || web::to(webhooks::show)),
    (Method::POST, "/webhooks/{id}/redeliver", || web::to(webhooks::redeliver)),
];

/// Registers every route.
pub(crate) fn configure(service: &mut ServiceConfig) {
    let mut operators = web::scope(OPERATORS).wrap(from_fn(operators_only));
    for resource in resources(ADMIN.iter().map(|(method, path, route)| (method, *path, route()))) {
        operators = operators.service(resource);
    }
    service.service(operators);
    let open = OPEN.iter().map(|(method, path, group, route)| (method, *path, limited(*group, route())));
    for resource in resources(open) {
        service.service(resource);
    }
}

/// One line for each route: method, whole path, who may call it.
pub(crate) fn listing() -> String {
    let open = OPEN.iter().map(|(method, path, ..)| format!("{method} {path} anyone\n"));
    let admin = ADMIN.iter().map(|(method, path, _)| format!("{method} {OPERATORS}{path} operators\n"));
    open.chain(admin).collect()
}

/// One resource for each path, with all its methods: another method is then a 405 and no 404.
fn resources(
    rows: impl Iterator<Item = (&'static Method, &'static str, Route)>,
) -> impl Iterator<Item = impl HttpServiceFactory + 'static> {
    let mut paths: Vec<(&str, Vec<Route>)> = Vec::new();
    for (method, path, route) in rows {
        let route = route.method(method.clone());
        match paths.iter_mut().find(|(known, _)| *known == path) {
            Some((_, routes)) => routes.push(route),
            None => paths.push((path, vec![route])),
        }
    }
    paths
        .into_iter()
        .map(|(path, routes)| routes.into_iter().fold(web::resource(path), Resource::route).wrap(from_fn(deadline)))
}

/// An id in the usual form only: not in braces, as a URN or without dashes.
fn usual_uuid(field: &str, text: &str) -> Result<Uuid, Problem> {
    let usual = text.len() == uuid::fmt::Hyphenated::LENGTH;
    text.parse().ok().filter(|_| usual).ok_or_else(|| Problem::field(field, &"must be a UUID"))
}

fn sale_id(text: &str) -> Result<SaleId, Problem> {
    usual_uuid("saleId", text).map(SaleId)
}

fn user_id(text: &str) -> Result<UserId, Problem> {
    text.parse().map_err(|invalid| Problem::field("userId", &invalid))
}
