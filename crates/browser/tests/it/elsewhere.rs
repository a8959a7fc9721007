//! A shop of somebody else's: its pages use the API from another origin.

use browser::Browser;
use testkit::new_sale;

use crate::fixture::{SOON, Shop};
use crate::site::Site;

/// A page with the lines that docs/API.md has for it, about this sale of this shop.
fn page_as_documented(shop: &Shop) -> String {
    let documented = include_str!("../../../../docs/API.md");
    let example = documented.split("```js\n").find(|block| block.starts_with("import { Flashsale }"));
    let example = example.and_then(|block| block.split("```").next()).expect("an example");
    let example = example.replace("https://shop.example", shop.url());
    format!(
        "<!doctype html><html lang='en'><title>Another shop</title><p id='shown'></p><script type='module'>
         const saleId = '{}';
         const show = (...what) => document.querySelector('#shown').append(`${{what}}; `);
         {example}
         </script></html>",
        shop.sale
    )
}

#[tokio::test]
async fn a_page_of_an_origin_that_is_allowed_buys_with_the_few_lines_that_are_documented() {
    let site = Site::start([]).await;
    let shop = Shop::with(&new_sale(3), &[("FLASHSALE__API__CORS_ORIGINS", &site.origin)]).await;
    site.serve("/", &page_as_documented(&shop));
    let browser = Browser::start(&site.origin).await;
    browser.allow(shop.url());
    let page = browser.open(&site.origin).await;
    page.sees("#shown", "CONFIRMED").await;
    page.sees("#shown", "2,live").await;
    assert_eq!(shop.api.client.purchase_of(shop.sale, "ada").await.outcome(), "CONFIRMED");
    browser.close().await;
    shop.has_sold(1).await;
    shop.close().await;
}

#[tokio::test]
async fn a_page_of_an_origin_that_is_not_allowed_reads_and_buys_nothing() {
    let shop = Shop::with(&new_sale(3), &[("FLASHSALE__API__CORS_ORIGINS", "https://shop.example")]).await;
    let site = Site::start([]).await;
    site.serve("/", &page_as_documented(&shop));
    let browser = Browser::start(&site.origin).await;
    browser.allow(shop.url());
    browser.expect("has been blocked by CORS policy");
    browser.expect("net::ERR_FAILED");
    let page = browser.open(&site.origin).await;
    // Whatever of its own the page may load, the API does not answer it.
    let asked = async || (!browser.requests("/assets/flashsale.js").await.is_empty()).then_some(());
    testkit::until("the page has tried", SOON, asked).await;
    page.until("it is all loaded", "document.readyState === 'complete'").await;
    let said = page.run_async(
        "const done = arguments[1];
         const body = JSON.stringify({ saleId: arguments[0].sale, userId: 'ada' });
         const headers = { 'Content-Type': 'application/json' };
         fetch(`${arguments[0].url}/api/v1/sale/purchase`, { method: 'POST', body, headers }).then(() => done('answered'), () => done('refused'));",
        serde_json::json!({ "url": shop.url(), "sale": shop.sale }),
    );
    assert_eq!(said.await, "refused");
    assert_eq!(page.text("#shown").await, "");
    browser.close().await;
    shop.has_sold(0).await;
    shop.close().await;
}
