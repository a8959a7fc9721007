//! What the other tests stand on: a page that misbehaves does not go unnoticed.

use browser::{Browser, Look, Tab};
use futures_util::FutureExt;
use std::panic::AssertUnwindSafe;

use crate::site::Site;

/// What a page is, with this in its head and its body.
fn page(head: &str, body: &str) -> String {
    format!(
        "<!doctype html><html lang='en'><head><title>A page of a test</title>\
         <meta name='viewport' content='width=device-width'>{head}</head><body><main><h1>Hello</h1>{body}</main></body></html>"
    )
}

/// What a panic said.
async fn fails(work: impl Future<Output = ()>) -> String {
    let panic = AssertUnwindSafe(work).catch_unwind().await.expect_err("it fails");
    panic.downcast_ref::<String>().cloned().unwrap_or_default()
}

#[tokio::test]
async fn what_a_page_complains_of_fails_its_test_and_what_is_expected_does_not() {
    let stranger = Site::start([]).await;
    let asks = format!("<script>fetch('{}/secret', {{ mode: 'no-cors' }})</script>", stranger.origin);
    let policy = "content-security-policy: default-src 'none'; script-src 'self'\r\n";
    let site = Site::start([
        ("/good", "", page("", "")),
        ("/error", "", page("<script>console.error('something is wrong')</script>", "")),
        ("/thrown", "", page("<script>nothing.of.the.kind()</script>", "")),
        ("/inline", policy, page("<script>document.title = 'no'</script>", "")),
        ("/stranger", "", page(&asks, "")),
    ])
    .await;
    for (path, complaint) in [
        ("/good", None),
        ("/error", Some("something is wrong")),
        ("/thrown", Some("nothing is not defined")),
        ("/inline", Some("Content Security Policy")),
        ("/stranger", Some("/secret")),
    ] {
        let browser = Browser::start(&site.origin).await;
        browser.open(&format!("{}{path}", site.origin)).await.has("h1").await;
        let Some(complaint) = complaint else {
            browser.close().await;
            continue;
        };
        let said = fails(browser.close()).await;
        assert!(said.contains(complaint), "{path}: {said}");
    }
    let browser = Browser::start(&site.origin).await;
    browser.expect("something is wrong");
    browser.open(&format!("{}/error", site.origin)).await.has("h1").await;
    browser.close().await;
}

#[tokio::test]
async fn a_page_that_not_everybody_can_use_is_found_and_so_is_what_does_not_fit_on_a_phone() {
    let site = Site::start([
        ("/good", "", page("", "<button>Buy</button>")),
        ("/nameless", "", page("", "<button></button>")),
        ("/pale", "", page("<style>h1 { color: #ccc }</style>", "")),
        ("/dark", "", page("<style>@media (prefers-color-scheme: dark) { body { background: #333 } }</style>", "")),
        ("/wide", "", page("<style>h1 { width: 500px }</style>", "")),
    ])
    .await;
    let browser = Browser::start(&site.origin).await;
    let tab = browser.open(&format!("{}/good", site.origin)).await;
    tab.is_accessible("a good page").await;
    for (path, found) in [
        ("/nameless", "button-name"),
        ("/pale", "1280 px, light: color-contrast"),
        ("/dark", "1280 px, dark: color-contrast"),
        ("/wide", "360 px, light: the page is"),
    ] {
        tab.goto(&format!("{}{path}", site.origin)).await;
        let said = fails(tab.is_accessible(path)).await;
        assert!(said.contains(found), "{path}: {said}");
    }
    browser.close().await;
}

#[tokio::test]
async fn two_tabs_are_looked_at_in_turn_and_nothing_of_a_browser_stays() {
    let site =
        Site::start([("/", "", page("", "<p id='width'></p><input id='field'><button id='under'>Buy</button>"))]).await;
    let browser = Browser::start(&site.origin).await;
    let (laptop, phone) = (browser.open(&site.origin).await, browser.tab(Look::PHONE.in_the_dark()).await);
    phone.goto(&site.origin).await;
    let width = async |tab: &Tab<'_>| tab.ask("innerWidth").await;
    assert_eq!((width(&laptop).await, width(&phone).await), (1_280.into(), 360.into()));
    let dark = "matchMedia('(prefers-color-scheme: dark)').matches";
    assert_eq!((laptop.ask(dark).await, phone.ask(dark).await), (false.into(), true.into()));
    for tab in [&laptop, &phone] {
        assert_eq!(tab.ask("document.visibilityState").await, "visible");
    }
    phone.reload().await;
    assert_eq!(phone.ask(dark).await, true, "a page that is loaded anew looks alike");
    laptop.fill("#field", "ann").await;
    laptop.press("a").await;
    assert_eq!(laptop.ask("document.activeElement.value").await, "anna");
    assert!(!laptop.picture().await.is_empty());
    phone.close().await;
    let folder = browser.folder();
    assert!(!servers::inhabitants(&folder).is_empty(), "it works in its folder");
    browser.close().await;
    assert!(servers::inhabitants(&folder).is_empty() && !folder.exists());
}
