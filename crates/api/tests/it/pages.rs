//! The pages as files: what is served, how, and how little of it there is. What they do is tried in a browser.

use std::collections::BTreeMap;
use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};
use testkit::{Client, Stack};

/// All that a buyer's browser loads: small enough for a slow phone.
const SHOP_BYTES: usize = 60_000;

/// What the pages are made of, by name.
fn files() -> BTreeMap<String, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("pages");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap());
    files.map(|file| (file.file_name().into_string().unwrap(), std::fs::read_to_string(file.path()).unwrap())).collect()
}

/// Where a file is served.
fn path(name: &str) -> String {
    match name {
        "shop.html" => "/".to_owned(),
        "admin.html" => "/admin".to_owned(),
        name => format!("/assets/{name}"),
    }
}

async fn get(client: &Client, path: &str, header: (&str, &str)) -> reqwest::Response {
    client.request(Method::GET, path).header(header.0, header.1).send().await.expect("an answer")
}

#[tokio::test]
async fn every_file_is_served_once_and_again_only_if_it_has_changed() {
    let stack = Stack::new().await;
    let api = stack.listening_api(&[]).await;
    for (name, text) in files() {
        let path = path(&name);
        let plain = get(&api.client, &path, ("accept", "*/*")).await;
        assert_eq!(plain.status(), 200, "{name}");
        let tag = plain.headers()["etag"].to_str().unwrap().to_owned();
        assert_eq!(plain.headers()["cache-control"], "no-cache", "{name}");
        assert_eq!(plain.headers()["x-content-type-options"], "nosniff", "{name}");
        let kind = plain.headers()["content-type"].to_str().unwrap().to_owned();
        let ending = name.rsplit_once('.').unwrap().1;
        let expected = BTreeMap::from([
            ("html", "text/html; charset=utf-8"),
            ("css", "text/css; charset=utf-8"),
            ("js", "text/javascript; charset=utf-8"),
            ("svg", "image/svg+xml"),
            ("txt", "text/plain; charset=utf-8"),
        ]);
        assert_eq!(kind, expected[ending], "{name}");
        let served = plain.text().await.unwrap();
        if name.starts_with("uplot") || ["svg", "txt", "css"].contains(&ending) {
            assert_eq!(served, text, "{name}");
        }
        let again = get(&api.client, &path, ("if-none-match", &tag)).await;
        assert_eq!((again.status().as_u16(), again.text().await.unwrap().len()), (304, 0), "{name}");
        let other = get(&api.client, &path, ("if-none-match", "\"0000000000000000\"")).await;
        assert_eq!(other.status(), 200, "{name}");

        let small = get(&api.client, &path, ("accept-encoding", "gzip")).await;
        if served.len() > 1_000 {
            assert_eq!(small.headers()["content-encoding"], "gzip", "{name}");
            assert!(small.headers()["vary"].to_str().unwrap().contains("accept-encoding"), "{name}");
            assert_ne!(small.headers()["etag"].to_str().unwrap(), tag, "{name}: other bytes have another tag");
            assert!(small.bytes().await.unwrap().len() < served.len() * 2 / 3, "{name}");
        }
    }
    // A page has a path of its own, and nothing outside of the folder has one.
    for name in ["nothing.js", "shop.html", "../shop.html", "%2e%2e/shop.html", "..%2fCargo.toml"] {
        let unknown = api.client.get(&format!("/assets/{name}")).await;
        assert_eq!((unknown.status.as_u16(), &unknown.body["code"]), (404, &Value::from("NO_SUCH_ROUTE")), "{name}");
    }
    drop(api);
    stack.close().await;
}

