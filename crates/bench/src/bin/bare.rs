//! `flashsale-bare`: the limit. An actix-web handler that parses a purchase and answers with the JSON it was given, and one
//! that answers reads likewise. No gate, no queue, no middleware: what is left is what HTTP costs.
//!
//! `BARE_PURCHASE` and `BARE_READ` are the bodies of the answers.

use std::borrow::Cow;

use actix_web::{App, HttpResponse, HttpServer, web};
use serde::Deserialize;
use serde_json::value::RawValue;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    #[serde(borrow)]
    sale_id: Cow<'a, str>,
    #[serde(borrow)]
    user_id: Cow<'a, str>,
    quantity: Option<u32>,
}

struct Answers {
    purchase: Box<RawValue>,
    read: Box<RawValue>,
}

async fn purchase(body: web::Bytes, answers: web::Data<Answers>) -> HttpResponse {
    match serde_json::from_slice::<Request<'_>>(&body) {
        Ok(request) if !request.sale_id.is_empty() && !request.user_id.is_empty() && request.quantity != Some(0) => {
            HttpResponse::Ok().json(&answers.purchase)
        }
        _ => HttpResponse::BadRequest().finish(),
    }
}

async fn read(answers: web::Data<Answers>) -> HttpResponse {
    HttpResponse::Ok().json(&answers.read)
}

fn answer(variable: &str) -> Box<RawValue> {
    let text = std::env::var(variable).unwrap_or_else(|_| "{}".to_owned());
    RawValue::from_string(text).unwrap_or_else(|error| panic!("{variable} is no JSON: {error}"))
}

#[actix_web::main]
async fn main() -> std::io::Result<()> {
    let answers = web::Data::new(Answers { purchase: answer("BARE_PURCHASE"), read: answer("BARE_READ") });
    let server = HttpServer::new(move || {
        App::new()
            .app_data(answers.clone())
            .route("/api/v1/sale/purchase", web::post().to(purchase))
            .route("/api/v1/sale/{sale_id}/status", web::get().to(read))
            .route("/api/v1/sales", web::get().to(read))
    });
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let server = server.workers(workers).bind(("127.0.0.1", 0))?;
    for address in server.addrs() {
        println!("{{\"message\":\"listening\",\"address\":\"{address}\"}}");
    }
    server.run().await
}
