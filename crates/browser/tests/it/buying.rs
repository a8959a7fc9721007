//! The shop, from the countdown to the receipt.

use futures_util::future::join;
use serde_json::{Value, json};
use testkit::new_sale;

use crate::fixture::{Shop, call_oneself, has_order, held_sale, in_ms, is_to_be};

/// Clicks on the button at the moment at which every tab of the browser is told to.
const CLICK_WHEN_TOLD: &str = "
    window.told = new BroadcastChannel('told');
    told.onmessage = () => document.querySelector('#buy-button').click();
";

/// Clicks on the button as soon as it is open, and notes when that was, by the system's clock.
const CLICK_WHEN_OPEN: &str = "
    const opened = () => {
        if (window.openedAt || document.querySelector('#buy').dataset.state !== 'open') return;
        window.openedAt = performance.timeOrigin + performance.now();
        document.querySelector('#buy-button').click();
    };
    new MutationObserver(opened).observe(document.querySelector('#buy'), { attributes: true });
    opened();
";

/// How often the page has asked for a purchase.
const PURCHASES: &str =
    "performance.getEntriesByType('resource').filter((entry) => entry.name.endsWith('/purchase')).length";

#[tokio::test]
async fn the_last_unit_is_bought_in_two_tabs_at_once_and_one_of_them_sees_that_it_is_sold_out() {
    let shop = Shop::with_stock(1).await;
    let browser = shop.browser().await;
    let (ann, bob) = (shop.visit(&browser, "ann").await, shop.visit(&browser, "bob").await);
    for tab in [&ann, &bob] {
        is_to_be(tab, "open").await;
        assert_eq!(tab.text("[data-part=stock]").await, "1 of 1 left");
        tab.run(CLICK_WHEN_TOLD, Value::Null).await;
    }
    ann.run("told.postMessage(null); told.onmessage()", Value::Null).await;
    let decided = "document.querySelector('#order, #buy[data-state=sold-out]')";
    for tab in [&ann, &bob] {
        tab.until("the click is decided", decided).await;
    }
    let won = |tab| async move { browser::Tab::attribute(tab, "#order", "data-status").await.is_some() };
    let (ann_won, bob_won) = join(won(&ann), won(&bob)).await;
    assert!(ann_won ^ bob_won, "ann: {ann_won}, bob: {bob_won}");
    let (winner, loser, name) = if ann_won { (ann, bob, "ann") } else { (bob, ann, "bob") };
    let order = has_order(&winner, "CONFIRMED").await;
    winner.sees("#order-title", "It is yours").await;
    loser.sees("#buy-button", "Sold out").await;
    loser.sees("#notice", "Sold out").await;
    assert_eq!(loser.attribute("#buy-button", "aria-disabled").await.as_deref(), Some("true"));
    assert_eq!(shop.api.client.purchase_of(shop.sale, name).await.order_id(), Some(order.as_str()));
    browser.close().await;
    shop.has_sold(1).await;
    shop.close().await;
}

#[tokio::test]
async fn one_buyer_in_two_tabs_has_one_order_and_both_show_it() {
    let shop = Shop::with_stock(5).await;
    let browser = shop.browser().await;
    let one = shop.visit(&browser, "ann").await;
    let other = browser.open(&shop.page()).await;
    other.sees("#buyer-name", "ann").await;
    for tab in [&one, &other] {
        is_to_be(tab, "open").await;
        tab.run(CLICK_WHEN_TOLD, Value::Null).await;
    }
    one.run("told.postMessage(null); told.onmessage()", Value::Null).await;
    let orders = [has_order(&one, "CONFIRMED").await, has_order(&other, "CONFIRMED").await];
    assert_eq!(orders[0], orders[1]);
    browser.close().await;
    shop.has_sold(1).await;
    shop.close().await;
}

#[tokio::test]
async fn the_countdown_opens_the_button_by_the_servers_clock_and_a_click_at_once_succeeds() {
    let shop = Shop::with_stock(1).await;
    let browser = shop.browser().await;
    let sale = shop.create(&json!({ "totalStock": 2, "startsAt": in_ms(1_800_000) })).await;
    let page = format!("{}/sale/{sale}", shop.url());
    let right = browser.open(&page).await;
    call_oneself(&right, "ann").await;
    // This one's computer is ten minutes slow.
    let slow = browser.tab(browser::Look::DESKTOP).await;
    slow.run_before_each_page("const now = Date.now; Date.now = () => now() - 600_000;").await;
    slow.goto(&page).await;
    call_oneself(&slow, "bob").await;
    for tab in [&right, &slow] {
        is_to_be(tab, "upcoming").await;
        assert_eq!(tab.attribute("#buy-button", "aria-disabled").await.as_deref(), Some("true"));
        tab.click("#buy-button").await;
        tab.run(CLICK_WHEN_OPEN, Value::Null).await;
    }
    // The operator brings it forward.
    let starts_at_ms = shop.starts_in(sale, 6_000).await;
    for tab in [&right, &slow] {
        tab.sees("#buy-button", "Opens in 0:0").await;
    }
    for tab in [&right, &slow] {
        has_order(tab, "CONFIRMED").await;
        let opened_at = tab.ask("openedAt").await.as_f64().unwrap();
        #[allow(clippy::cast_precision_loss, reason = "milliseconds since 1970 fit well")]
        let late_ms = opened_at - starts_at_ms as f64;
        println!("opened {late_ms:.1} ms after the start");
        assert!((0.0..1_500.0).contains(&late_ms), "opened {late_ms} ms after the start");
        assert_eq!(tab.ask(PURCHASES).await, 1, "the first click counts, and none before");
    }
    browser.close().await;
    shop.stack.settled(&shop.api.client, sale).await;
    shop.has_sold(0).await;
    shop.close().await;
}