#[tokio::test]
async fn a_page_may_load_nothing_from_anywhere_else_and_run_nothing_that_it_was_not_made_with() {
    let stack = Stack::new().await;
    let origins = [("FLASHSALE__API__IMAGE_ORIGINS", "https://images.shop.example,http://127.0.0.1:9")];
    let (api, picky) = (stack.listening_api(&[]).await, stack.listening_api(&origins).await);
    for path in ["/", "/sale/00000000-0000-4000-8000-000000000001", "/sale/none", "/admin", "/assets/shop.js"] {
        for (client, images) in [(&api.client, ""), (&picky.client, " https://images.shop.example http://127.0.0.1:9")]
        {
            let answer = get(client, path, ("accept", "*/*")).await;
            let policy = answer.headers()["content-security-policy"].to_str().unwrap().to_owned();
            let expected = format!(
                "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:{images}; \
                 connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                 require-trusted-types-for 'script'"
            );
            assert_eq!(policy, expected, "{path}");
            assert_eq!(answer.headers()["referrer-policy"], "no-referrer", "{path}");
        }
    }
    for name in files().into_keys() {
        let text = get(&api.client, &path(&name), ("accept", "*/*")).await.text().await.unwrap();
        // A namespace is a name and no place; an operator is shown what a URL looks like.
        let text = text.replace("http://www.w3.org/", "");
        let is_foreign = name.starts_with("uplot.");
        let names_none = name.starts_with("admin") || !text.contains("http://") && !text.contains("https://");
        assert!(is_foreign || names_none, "{name} names another place");
        assert!(!text.contains("innerHTML") || is_foreign, "{name} reads a text as HTML");
        if name.ends_with(".html") {
            let handles = text.split_whitespace().any(|word| word.starts_with("on") && word.contains('='));
            assert!(!text.contains("<style") && !text.contains(" style=") && !handles, "{name}");
            let scripts = text.matches("<script").count();
            let ours = [" type=\"module\"", ""].map(|kind| format!("<script{kind} src=\"/assets/"));
            assert_eq!(scripts, ours.iter().map(|ours| text.matches(ours).count()).sum::<usize>(), "{name}");
        }
    }
    drop((api, picky));
    stack.close().await;
}

#[tokio::test]
async fn the_shop_is_small_even_for_who_understands_no_compression() {
    let stack = Stack::new().await;
    let api = stack.listening_api(&[]).await;
    let of_shop = |name: &String| name.starts_with("shop") || ["flashsale.js", "icon.svg"].contains(&name.as_str());
    let mut sizes = BTreeMap::new();
    for name in files().into_keys().filter(of_shop) {
        let served = get(&api.client, &path(&name), ("accept-encoding", "identity")).await;
        assert!(served.headers().get("content-encoding").is_none(), "{name}");
        sizes.insert(name, served.bytes().await.unwrap().len());
    }
    assert!(sizes.len() > 3 && sizes.values().sum::<usize>() < SHOP_BYTES, "{sizes:?}");
    drop(api);
    stack.close().await;
}

#[tokio::test]
async fn a_page_says_how_the_shop_is_set_up() {
    let secret = "a secret of at least thirty-two bytes";
    let jwt = [("FLASHSALE__AUTH__MODE", "jwt"), ("FLASHSALE__AUTH__HS256_SECRET", secret)];
    let accounts = [jwt[0], jwt[1], ("FLASHSALE__AUTH__ACCOUNTS", "true")];
    let unpaid = [("FLASHSALE__PAYMENTS__PROVIDER", "none")];
    let images = [("FLASHSALE__API__IMAGE_ORIGINS", "https://images.shop.example")];
    let stack = Stack::new().await;
    for (settings, identity, payments, origins) in [
        (&[][..], "trusted", "simulated", json!([])),
        (&jwt, "token", "simulated", json!([])),
        (&accounts, "accounts", "simulated", json!([])),
        (&unpaid, "trusted", "none", json!([])),
        (&images, "trusted", "simulated", json!(["https://images.shop.example"])),
    ] {
        let api = stack.listening_api(settings).await;
        for path in ["/", "/admin"] {
            let page = get(&api.client, path, ("accept", "text/html")).await.text().await.unwrap();
            let said =
                page.split_once("<meta name=\"flashsale\" content='").and_then(|(_, rest)| rest.split_once('\''));
            let said: Value = serde_json::from_str(said.unwrap_or_else(|| panic!("{path}: {page}")).0).unwrap();
            let expected = json!({ "identity": identity, "payments": payments, "imageOrigins": origins });
            assert_eq!(said, expected, "{path} {settings:?}");
        }
    }
    stack.close().await;
}
