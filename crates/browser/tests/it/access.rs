//! Everybody can use the pages: with any screen, in light and dark, with a screen reader, without a mouse.

use browser::{Key, Tab};
use serde_json::json;
use testkit::new_sale;

use crate::fixture::{Shop, call_oneself, has_order, held_sale, in_ms, is_to_be};

#[tokio::test]
async fn the_list_can_be_used_by_everybody() {
    let shop = Shop::with_stock(1).await;
    let browser = shop.browser().await;
    let list = browser.open(shop.url()).await;
    list.has("#live [data-sale]").await;
    shop.create(&json!({ "name": "A sale to come", "startsAt": in_ms(600_000), "description": "Soon." })).await;
    let over = shop.create(&json!({ "name": "A sale that is over", "totalStock": 7 })).await;
    assert_eq!(shop.api.client.act(over, "end").await.status, 200);
    shop.buys("ann").await;
    list.has("#live [data-state=sold-out]").await;
    list.has("#upcoming [data-state=upcoming]").await;
    list.has("#ended [data-state=ended]").await;
    list.is_accessible("the list").await;
    list.click("#buyer").await;
    list.has("#buyer-dialog").await;
    list.is_accessible("the buyer's name").await;
    browser.close().await;
    shop.has_sold(1).await;
    shop.close().await;
}

#[tokio::test]
async fn an_empty_list_and_a_sale_that_is_not_there_can_be_used_by_everybody() {
    let shop = Shop::with_stock(1).await;
    let browser = shop.browser().await;
    browser.expect("status of 404");
    let tab = browser.open(&format!("{}/sale/01890000-0000-7000-8000-000000000000", shop.url())).await;
    tab.has("#not-found").await;
    tab.is_accessible("no such sale").await;
    shop.has_sold(0).await;
    shop.sql("DELETE FROM audit; DELETE FROM sales".to_owned()).await;
    tab.goto(shop.url()).await;
    tab.has("#empty").await;
    tab.is_accessible("no sale at all").await;
    browser.close().await;
    shop.close().await;
}

#[tokio::test]
async fn a_sale_can_be_used_by_everybody_in_every_state() {
    let shop = Shop::with_stock(1).await;
    let browser = shop.browser().await;
    let upcoming =
        shop.create(&json!({ "startsAt": in_ms(3_000_000), "description": "Later today.", "perUserLimit": 3 })).await;
    let soon = browser.open(&format!("{}/sale/{upcoming}", shop.url())).await;
    is_to_be(&soon, "upcoming").await;
    soon.is_accessible("a sale to come").await;
    soon.close().await;

    let (ann, bob) = (shop.visit(&browser, "ann").await, shop.visit(&browser, "bob").await);
    is_to_be(&ann, "open").await;
    ann.is_accessible("an open sale").await;
    assert_eq!(shop.api.client.act(shop.sale, "pause").await.status, 200);
    is_to_be(&ann, "paused").await;
    ann.is_accessible("a paused sale").await;
    assert_eq!(shop.api.client.act(shop.sale, "resume").await.status, 200);
    is_to_be(&ann, "open").await;
    ann.click("#buy-button").await;
    has_order(&ann, "CONFIRMED").await;
    ann.is_accessible("an order").await;
    is_to_be(&bob, "sold-out").await;
    bob.is_accessible("a sale that is sold out").await;
    assert_eq!(shop.api.client.act(shop.sale, "end").await.status, 200);
    is_to_be(&bob, "ended").await;
    bob.is_accessible("a sale that is over").await;
    browser.close().await;
    shop.has_sold(1).await;
    shop.close().await;
}

#[tokio::test]
async fn an_order_can_be_used_by_everybody_in_every_state() {
    // The provider decides late enough for a look.
    let settings = [("FLASHSALE__PAYMENTS__SIMULATED_DELAY_MS", "12000")];
    let shop = Shop::with(&held_sale(2, 600), &settings).await;
    let browser = shop.browser().await;
    let (ann, bob) = (shop.visit(&browser, "ann").await, shop.visit(&browser, "bob").await);
    ann.click("#buy-button").await;
    has_order(&ann, "HELD").await;
    ann.is_accessible("a held order").await;
    ann.click("#pay-button").await;
    has_order(&ann, "PAYING").await;
    ann.is_accessible("an order that is being paid").await;
    bob.click("#buy-button").await;
    has_order(&bob, "HELD").await;
    bob.click("#cancel-button").await;
    bob.has("#cancel-dialog").await;
    bob.is_accessible("the question whether to cancel").await;
    bob.click("#cancel-confirm").await;
    has_order(&bob, "CANCELLED").await;
    bob.is_accessible("a cancelled order").await;
    has_order(&ann, "CONFIRMED").await;
    ann.is_accessible("an order that is paid").await;
    browser.close().await;
    shop.has_sold(1).await;
    shop.close().await;
}