#[tokio::test]
async fn a_hold_that_runs_out_is_shown_and_its_unit_is_bought_by_who_waits_for_it() {
    let shop = Shop::with(&held_sale(1, 12), &[]).await;
    let browser = shop.browser().await;
    let (ann, bob) = (shop.visit(&browser, "ann").await, shop.visit(&browser, "bob").await);
    ann.click("#buy-button").await;
    has_order(&ann, "HELD").await;
    ann.sees("#hold-left", "0:").await;
    is_to_be(&bob, "sold-out").await;
    assert_eq!(bob.text("[data-part=stock]").await, "Sold out");

    has_order(&ann, "EXPIRED").await;
    ann.sees("#order-title", "The hold ran out").await;
    is_to_be(&bob, "open").await;
    bob.sees("[data-part=stock]", "1 of 1 left").await;
    bob.click("#buy-button").await;
    has_order(&bob, "HELD").await;
    bob.click("#pay-button").await;
    has_order(&bob, "CONFIRMED").await;
    browser.close().await;
    shop.has_sold(1).await;
    shop.close().await;
}

#[tokio::test]
async fn a_payment_that_succeeds_is_a_receipt_and_one_that_fails_is_said_and_gives_the_unit_back() {
    for (percent, status, title, sold) in
        [("0", "CONFIRMED", "It is yours", 1), ("100", "CANCELLED", "The payment failed", 0)]
    {
        let settings = [("FLASHSALE__PAYMENTS__SIMULATED_FAILURE_PERCENT", percent)];
        let shop = Shop::with(&held_sale(2, 600), &settings).await;
        let browser = shop.browser().await;
        let ann = shop.visit(&browser, "ann").await;
        ann.click("#buy-button").await;
        has_order(&ann, "HELD").await;
        ann.sees("#pay-button", "19.99").await;
        ann.click("#pay-button").await;
        has_order(&ann, status).await;
        ann.sees("#order-title", title).await;
        ann.has(&format!("#order-timeline [data-event={status}]")).await;
        browser.close().await;
        shop.has_sold(sold).await;
        shop.close().await;
    }
}

#[tokio::test]
async fn an_order_is_cancelled_by_its_buyer_who_is_asked_first() {
    let shop = Shop::with(&held_sale(1, 600), &[]).await;
    let browser = shop.browser().await;
    let ann = shop.visit(&browser, "ann").await;
    ann.click("#buy-button").await;
    has_order(&ann, "HELD").await;
    ann.click("#cancel-button").await;
    ann.click("#cancel-keep").await;
    ann.has_no("#cancel-dialog").await;
    ann.click("#cancel-button").await;
    ann.click("#cancel-confirm").await;
    has_order(&ann, "CANCELLED").await;
    browser.close().await;
    shop.has_sold(0).await;
    shop.close().await;
}

#[tokio::test]
async fn several_units_are_bought_and_who_wants_more_than_are_left_is_offered_fewer() {
    let sale = ledger::NewSale { per_user_limit: domain::Quantity::try_from(3).unwrap(), ..new_sale(5) };
    let shop = Shop::with(&sale, &[]).await;
    let browser = shop.browser().await;
    let (ann, bob) = (shop.visit(&browser, "ann").await, shop.visit(&browser, "bob").await);
    for tab in [&ann, &bob] {
        tab.click("#more").await;
        tab.click("#more").await;
        tab.sees("#buy-button", "Buy 3 for").await;
    }
    ann.click("#buy-button").await;
    has_order(&ann, "CONFIRMED").await;
    ann.sees("#order-quantity", "3").await;
    bob.sees("#buy-button", "Buy 2 for").await;
    bob.click("#buy-button").await;
    has_order(&bob, "CONFIRMED").await;
    browser.close().await;
    shop.has_sold(5).await;
    shop.close().await;
}

#[tokio::test]
async fn the_list_shows_each_sale_where_it_belongs_and_moves_it_when_its_time_has_come() {
    let shop = Shop::with_stock(3).await;
    let browser = shop.browser().await;
    let list = browser.open(shop.url()).await;
    list.has(&format!("#live [data-sale='{}'][data-state=open]", shop.sale)).await;
    let upcoming = shop.create(&json!({ "startsAt": in_ms(1_800_000), "name": "Soon" })).await;
    list.has(&format!("#upcoming [data-sale='{upcoming}'][data-state=upcoming] [data-part=countdown]")).await;
    shop.starts_in(upcoming, 4_000).await;
    list.has(&format!("#live [data-sale='{upcoming}'][data-state=open]")).await;
    shop.buys("ann").await;
    list.sees(&format!("[data-sale='{}'] [data-part=stock]", shop.sale), "2 of 3 left").await;
    assert_eq!(shop.api.client.act(shop.sale, "end").await.status, 200);
    list.has(&format!("#ended [data-sale='{}'][data-state=ended]", shop.sale)).await;
    list.click(&format!("[data-sale='{upcoming}']")).await;
    list.has(&format!("#sale[data-sale='{upcoming}']")).await;
    browser.close().await;
    shop.has_sold(1).await;
    shop.close().await;
}
