//! The OpenAPI document says what the API does: the same routes, and every answer as described.

mod day;

use std::collections::BTreeSet;
use std::sync::Mutex;

use reqwest::Method;
use serde_json::{Value, json};
use testkit::{Answer, Client, Stack};

use crate::fixture::assert_problem;
use crate::routes::listed;

const ERRORS: &str = include_str!("../../../../docs/ERRORS.md");

/// The document, and which of its operations were held against an answer.
pub(crate) struct Document {
    pub(crate) document: Value,
    /// Schemas that allow no field which they do not name.
    closed: Value,
    seen: Mutex<BTreeSet<String>>,
}

impl Document {
    pub(crate) async fn of(client: &Client) -> Self {
        let document = client.get("/openapi.json").await.body;
        let mut closed = document["components"].clone();
        close(&mut closed);
        Self { document, closed, seen: Mutex::default() }
    }

    /// Every operation: method, path, and what is said of it.
    pub(crate) fn operations(&self) -> impl Iterator<Item = (Method, &str, &Value)> {
        let paths = self.document["paths"].as_object().expect("paths").iter();
        paths.flat_map(|(path, methods)| {
            let methods = methods.as_object().expect("methods").iter();
            methods.map(|(method, said)| (method.to_uppercase().parse().unwrap(), path.as_str(), said))
        })
    }

    /// Holds an answer against what the document says of `operation`, such as `GET /livez`.
    pub(crate) fn describes(&self, operation: &str, answer: &Answer) {
        let (method, path) = operation.split_once(' ').expect("a method and a path");
        let said = &self.document["paths"][path][method.to_lowercase()];
        let said = &said["responses"][answer.status.as_str()];
        assert!(said.is_object(), "{operation}: no word of {answer:?}");
        for (name, header) in said["headers"].as_object().into_iter().flatten() {
            let required = header["required"] == true;
            assert!(!required || answer.headers.contains_key(name.as_str()), "{operation}: no {name} in {answer:?}");
        }
        if let Some(kinds) = said["content"].as_object() {
            let kind = answer.headers["content-type"].to_str().unwrap();
            let kind = kind.split(';').next().unwrap();
            let said = kinds.get(kind).unwrap_or_else(|| panic!("{operation}: no word of {kind}: {answer:?}"));
            if kind.ends_with("json") {
                self.holds(&said["schema"], &answer.body, operation);
            }
        }
        self.seen.lock().unwrap().insert(operation.to_owned());
    }

    fn holds(&self, schema: &Value, body: &Value, operation: &str) {
        let mut schema = json!({ "allOf": [schema], "components": self.closed });
        close(&mut schema["allOf"]);
        let validator = jsonschema::options().should_validate_formats(true).build(&schema).expect("a schema");
        let errors = validator.iter_errors(body).map(|error| format!("{error} at {}", error.instance_path()));
        let errors: Vec<String> = errors.collect();
        assert!(errors.is_empty(), "{operation}: {errors:#?}\n{body:#}");
    }
}

/// Forbids fields that a schema does not name: an answer may have none that nobody told of.
pub(crate) fn close(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if fields.get("type").is_some_and(|kind| kind == "object") && fields.contains_key("properties") {
                fields.entry("additionalProperties").or_insert(json!(false));
            }
            fields.values_mut().for_each(close);
        }
        Value::Array(all) => all.iter_mut().for_each(close),
        _ => {}
    }
}

#[tokio::test]
async fn every_route_is_documented_and_no_other() {
    let stack = Stack::new().await;
    let api = stack.listening_api(&[]).await;
    let document = Document::of(&api.client).await;
    let documented: BTreeSet<String> =
        document.operations().map(|(method, path, _)| format!("{method} {}", without_names(path))).collect();
    let answered: BTreeSet<String> =
        listed(&stack).await.iter().map(|route| format!("{} {}", route.method, without_names(&route.path))).collect();
    assert_eq!(documented, answered);
    drop(api);
    stack.close().await;
}

