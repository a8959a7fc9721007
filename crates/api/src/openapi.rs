//! The OpenAPI document: what `#[utoipa::path]` says of each handler, completed by what all of them have in common.
//!
//! A handler names the problems it may answer by their codes: `(status = 404, description = "SALE_NOT_FOUND")`. What
//! a client may rely on for such an answer (media type, schema, headers, the code's meaning) is added here.

pub(crate) mod messages;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::error::Code;
use crate::routes::OPERATORS;

/// The document of these annotations, finished.
pub(crate) fn finish(annotated: &utoipa::openapi::OpenApi) -> Value {
    let mut document = serde_json::to_value(annotated).expect("a document of texts and numbers");
    for (path, methods) in object(&mut document["paths"]) {
        for operation in object(methods).values_mut().filter(|operation| operation.is_object()) {
            finish_operation(path, operation);
        }
    }
    forget_empty_defaults(&mut document["components"]["schemas"]);
    document["components"]["securitySchemes"] = json!({
        "operator": { "type": "http", "scheme": "bearer", "description": "The operator's token." },
        "buyer": {
            "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
            "description": "The buyer's token, where this API is told to verify buyers (auth.mode = \"jwt\").",
        },
    });
    document
}

fn finish_operation(path: &str, operation: &mut Value) {
    let mut problems: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in given_to_all(path, operation) {
        problems.entry(code.status().as_u16()).or_default().push(code);
    }
    if path.starts_with(OPERATORS) {
        operation["security"] = json!([{ "operator": [] }]);
    }
    let answers = object(&mut operation["responses"]);
    for (status, answer) in answers.iter_mut() {
        let codes = codes(answer["description"].as_str().unwrap_or_default());
        if !codes.is_empty() {
            answer["description"] = "".into();
            problems.entry(status.parse().unwrap_or_default()).or_default().extend(codes);
        }
    }
    for (status, mut codes) in problems {
        codes.sort_by_key(|code| code.as_str());
        codes.dedup();
        add_problems(answers.entry(status.to_string()).or_insert_with(|| json!({ "description": "" })), &codes);
    }
    for (status, answer) in answers {
        add_headers(status, answer);
    }
}

/// The problems that need no mention at each handler.
fn given_to_all(path: &str, operation: &Value) -> Vec<Code> {
    let mut codes = Vec::new();
    if path.starts_with(OPERATORS) {
        codes.push(Code::Unauthorized);
    }
    if operation.get("requestBody").is_some() {
        codes.extend([Code::InvalidBody, Code::RequestTimeout, Code::BodyTooLarge]);
    }
    if path.starts_with("/api/") {
        codes.extend([Code::Internal, Code::Unavailable]);
    }
    if path.starts_with("/api/") && !path.starts_with(OPERATORS) {
        codes.push(Code::RateLimited);
    }
    codes
}

/// The codes that an answer's description lists; none where it is a text of another kind.
fn codes(description: &str) -> Vec<Code> {
    let find = |word: &str| Code::ALL.iter().copied().find(|code| code.as_str() == word);
    description.split(", ").map(find).collect::<Option<_>>().unwrap_or_default()
}

/// Adds problem documents of these codes to what is said of an answer.
fn add_problems(answer: &mut Value, codes: &[Code]) {
    let meanings = codes.iter().map(|code| format!("`{}`: {}.", code.as_str(), code.title()));
    let own = answer["description"].as_str().filter(|own| !own.is_empty()).map(|own| own.trim_end().to_owned());
    answer["description"] = own.into_iter().chain(meanings).collect::<Vec<_>>().join("\n\n").into();
    let names: Vec<&str> = codes.iter().map(|code| code.as_str()).collect();
    answer["content"]["application/problem+json"] = json!({ "schema": {
        "allOf": [
            { "$ref": "#/components/schemas/Problem" },
            { "properties": { "code": { "enum": names } } },
        ],
    } });
}

/// What an answer of this status carries in its head.
fn add_headers(status: &str, answer: &mut Value) {
    let header =
        |description: &str, schema: Value| json!({ "description": description, "required": true, "schema": schema });
    let text = |description: &str| header(description, json!({ "type": "string" }));
    let headers = &mut answer["headers"];
    headers["X-Request-Id"] = text("The request's own id where it sent one, else one of ours.");
    match status {
        "401" => headers["WWW-Authenticate"] = text("`Bearer`."),
        "429" => {
            headers["Retry-After"] = header("Seconds to wait.", json!({ "type": "integer", "minimum": 1 }));
            headers["RateLimit-Policy"] = text("The limit that was reached (draft-ietf-httpapi-ratelimit-headers).");
            headers["RateLimit"] = text("What is left of it: nothing, and for how many seconds.");
        }
        "503" => {
            headers["Retry-After"] = header("Seconds to wait.", json!({ "type": "integer", "minimum": 1 }));
        }
        _ => {}
    }
}

/// A field that `serde` fills in where it is missing is said to be null by default. It is not: it may be missing.
fn forget_empty_defaults(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            fields.retain(|name, value| name != "default" || !value.is_null());
            fields.values_mut().for_each(forget_empty_defaults);
        }
        Value::Array(all) => all.iter_mut().for_each(forget_empty_defaults),
        _ => {}
    }
}

fn object(value: &mut Value) -> &mut Map<String, Value> {
    value.as_object_mut().expect("an object of the document")
}
