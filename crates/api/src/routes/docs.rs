//! What this API says of itself: the OpenAPI document, and a page that shows it.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use actix_web::web;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::Value;
use utoipa::OpenApi;

use crate::error::{Code, Problem};
use crate::fixed::Fixed;
use crate::openapi::{self, messages};

/// Every handler of the tables in `routes.rs`: a test holds that none is missing.
#[derive(OpenApi)]
#[openapi(
    info(title = "Flashsale", description = include_str!("../openapi/intro.md")),
    paths(
        super::health::alive,
        super::health::ready,
        super::health::health,
        super::sales::list,
        super::sales::status,
        super::sales::purchase_of,
        super::purchase::purchase,
        super::events::events,
        super::accounts::register,
        super::accounts::login,
        super::admin::reset,
        super::admin::verify,
        super::sales_admin::list,
        super::sales_admin::create,
        super::sales_admin::show,
        super::sales_admin::edit,
        super::sales_admin::pause,
        super::sales_admin::resume,
        super::sales_admin::end,
        super::stats::stats,
        super::reconcile::reconcile,
        super::records::orders,
        super::records::audit,
        super::orders::list,
        super::orders::show,
        super::orders::cancel,
        super::orders::cancel_as_operator,
        super::payments::pay,
        super::payments::webhook,
        super::live::live,
        super::records::workers,
        super::dead_letters::list,
        super::dead_letters::show,
        super::dead_letters::redrive,
        super::dead_letters::discard,
        super::webhooks::list,
        super::webhooks::show,
        super::webhooks::redeliver,
        openapi_document,
        asyncapi_document,
        page,
        messages_page,
        file,
        super::pages::shop,
        super::pages::sale,
        super::pages::admin,
        super::pages::file,
    ),
    tags(
        (name = "Sales", description = "What is for sale, and how it goes."),
        (name = "Purchases", description = "The click."),
        (name = "Orders", description = "What came of it: paid, given up, read."),
        (name = "Payments", description = "What the payment provider reports."),
        (name = "Accounts", description = "Buyers' accounts, where the shop has none of its own."),
        (name = "Operators", description = "Everything that needs the operator's token."),
        (name = "Statistics", description = "What was sold, for operators."),
        (name = "Webhooks", description = "What the shop's back end was told, for operators."),
        (name = "Health", description = "For probes."),
        (name = "Pages", description = "For people."),
        (name = "Documentation", description = "What you are reading."),
    ),
    components(schemas(crate::error::Body<'_>, crate::live::SaleNow<'_>, crate::live::OrderNow)),
)]
struct Annotated;

/// Whatever a page may be made to load, it loads it from here.
const POLICY: &str = "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; base-uri 'none'; \
                      form-action 'self'; frame-ancestors 'none'";

static OPENAPI: LazyLock<Value> = LazyLock::new(|| openapi::finish(&Annotated::openapi()));
static ASYNCAPI: LazyLock<Value> = LazyLock::new(|| messages::document(&OPENAPI));

static OPENAPI_DOCUMENT: LazyLock<Fixed> = LazyLock::new(|| json(&OPENAPI));
static ASYNCAPI_DOCUMENT: LazyLock<Fixed> = LazyLock::new(|| json(&ASYNCAPI));

fn json(document: &Value) -> Fixed {
    Fixed::new("application/json", POLICY, document.to_string())
}

/// What Swagger UI consists of.
static FILES: LazyLock<HashMap<&'static str, Fixed>> = LazyLock::new(|| {
    let kinds = [
        ("swagger-ui.css", "text/css; charset=utf-8"),
        ("swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
        ("favicon-32x32.png", "image/png"),
    ];
    let config = Arc::new(utoipa_swagger_ui::Config::from("/openapi.json"));
    let mut files: HashMap<&str, Fixed> = kinds
        .into_iter()
        .map(|(name, kind)| {
            let file = utoipa_swagger_ui::serve(name, Arc::clone(&config)).ok().flatten().expect("it is compiled in");
            let fixed = match file.gzpipped {
                true => Fixed::of_gzipped(kind, POLICY, &file.bytes),
                false => Fixed::new(kind, POLICY, file.bytes.into_owned()),
            };
            (name, fixed)
        })
        .collect();
    let start = include_str!("../openapi/start.js");
    files.insert("start.js", Fixed::new("text/javascript; charset=utf-8", POLICY, start));
    files
});

const HTML: &str = "text/html; charset=utf-8";
static PAGE: LazyLock<Fixed> = LazyLock::new(|| Fixed::new(HTML, POLICY, include_str!("../openapi/docs.html")));
static MESSAGES: LazyLock<Fixed> = LazyLock::new(|| Fixed::new(HTML, POLICY, messages::page(&ASYNCAPI)));

/// This document.
#[utoipa::path(
    get, path = "/openapi.json", operation_id = "openApiDocument", tag = "Documentation",
    responses(
        (status = 200, description = "OpenAPI 3.1.", body = Object, content_type = "application/json"),
        (status = 304, description = "As the client has it, by its `If-None-Match`."),
    ),
)]
pub(super) async fn openapi_document(request: HttpRequest) -> HttpResponse {
    OPENAPI_DOCUMENT.answer(&request)
}

/// What is said without being asked: live events, webhooks, messages.
#[utoipa::path(
    get, path = "/asyncapi.json", operation_id = "asyncApiDocument", tag = "Documentation",
    responses(
        (status = 200, description = "AsyncAPI 3.0.", body = Object, content_type = "application/json"),
        (status = 304, description = "As the client has it, by its `If-None-Match`."),
    ),
)]
pub(super) async fn asyncapi_document(request: HttpRequest) -> HttpResponse {
    ASYNCAPI_DOCUMENT.answer(&request)
}

/// The document as a page to read and to try.
#[utoipa::path(
    get, path = "/docs", operation_id = "docsPage", tag = "Documentation",
    responses(
        (status = 200, description = "Swagger UI.", body = String, content_type = "text/html"),
        (status = 304, description = "As the client has it, by its `If-None-Match`."),
    ),
)]
pub(super) async fn page(request: HttpRequest) -> HttpResponse {
    PAGE.answer(&request)
}

/// That other document as a page to read.
#[utoipa::path(
    get, path = "/docs/messages", operation_id = "messagesPage", tag = "Documentation",
    responses(
        (status = 200, description = "A page without any script.", body = String, content_type = "text/html"),
        (status = 304, description = "As the client has it, by its `If-None-Match`."),
    ),
)]
pub(super) async fn messages_page(request: HttpRequest) -> HttpResponse {
    MESSAGES.answer(&request)
}

/// What Swagger UI is made of.
#[utoipa::path(
    get, path = "/docs/{file}", operation_id = "docsFile", tag = "Documentation",
    params(("file" = String, Path, description = "Its name.", example = "start.js")),
    responses(
        (status = 200, description = "The file.", content(
            (String = "text/css"), (String = "text/javascript"), (Vec<u8> = "image/png"),
        )),
        (status = 304, description = "As the client has it, by its `If-None-Match`."),
        (status = 404, description = "NO_SUCH_ROUTE"),
    ),
)]
pub(super) async fn file(name: web::Path<String>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let file = FILES.get(name.as_str());
    let file = file.ok_or_else(|| Problem::new(Code::NoSuchRoute, format!("there is no file {name}")))?;
    Ok(file.answer(&request))
}