/// A path with `{}` where something is filled in: what that is called is nobody's business but the document's.
fn without_names(path: &str) -> String {
    let part = |part: &str| if part.starts_with('{') { "{}".to_owned() } else { part.to_owned() };
    path.split('/').map(part).collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn every_operation_says_who_may_ask_and_what_may_go_wrong() {
    let stack = Stack::new().await;
    let api = stack.listening_api(&[]).await;
    let document = Document::of(&api.client).await;
    let mut ids = BTreeSet::new();
    for (method, path, said) in document.operations() {
        let operation = format!("{method} {path}");
        assert!(ids.insert(said["operationId"].to_string()), "{operation}: its id is another's too");
        assert!(
            said["summary"].as_str().is_some_and(|text| (8..90).contains(&text.len())),
            "{operation}: {}",
            said["summary"]
        );
        assert_eq!(said["tags"].as_array().map(Vec::len), Some(1), "{operation}");
        let tags = document.document["tags"].as_array().unwrap();
        assert!(tags.iter().any(|tag| tag["name"] == said["tags"][0]), "{operation}: nothing is said of its tag");
        let for_operators = said["security"] == json!([{ "operator": [] }]);
        assert_eq!(for_operators, path.starts_with("/api/v1/admin/"), "{operation}");
        for name in path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
            let known = said["parameters"].as_array().into_iter().flatten().any(|one| one["name"] == name);
            assert!(known, "{operation}: nothing is said of {name}");
            assert!(!name.contains('_'), "{operation}: names are in camelCase");
        }
        for (status, answer) in said["responses"].as_object().unwrap() {
            let bodies = answer["content"].as_object().map_or(0, serde_json::Map::len);
            assert!(bodies > 0 || ["204", "304"].contains(&status.as_str()), "{operation}: {status}: {answer:#}");
            let problem = &answer["content"]["application/problem+json"]["schema"]["allOf"];
            for code in problem[1]["properties"]["code"]["enum"].as_array().into_iter().flatten() {
                let row = format!("| `{}` | {status} |", code.as_str().unwrap());
                assert!(ERRORS.contains(&row), "{operation}: {code} is not answered with {status}");
            }
        }
    }
    drop(api);
    stack.close().await;
}

#[tokio::test]
async fn what_is_served_for_people_and_programs_is_told_to_be_theirs_and_fetched_once() {
    let stack = Stack::new().await;
    let api = stack.listening_api(&[]).await;
    for (path, kind) in [
        ("/openapi.json", "application/json"),
        ("/asyncapi.json", "application/json"),
        ("/docs/messages", "text/html; charset=utf-8"),
        ("/docs", "text/html; charset=utf-8"),
        ("/docs/swagger-ui.css", "text/css; charset=utf-8"),
        ("/docs/swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
        ("/docs/start.js", "text/javascript; charset=utf-8"),
        ("/docs/favicon-32x32.png", "image/png"),
    ] {
        let request = api.client.request(Method::GET, path).send().await.unwrap();
        assert_eq!((request.status().as_u16(), &request.headers()["content-type"]), (200, &kind.parse().unwrap()));
        assert_eq!(request.headers()["cache-control"], "no-cache", "{path}");
        let policy = request.headers()["content-security-policy"].to_str().unwrap().to_owned();
        assert!(policy.starts_with("default-src 'self'; ") && !policy.contains("http"), "{path}: {policy}");
        let tag = request.headers()["etag"].clone();
        let gzipped = request.headers().get("content-encoding").is_some_and(|encoding| encoding == "gzip");
        let bytes = request.bytes().await.unwrap();
        assert!(!bytes.is_empty() && gzipped == bytes.starts_with(&[0x1f, 0x8b]), "{path}");
        if kind.starts_with("text/html") {
            let page = String::from_utf8(bytes.to_vec()).unwrap();
            assert!(!page.contains("//"), "{path}: it loads nothing from elsewhere: {page}");
        }
        let again = api.client.request(Method::GET, path).header("if-none-match", &tag);
        let again = api.client.send(again).await;
        assert_eq!((again.status.as_u16(), &again.headers["etag"]), (304, &tag), "{path}");
        let other = api.client.request(Method::GET, path).header("if-none-match", "\"another\"");
        assert_eq!(api.client.send(other).await.status, 200, "{path}");
    }
    for path in ["/docs/", "/docs/nothing.js", "/docs/..%2fopenapi.json", "/docs/index.html"] {
        assert_problem(&api.client.get(path).await, 404, "NO_SUCH_ROUTE");
    }
    drop(api);
    stack.close().await;
}
