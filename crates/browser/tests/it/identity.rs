//! Who buys, where the API does not take a page's word for it.

use serde_json::json;
use testkit::{Issuer, TOKEN_SECRET, new_sale};

use crate::fixture::{Shop, has_order, is_to_be};

const JWT: (&str, &str) = ("FLASHSALE__AUTH__MODE", "jwt");
const SECRET: (&str, &str) = ("FLASHSALE__AUTH__HS256_SECRET", TOKEN_SECRET);
const ACCOUNTS: (&str, &str) = ("FLASHSALE__AUTH__ACCOUNTS", "true");

#[tokio::test]
async fn somebody_registers_buys_logs_out_and_finds_the_order_after_logging_in_again() {
    let shop = Shop::with(&new_sale(2), &[JWT, SECRET, ACCOUNTS]).await;
    let browser = shop.browser().await;
    browser.expect("status of 401");
    browser.expect("status of 409");
    let ann = browser.open(&shop.page()).await;
    is_to_be(&ann, "open").await;
    ann.click("#buy-button").await;
    ann.has("#login-dialog[data-mode=log-in]").await;
    ann.is_accessible("the log-in").await;
    ann.fill("#login-email", "ann@shop.example").await;
    ann.fill("#login-password", "correct horse").await;
    ann.click("#login-submit").await;
    ann.sees("#login-problem", "no account").await;
    ann.click("#login-switch").await;
    ann.has("#login-dialog[data-mode=register]").await;
    ann.click("#login-submit").await;
    // The click that asked for the log-in goes on.
    let order = has_order(&ann, "CONFIRMED").await;
    ann.click("#buyer").await;
    ann.sees("#buyer", "Log in").await;
    ann.has_no("#order").await;
    ann.click("#buyer").await;
    ann.fill("#login-email", "ann@shop.example").await;
    ann.fill("#login-password", "correct horse").await;
    ann.click("#login-submit").await;
    assert_eq!(has_order(&ann, "CONFIRMED").await, order);
    ann.reload().await;
    assert_eq!(has_order(&ann, "CONFIRMED").await, order);
    let kept = ann.ask("JSON.stringify(localStorage) + document.cookie").await;
    assert!(!kept.to_string().contains("correct horse"), "{kept}");

    let bob = browser.open(&shop.page()).await;
    bob.click("#buyer").await;
    bob.click("#login-switch").await;
    bob.fill("#login-email", "ann@shop.example").await;
    bob.fill("#login-password", "another horse").await;
    bob.click("#login-submit").await;
    bob.sees("#login-problem", "already").await;
    browser.close().await;
    shop.has_sold(1).await;
    shop.close().await;
}

#[tokio::test]
async fn a_token_from_the_address_buys_and_does_not_stay_there() {
    let shop = Shop::with(&new_sale(2), &[JWT, SECRET]).await;
    let browser = shop.browser().await;
    browser.expect("status of 401");
    let token = Issuer::hs256(TOKEN_SECRET.as_bytes()).token("ann");
    let ann = browser.open(&format!("{}#token={token}", shop.page())).await;
    is_to_be(&ann, "open").await;
    assert_eq!(ann.ask("location.href").await, json!(shop.page()));
    ann.click("#buy-button").await;
    let order = has_order(&ann, "CONFIRMED").await;
    ann.reload().await;
    assert_eq!(has_order(&ann, "CONFIRMED").await, order);

    let nobody = browser.open(&shop.page()).await;
    is_to_be(&nobody, "open").await;
    nobody.click("#buy-button").await;
    nobody.sees("#notice", "log-in is missing").await;
    let forged = browser.open(&format!("{}#token={}", shop.page(), Issuer::hs256(&[7; 32]).token("bob"))).await;
    forged.click("#buy-button").await;
    forged.sees("#notice", "log-in is missing").await;
    browser.close().await;
    shop.has_sold(1).await;
    shop.close().await;
}
