//! What a buyer sees while something is broken, and what becomes of their purchase.

use browser::Browser;
use servers::free_port;
use testkit::{Proxy, Stack, Wire, new_sale, until};

use crate::fixture::{SOON, Shop, has_order, held_sale, is_to_be};

/// A shop whose processes reach RabbitMQ over a wire of the test's own.
async fn wired_shop(stock: u32) -> (Shop, Proxy) {
    let stack = Stack::new().await;
    let url = stack.rabbitmq.url().to_owned();
    let wire = Proxy::before(&url).await;
    let shop = Shop::on(stack, &new_sale(stock), &[("FLASHSALE__RABBITMQ__URL", &wire.url_of(&url))]).await;
    (shop, wire)
}

/// The keys of all purchases that were sent, each once.
async fn keys(browser: &Browser) -> Vec<String> {
    let sent = browser.requests("/sale/purchase").await;
    let sent = sent.iter().filter(|request| request["method"] == "POST");
    let mut keys: Vec<String> =
        sent.map(|request| request["headers"]["Idempotency-Key"].as_str().expect("a key").to_owned()).collect();
    keys.sort();
    keys.dedup();
    keys
}

#[tokio::test]
async fn the_page_survives_an_api_that_is_killed_and_started_again() {
    let port = free_port().unwrap().to_string();
    let settings = [("FLASHSALE__API__PORT", port.as_str())];
    let mut shop = Shop::with(&held_sale(2, 600), &settings).await;
    let browser = shop.browser().await;
    // Nobody answers meanwhile, and then an API that is not ready.
    browser.expect("net::ERR_");
    browser.expect("status of 503");
    let (ann, bob) = (shop.visit(&browser, "ann").await, shop.visit(&browser, "bob").await);
    ann.click("#buy-button").await;
    let order = has_order(&ann, "HELD").await;
    is_to_be(&bob, "open").await;
    for tab in [&ann, &bob] {
        tab.has("#link[data-link=live]").await;
    }
    let page = shop.page();
    let meanwhile = async {
        for tab in [&ann, &bob] {
            tab.has("#link[data-link=offline]").await;
        }
        assert_eq!(ann.text("#order-id").await, order, "what was shown before still is");
        bob.click("#buy-button").await;
        is_to_be(&bob, "retrying").await;
        bob.sees("#notice", "No connection").await;
    };
    shop.restart_api(&settings, meanwhile).await;
    assert_eq!(shop.page(), page);
    for tab in [&ann, &bob] {
        tab.has("#link[data-link=live]").await;
    }
    has_order(&bob, "HELD").await;
    for tab in [&ann, &bob] {
        tab.click("#pay-button").await;
        has_order(tab, "CONFIRMED").await;
    }
    assert_eq!(ann.text("#order-id").await, order);
    assert_eq!(keys(&browser).await.len(), 2, "one purchase each");
    browser.close().await;
    shop.has_sold(2).await;
    shop.close().await;
}

#[tokio::test]
async fn who_is_told_to_try_again_need_not_and_has_one_order_in_the_end() {
    let (shop, wire) = wired_shop(2).await;
    let browser = shop.browser().await;
    browser.expect("status of 503");
    let ann = shop.visit(&browser, "ann").await;
    is_to_be(&ann, "open").await;
    wire.set(Wire::Cut);
    ann.click("#buy-button").await;
    is_to_be(&ann, "retrying").await;
    ann.sees("#notice", "The shop is busy").await;
    ann.has("#stop").await;
    let again = async || (browser.requests("/sale/purchase").await.len() >= 3).then_some(());
    until("the page has tried again twice", SOON, again).await;
    wire.set(Wire::Open);
    let order = has_order(&ann, "CONFIRMED").await;
    assert_eq!(keys(&browser).await.len(), 1, "each try was the same purchase");
    browser.close().await;
    shop.has_sold(1).await;
    assert_eq!(shop.stack.lost(shop.sale, &[("ann".to_owned(), order)]).await, Vec::<String>::new());
    shop.close().await;
}

#[tokio::test]
async fn who_stops_trying_is_told_what_came_of_it() {
    let (shop, wire) = wired_shop(2).await;
    let browser = shop.browser().await;
    browser.expect("status of 503");
    let ann = shop.visit(&browser, "ann").await;
    wire.set(Wire::Cut);
    ann.click("#buy-button").await;
    is_to_be(&ann, "retrying").await;
    ann.click("#stop").await;
    ann.until(
        "the end of the tries is said",
        "document.querySelector('#notice, #order')?.innerText.includes('Stopped')
        || document.querySelector('#notice-order')?.innerText.includes('got through')",
    )
    .await;
    wire.set(Wire::Open);
    browser.close().await;
    shop.stack.settled(&shop.api.client, shop.sale).await;
    shop.close().await;
}

#[tokio::test]
async fn a_purchase_goes_on_after_a_reload_and_in_another_tab_after_the_first_is_closed() {
    let (shop, wire) = wired_shop(2).await;
    let browser = shop.browser().await;
    browser.expect("status of 503");
    let ann = shop.visit(&browser, "ann").await;
    is_to_be(&ann, "open").await;
    // The reservation is made and sent, and nobody hears that it was.
    wire.set(Wire::ServerMute);
    ann.click("#buy-button").await;
    is_to_be(&ann, "sending").await;
    ann.reload().await;
    ann.until("it goes on", "['sending', 'retrying'].includes(document.querySelector('#buy')?.dataset.state)").await;
    ann.close().await;
    let back = browser.open(&shop.page()).await;
    back.sees("#buyer-name", "ann").await;
    wire.set(Wire::Open);
    let order = has_order(&back, "CONFIRMED").await;
    back.reload().await;
    assert_eq!(has_order(&back, "CONFIRMED").await, order);
    let later = browser.open(&shop.page()).await;
    assert_eq!(has_order(&later, "CONFIRMED").await, order);
    assert_eq!(keys(&browser).await.len(), 1, "one purchase, however often it was sent");
    browser.close().await;
    shop.has_sold(1).await;
    shop.close().await;
}

#[tokio::test]
async fn who_clicks_too_often_waits_for_as_long_as_the_shop_says_and_then_buys() {
    let shop = Shop::with(&new_sale(3), &[("FLASHSALE__LIMITS__PURCHASE_PER_IP", "1/4")]).await;
    let browser = shop.browser().await;
    browser.expect("status of 429");
    let ann = shop.visit(&browser, "ann").await;
    is_to_be(&ann, "open").await;
    shop.buys("bob").await;
    ann.click("#buy-button").await;
    is_to_be(&ann, "limited").await;
    ann.sees("#buy-button", "Trying again in").await;
    has_order(&ann, "CONFIRMED").await;
    browser.close().await;
    shop.has_sold(2).await;
    shop.close().await;
}

#[tokio::test]
async fn without_streams_the_page_asks_every_few_seconds_and_says_so() {
    let shop = Shop::with(&new_sale(3), &[("FLASHSALE__API__MAX_STREAMS", "0")]).await;
    let browser = shop.browser().await;
    browser.expect("status of 503");
    let ann = shop.visit(&browser, "ann").await;
    ann.has("#link[data-link=polling]").await;
    ann.sees("[data-part=stock]", "3 of 3 left").await;
    shop.buys("bob").await;
    ann.sees("[data-part=stock]", "2 of 3 left").await;
    ann.click("#buy-button").await;
    has_order(&ann, "CONFIRMED").await;
    browser.close().await;
    shop.has_sold(2).await;
    shop.close().await;
}
