//! What the pages are made of, as it goes over the wire.

use reqwest::Method;
use testkit::Client;

use crate::fixture::Shop;

/// All that the shop may weigh, uncompressed.
const HEAVIEST: usize = 60_000;

/// A file, asked for with these headers: its status, its headers, its body.
async fn fetch(client: &Client, path: &str, headers: &[(&str, &str)]) -> (u16, reqwest::header::HeaderMap, Vec<u8>) {
    let request = client.request(Method::GET, path);
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let answer = request.send().await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    (status, headers, answer.bytes().await.unwrap().to_vec())
}

/// The names that follow `before` in a text, each up to the next quote.
fn named<'a>(text: &'a str, before: &str) -> Vec<&'a str> {
    text.split(before).skip(1).filter_map(|rest| rest.split(['"', '\'']).next()).collect()
}

/// The files that a page is made of, the page itself first.
async fn files_of(client: &Client, page: &str) -> Vec<(String, Vec<u8>)> {
    let (status, _, html) = fetch(client, page, &[]).await;
    assert_eq!(status, 200, "{page}");
    let mut found = vec![(page.to_owned(), html)];
    let mut next = 0;
    while next < found.len() {
        let text = String::from_utf8_lossy(&found[next].1).into_owned();
        next += 1;
        // Only scripts import; examples in their comments name a whole URL.
        let files = ["\"/assets/", "from './", "from \"./", "import './", "import \"./", "import('./"];
        for name in files.iter().flat_map(|before| named(&text, before)) {
            let path = format!("/assets/{name}");
            if found.iter().all(|(known, _)| *known != path) {
                let (status, _, bytes) = fetch(client, &path, &[]).await;
                assert_eq!(status, 200, "{path}");
                found.push((path, bytes));
            }
        }
    }
    found
}

#[tokio::test]
async fn the_shop_is_small_and_no_page_names_a_stranger() {
    let shop = Shop::with_stock(1).await;
    let client = &shop.api.client;
    let files = files_of(client, "/").await;
    assert!(files.len() > 3, "{:?}", files.iter().map(|(name, _)| name).collect::<Vec<_>>());
    let bytes: usize = files.iter().map(|(_, bytes)| bytes.len()).sum();
    println!("the shop: {bytes} bytes in {} files", files.len());
    for (name, bytes) in files.iter().chain(&files_of(client, "/admin").await) {
        let text = String::from_utf8_lossy(bytes);
        // A comment asks nobody, nor does the name of a language or an example of an address.
        for line in text.lines().filter(|line| !["//", "/*"].iter().any(|mark| line.trim_start().starts_with(mark))) {
            let strangers = named(line, "https://").into_iter().chain(named(line, "http://"));
            let strangers: Vec<_> =
                strangers.filter(|url| !url.starts_with("www.w3.org/") && !url.starts_with('…')).collect();
            assert!(strangers.is_empty(), "{name} names {strangers:?}");
        }
    }
    assert!(bytes < HEAVIEST, "the shop: {bytes} bytes in {} files", files.len());
    shop.has_sold(0).await;
    shop.close().await;
}

#[tokio::test]
async fn every_file_has_a_tag_is_compressed_and_under_a_strict_policy() {
    let shop = Shop::with_stock(1).await;
    let client = &shop.api.client;
    let sale = format!("/sale/{}", shop.sale);
    let mut paths = vec![sale];
    for page in ["/", "/admin"] {
        paths.extend(files_of(client, page).await.into_iter().map(|(path, _)| path));
    }
    for path in &paths {
        let (status, headers, plain) = fetch(client, path, &[]).await;
        assert_eq!((status, &headers["cache-control"]), (200, &"no-cache".parse().unwrap()), "{path}");
        assert!(!headers.contains_key("content-encoding"), "{path}: who says nothing gets it plain");
        let tag = headers["etag"].to_str().unwrap();
        assert!(tag.starts_with('"'), "{path}: {tag} is strong");
        let (status, headers, body) = fetch(client, path, &[("if-none-match", tag)]).await;
        assert_eq!((status, body.len(), headers["etag"].to_str().unwrap()), (304, 0, tag), "{path}");
        assert_eq!(fetch(client, path, &[("if-none-match", "\"another\"")]).await.0, 200, "{path}");
        let (_, headers, packed) = fetch(client, path, &[("accept-encoding", "gzip, br")]).await;
        if plain.len() > 1_000 {
            assert_eq!(headers["content-encoding"], "gzip", "{path}");
            assert!(headers["vary"].to_str().unwrap().to_lowercase().contains("accept-encoding"), "{path}");
            assert!(packed.len() < plain.len() * 3 / 4, "{path}: {} of {} bytes", packed.len(), plain.len());
        }
        let policy = headers["content-security-policy"].to_str().unwrap();
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self'",
            "frame-ancestors 'none'",
        ] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(
            policy.contains("require-trusted-types-for 'script'") && !policy.contains("unsafe"),
            "{path}: {policy}"
        );
    }
    for path in ["/assets/nothing.js", "/assets/../shop.html", "/assets/shop.html", "/assets/%2e%2e/shop.html"] {
        assert_eq!(fetch(client, path, &[]).await.0, 404, "{path}");
    }
    shop.has_sold(0).await;
    shop.close().await;
}