#[tokio::test]
async fn the_operators_page_can_be_used_by_everybody() {
    let shop = Shop::with_stock(20).await;
    let browser = shop.browser().await;
    let login = browser.open(&format!("{}/admin", shop.url())).await;
    login.has("#login").await;
    login.is_accessible("the log-in").await;
    login.close().await;
    for buyer in 0..5 {
        shop.buys(&format!("buyer-{buyer}")).await;
    }
    let operator = shop.operate(&browser, "").await;
    operator.has("table#live-sales tr[data-sale]").await;
    operator.has("table#workers tr[data-role=keeper]").await;
    operator.has("#books[data-books=ok]").await;
    operator.click("button[data-action=chart-table]").await;
    operator.has("table#traffic tbody tr").await;
    operator.is_accessible("the overview").await;
    for view in ["sales", "dead-letters?state=all", "webhooks", "stats"] {
        operator.run("location.hash = arguments[0]", json!(format!("#/{view}"))).await;
        let name = view.split('?').next().unwrap();
        operator.has(&format!("#main[data-view={name}] h2")).await;
        operator.is_accessible(view).await;
    }
    browser.close().await;
    shop.has_sold(5).await;
    shop.close().await;
}

#[tokio::test]
async fn a_sale_and_its_dialogs_can_be_used_by_every_operator() {
    let shop = Shop::with(&held_sale(20, 600), &[]).await;
    let browser = shop.browser().await;
    shop.buys("ann").await;
    shop.has_sold(1).await;
    let operator = shop.operate(&browser, &shop.view("orders")).await;
    for (tab, shown) in [
        ("orders", "table#orders tbody tr[data-order]"),
        ("audit", "table#audit tbody tr[data-event]"),
        ("verify", "table#invariants tbody tr[data-ok]"),
        ("details", "#sale"),
    ] {
        operator.click(&format!("a[data-tab={tab}]")).await;
        operator.has(shown).await;
        operator.is_accessible(tab).await;
    }
    operator.click("a[data-tab=orders]").await;
    let cancel = "table#orders button[data-action=cancel-order]";
    let actions = ["pause", "stock", "edit", "reconcile", "reset", "end"];
    let buttons = actions.map(|action| format!("#sale button[data-action={action}]"));
    for button in buttons.iter().map(String::as_str).chain([cancel]) {
        operator.click(button).await;
        operator.has("dialog[open]").await;
        operator.is_accessible(button).await;
        operator.press(Key::Escape).await;
        operator.has_no("dialog[open]").await;
    }
    operator.run("location.hash = '#/overview'", json!(null)).await;
    operator.click("button[data-action=create-sale]").await;
    operator.click("dialog[open] [data-confirm]").await;
    operator.has("dialog[open] [data-error-for=name]").await;
    operator.is_accessible("a form with a mistake").await;
    browser.close().await;
    shop.has_sold(1).await;
    shop.close().await;
}

/// Goes on with Tab until what is focused fits the selector, and is to be seen as focused.
async fn go_to(tab: &Tab<'_>, selector: &str) {
    for _ in 0..30 {
        tab.press(Key::Tab).await;
        if tab.ask(&format!("document.activeElement.matches({})", json!(selector))).await == true {
            let ring = "[null, '::after'].map(part => getComputedStyle(document.activeElement, part))
                .some(style => style.outlineStyle !== 'none' && style.outlineWidth !== '0px')";
            assert_eq!(tab.ask(ring).await, true, "one sees that {selector} has the focus");
            return;
        }
    }
    panic!("{selector} is not reached with the Tab key");
}

#[tokio::test]
async fn a_unit_is_found_bought_and_paid_for_without_a_mouse() {
    let shop = Shop::with(&held_sale(1, 600), &[]).await;
    let browser = shop.browser().await;
    let tab = browser.open(shop.url()).await;
    tab.has("#live [data-sale]").await;
    go_to(&tab, "[data-sale] a").await;
    tab.press(Key::Enter).await;
    is_to_be(&tab, "open").await;
    go_to(&tab, "#buyer").await;
    tab.press(Key::Enter).await;
    tab.has("#buyer-dialog").await;
    tab.press("ann").await;
    tab.press(Key::Enter).await;
    tab.sees("#buyer-name", "ann").await;
    is_to_be(&tab, "open").await;
    go_to(&tab, "#buy-button").await;
    tab.press(Key::Enter).await;
    has_order(&tab, "HELD").await;
    let is_in_order = "document.querySelector('#order').contains(document.activeElement)";
    assert_eq!(tab.ask(is_in_order).await, true, "the focus is where it goes on");
    go_to(&tab, "#pay-button").await;
    tab.press(Key::Space).await;
    has_order(&tab, "CONFIRMED").await;
    tab.sees("#announcer", " ").await;
    browser.close().await;
    shop.has_sold(1).await;
    shop.close().await;
}

#[tokio::test]
async fn on_a_phone_one_buys_with_a_finger() {
    let shop = Shop::with(&new_sale(1), &[]).await;
    let browser = shop.browser().await;
    let phone = browser.tab(browser::Look::PHONE).await;
    phone.goto(&shop.page()).await;
    call_oneself(&phone, "ann").await;
    is_to_be(&phone, "open").await;
    let middle = "(box => (box.top + box.bottom) / 2 < innerHeight)(document.querySelector('#buy-button').getBoundingClientRect())";
    assert_eq!(phone.ask(middle).await, true, "the button is found without scrolling");
    let height = phone.ask("document.querySelector('#buy-button').getBoundingClientRect().height").await;
    assert!(height.as_f64().unwrap() >= 44.0, "{height} px high");
    phone.click("#buy-button").await;
    has_order(&phone, "CONFIRMED").await;
    browser.close().await;
    shop.has_sold(1).await;
    shop.close().await;
}
