//! The pages for people: the shop, and the operator's. What they are made of lies in `pages/` and is compiled in; they
//! ask the same API as everybody else and may do no more.

use std::collections::HashMap;

use actix_web::web;
use actix_web::{HttpRequest, HttpResponse};
use boot::Settings;
use identity::Mode;
use rust_embed::RustEmbed;
use serde_json::json;

use crate::error::{Code, Problem};
use crate::fixed::Fixed;

const HTML: &str = "text/html; charset=utf-8";
/// The line of a page that is made to say how this API is set up.
const META: &str = r#"<meta name="flashsale" content="{}">"#;

#[derive(RustEmbed)]
#[folder = "pages/"]
struct Files;

/// The pages of this process.
pub(crate) struct Pages {
    shop: Fixed,
    admin: Fixed,
    files: HashMap<String, Fixed>,
}

impl Pages {
    /// The pages, which say how the API is set up.
    ///
    /// # Panics
    /// The binary was built without one of them.
    pub(crate) fn new(settings: &Settings) -> Self {
        let policy = policy(&settings.api.image_origins);
        let text = |name: &str| {
            let file = Files::get(name).unwrap_or_else(|| panic!("{name} is compiled in"));
            String::from_utf8(file.data.into_owned()).unwrap_or_else(|_| panic!("{name} is a text"))
        };
        let page = |name: &str| Fixed::new(HTML, &policy, text(name).replacen(META, &meta(settings), 1));
        let files = Files::iter().filter_map(|name| {
            let kind = kind(&name)?;
            Some((name.to_string(), Fixed::new(kind, &policy, small(&name, text(&name)))))
        });
        Self { shop: page("shop.html"), admin: page("admin.html"), files: files.collect() }
    }
}

/// The content type of a file; `None` of a page, which has a path of its own.
fn kind(name: &str) -> Option<&'static str> {
    match name.rsplit_once('.')?.1 {
        "css" => Some("text/css; charset=utf-8"),
        "js" => Some("text/javascript; charset=utf-8"),
        "svg" => Some("image/svg+xml"),
        "txt" => Some("text/plain; charset=utf-8"),
        _ => None,
    }
}

/// What a browser needs of a file: of a script neither comments nor indentation. A library is served as its package has
/// it. Style sheets stay as they are, because what takes their blanks out takes those within `calc` too.
fn small(name: &str, text: String) -> String {
    match name.rsplit_once('.') {
        Some((ours, "js")) if ours != "uplot" => {
            minifier::js::minify(&text).map(|small| small.to_string()).unwrap_or(text)
        }
        _ => text,
    }
}

/// What a page may do: nothing that it was not made with. Texts from outside are never read as HTML.
fn policy(image_origins: &[String]) -> String {
    let images = image_origins.iter().map(|origin| format!(" {origin}")).collect::<String>();
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:{images}; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    )
}

fn meta(settings: &Settings) -> String {
    let identity = match (settings.auth.mode, settings.auth.accounts) {
        (Mode::Trusted, _) => "trusted",
        (Mode::Jwt, true) => "accounts",
        (Mode::Jwt, false) => "token",
    };
    let origins = &settings.api.image_origins;
    let said = json!({ "identity": identity, "payments": settings.payments.provider, "imageOrigins": origins });
    // Within single quotes only these two mean anything else than themselves.
    let said = said.to_string().replace('&', "&amp;").replace('\'', "&#39;");
    format!("<meta name=\"flashsale\" content='{said}'>")
}

/// The shop: every sale.
#[utoipa::path(
    get, path = "/", operation_id = "shopPage", tag = "Pages",
    responses(
        (status = 200, description = "A page.", body = String, content_type = "text/html"),
        (status = 304, description = "As the client has it, by its `If-None-Match`."),
    ),
)]
pub(super) async fn shop(request: HttpRequest, pages: web::Data<Pages>) -> HttpResponse {
    pages.shop.answer(&request)
}

/// The shop: one sale, and the button that buys.
#[utoipa::path(
    get, path = "/sale/{saleId}", operation_id = "salePage", tag = "Pages",
    params(("saleId" = String, Path, description = "The page says so where there is no such sale.")),
    responses(
        (status = 200, description = "A page.", body = String, content_type = "text/html"),
        (status = 304, description = "As the client has it, by its `If-None-Match`."),
    ),
)]
pub(super) async fn sale(request: HttpRequest, pages: web::Data<Pages>) -> HttpResponse {
    pages.shop.answer(&request)
}

/// The operator's page, which asks for the operator's token.
#[utoipa::path(
    get, path = "/admin", operation_id = "operatorsPage", tag = "Pages",
    responses(
        (status = 200, description = "A page.", body = String, content_type = "text/html"),
        (status = 304, description = "As the client has it, by its `If-None-Match`."),
    ),
)]
pub(super) async fn admin(request: HttpRequest, pages: web::Data<Pages>) -> HttpResponse {
    pages.admin.answer(&request)
}

/// What the pages are made of.
#[utoipa::path(
    get, path = "/assets/{file}", operation_id = "pagesFile", tag = "Pages",
    params(("file" = String, Path, description = "Its name.", example = "flashsale.js")),
    responses(
        (status = 200, description = "The file.", content(
            (String = "text/css"), (String = "text/javascript"), (String = "image/svg+xml"), (String = "text/plain"),
        )),
        (status = 304, description = "As the client has it, by its `If-None-Match`."),
        (status = 404, description = "NO_SUCH_ROUTE"),
    ),
)]
pub(super) async fn file(
    name: web::Path<String>,
    request: HttpRequest,
    pages: web::Data<Pages>,
) -> Result<HttpResponse, Problem> {
    let file = pages.files.get(name.as_str());
    let file = file.ok_or_else(|| Problem::new(Code::NoSuchRoute, format!("there is no file {name}")))?;
    Ok(file.answer(&request))
}
