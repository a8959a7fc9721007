//! The AsyncAPI document: what is said without being asked. Written by hand, but for the schemas that the OpenAPI
//! document has anyway; and a page that shows it.

use std::fmt::Write;

use serde_json::Value;

/// What live events carry, described where they are made.
const FROM_OPENAPI: [&str; 2] = ["SaleNow", "OrderNow"];
const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}\
    table{border-collapse:collapse;width:100%;margin:1rem 0}td,th{border:1px solid #ccc;padding:.3rem .6rem;\
    text-align:left;vertical-align:top}th{background:#f4f4f4}code{background:#f4f4f4;padding:0 .2rem}\
    h2{border-top:1px solid #ccc;padding-top:1.5rem;margin-top:2.5rem}";

/// The document, with the schemas it shares with the OpenAPI document.
pub(crate) fn document(openapi: &Value) -> Value {
    let mut document: Value = serde_json::from_str(include_str!("asyncapi.json")).expect("a test has read it");
    for name in FROM_OPENAPI {
        document["components"]["schemas"][name] = openapi["components"]["schemas"][name].clone();
    }
    document
}

/// The document for people.
pub(crate) fn page(document: &Value) -> String {
    let info = &document["info"];
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n<p>{description}</p>\n\
         <p>For programs: <a href=\"/asyncapi.json\">/asyncapi.json</a> (AsyncAPI {version}). \
         Requests and answers: <a href=\"/docs\">/docs</a>.</p>\n",
        title = text(&info["title"]),
        description = text(&info["description"]),
        version = text(&document["asyncapi"]),
    );
    for channel in document["channels"].as_object().into_iter().flat_map(serde_json::Map::values) {
        let (title, address) = (text(&channel["title"]), text(&channel["address"]));
        let _ =
            write!(page, "<h2>{title}</h2>\n<p><code>{address}</code></p>\n<p>{}</p>\n", text(&channel["description"]));
        for message in channel["messages"].as_object().into_iter().flat_map(serde_json::Map::values) {
            show_message(&mut page, document, resolved(document, message));
        }
    }
    page.push_str("</body>\n</html>\n");
    page
}

fn show_message(page: &mut String, document: &Value, message: &Value) {
    let _ = writeln!(page, "<h3>{}: <code>{}</code></h3>", text(&message["title"]), text(&message["name"]));
    for (part, heading) in [("headers", "Header"), ("payload", "Field")] {
        let schema = resolved(document, &message[part]);
        if schema.is_null() {
            continue;
        }
        let _ = write!(
            page,
            "<p>{}</p>\n<table>\n<tr><th>{heading}</th><th>Type</th><th>What it is</th></tr>\n",
            text(&schema["description"])
        );
        show_fields(page, document, schema, "");
        page.push_str("</table>\n");
    }
}

/// A row for each field of an object, and for those of the objects in it.
fn show_fields(page: &mut String, document: &Value, schema: &Value, within: &str) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let field = resolved(document, field);
        let path = format!("{within}{name}");
        let required = schema["required"].as_array().is_some_and(|required| required.iter().any(|one| one == name));
        let _ = writeln!(
            page,
            "<tr><td><code>{}</code></td><td>{}{}</td><td>{}</td></tr>",
            escaped(&path),
            kind(field),
            if required { "" } else { ", may be missing" },
            what(field),
        );
        show_fields(page, document, field, &format!("{path}."));
        show_fields(page, document, resolved(document, &field["items"]), &format!("{path}[]."));
    }
}

/// A field's type, as far as it can be said in a few words.
fn kind(field: &Value) -> String {
    let name = |kind: &Value| kind.as_str().unwrap_or_default().to_owned();
    let kind = match &field["type"] {
        Value::Array(kinds) => kinds.iter().map(name).collect::<Vec<_>>().join(" or "),
        Value::Null => field["const"].to_string(),
        kind => name(kind),
    };
    match field["format"].as_str() {
        Some(format) => escaped(&format!("{kind} ({format})")),
        None => escaped(&kind),
    }
}

fn what(field: &Value) -> String {
    let values = field["enum"].as_array().into_iter().flatten();
    let values: Vec<String> = values.map(|value| format!("<code>{}</code>", text(value))).collect();
    [text(&field["description"]), values.join(" ")].join(" ").trim().to_owned()
}

/// The schema or message itself, where `value` refers to one of the document's.
fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    let target = value["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
    target.and_then(|pointer| document.pointer(pointer)).unwrap_or(value)
}

/// A text of the document for HTML; what stands in backquotes is code.
fn text(value: &Value) -> String {
    let escaped = escaped(value.as_str().unwrap_or_default());
    let parts = escaped.split('`').enumerate();
    parts.map(|(n, part)| if n % 2 == 0 { part.to_owned() } else { format!("<code>{part}</code>") }).collect()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_shows_each_field_of_each_message_and_nothing_of_it_is_markup() {
        let page = page(&document(&serde_json::json!({})));
        for part in [
            "<h2>Webhooks</h2>",
            "<td><code>webhook-signature</code></td>",
            "<td><code>data.holdUntil</code></td><td>string (date-time), may be missing</td>",
            "<td><code>reservations[].userId</code></td>",
            "<code>order.refunded</code>",
            "<code>&lt;webhook-id&gt;.&lt;webhook-timestamp&gt;.&lt;body&gt;</code>",
        ] {
            assert!(page.contains(part), "{part}");
        }
        assert!(!page.contains('`') && !page.contains("http"), "whole, and from nowhere else");
    }
}
