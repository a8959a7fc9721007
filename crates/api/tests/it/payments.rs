//! Paying: from the reservation to the money, with a provider that is slow, away, wrong or forged.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use testkit::{Answer, Client, WEBHOOK_SECRET, Weather, until};

use crate::fixture::{SOON, Shop, assert_problem, clicks, promised};
use crate::till::{PRICE, Till, events, held_sale};

const WEBHOOK: &str = "/api/v1/payments/webhook";

fn now() -> u64 {
    boot::clock::now_ms() / 1_000
}

/// An event as Stripe sends it, about a payment that may be ours.
fn event(id: &str, kind: &str, payment: &str, order: &str) -> String {
    let object = json!({ "id": payment, "metadata": { "order_id": order } });
    json!({ "id": id, "object": "event", "type": kind, "data": { "object": object } }).to_string()
}

/// A webhook with these signature headers.
async fn send(client: &Client, signatures: &[&str], body: &str) -> Answer {
    let request = client.request(Method::POST, WEBHOOK).body(body.to_owned());
    let request = signatures.iter().fold(request, |request, signature| request.header("stripe-signature", *signature));
    client.send(request).await
}

#[tokio::test]
async fn an_order_is_held_paid_for_and_confirmed() {
    let till = Till::open(2).await;
    let order = till.hold("ann").await;
    let begun = till.client().pay(&order).await;
    let payment = &begun.body["payment"];
    assert_eq!(
        (begun.outcome(), &payment["provider"], &payment["state"]),
        ("PAYING", &json!("stripe"), &json!("pending"))
    );
    assert!(payment["clientSecret"].as_str().unwrap().contains("_secret_"), "{begun:?}");
    assert_eq!(begun.body["payUntil"], payment["payUntil"]);
    let again = till.client().pay(&order).await;
    assert_eq!(again.body, begun.body, "the same payment again");
    let paying = till.client().order(&order).await;
    assert_eq!(paying.body["expiresAt"], payment["payUntil"]);
    assert!(!paying.body.to_string().contains("_secret_"), "only who pays needs it: {paying:?}");
    let name = payment["providerRef"].as_str().unwrap();
    till.stripe.pay(name);
    till.deliver().await;
    let confirmed = till.reaches(&order, "CONFIRMED").await;
    assert_eq!(events(&confirmed), ["RESERVED", "HELD", "PAYING", "CONFIRMED"]);
    assert_eq!((&confirmed.body["payment"]["state"], &confirmed.body["expiresAt"]), (&json!("captured"), &Value::Null));
    assert!(till.stripe.intent(name).is_captured());
    till.deliver().await;
    let paid = till.client().pay(&order).await;
    assert_eq!((paid.status.as_u16(), paid.outcome()), (200, "CONFIRMED"), "nothing is to be paid twice");
    assert_eq!(till.stripe.intents().len(), 1);
    assert_eq!(till.books().await["sold"], 1);
    till.close().await;
}

#[tokio::test]
async fn units_of_a_failed_payment_are_bought_again_within_a_second() {
    let till = Till::open(1).await;
    let order = till.hold("ann").await;
    let payment = till.begin(&order).await;
    assert_eq!(till.shop.click("bob").await.outcome(), "SOLD_OUT");
    till.stripe.decline(&payment);
    till.deliver().await;
    till.buys_within_a_second("bob").await;
    assert_eq!(till.client().order(&order).await.outcome(), "CANCELLED");
    till.stripe_has(&payment, "cancelled, so that no other card is tried", |intent| intent.status == "canceled").await;
    assert_eq!(till.books().await["sold"], 1);
    till.close().await;
}

#[tokio::test]
async fn units_of_an_unpaid_hold_are_bought_again_and_it_cannot_be_paid_for_any_more() {
    let mut till = Till::without_keeper(&held_sale(1, PRICE, 1)).await;
    let order = till.hold("ann").await;
    let held_until = till.client().order(&order).await.body["expiresAt"].as_str().unwrap().to_owned();
    let held_until = chrono::DateTime::parse_from_rfc3339(&held_until).unwrap().timestamp_millis();
    let over = async || (i64::try_from(boot::clock::now_ms()).unwrap() > held_until).then_some(());
    until("the hold is over", SOON, over).await;
    // No keeper runs: nobody notices but the buyer, who is too late.
    let late = till.client().pay(&order).await;
    assert_problem(&late, 409, "ORDER_STATE_FORBIDS");
    assert!(late.body["detail"].as_str().unwrap().contains("EXPIRED"), "{late:?}");
    till.buys_within_a_second("bob").await;
    assert!(till.stripe.intents().is_empty());
    till.start_keeper();
    // Bob does not pay either: the keeper sees to it.
    let given_up = async || (till.shop.click("cid").await.outcome() == "SUCCESS").then_some(());
    until("the unit is on sale again", Duration::from_secs(3), given_up).await;
    till.books().await;
    till.close().await;
}

#[tokio::test]
async fn only_what_the_provider_has_signed_just_now_has_an_effect() {
    let mut till = Till::without_keeper(&held_sale(1, PRICE, 600)).await;
    let order = till.hold("ann").await;
    let payment = till.begin(&order).await;
    let body = event("evt_forged", "payment_intent.payment_failed", &payment, &order);
    let sign = |secret: &str, body: &str, now| payments::sign(&secret.into(), body.as_bytes(), now);
    let good = sign(WEBHOOK_SECRET, &body, now());
    let changed = body.replace("payment_failed", "succeeded");
    for (signatures, body) in [
        (vec![], &body),
        (vec![""], &body),
        (vec!["t=1,v1=x"], &body),
        (vec![&*sign("another secret of 16", &body, now())], &body),
        (vec![&*sign(WEBHOOK_SECRET, &body, now() - 400)], &body),
        (vec![&*sign(WEBHOOK_SECRET, &body, now() + 400)], &body),
        (vec![&*good], &changed),
        (vec![&*good, "t=1,v1=x"], &body),
        (vec![&*good, &*good], &body),
    ] {
        assert_problem(&send(till.client(), &signatures, body).await, 400, "INVALID_SIGNATURE");
    }
    assert_eq!(till.client().order(&order).await.outcome(), "PAYING");
    for (body, status, code) in [
        ("", 400, "INVALID_BODY"),
        ("{", 400, "INVALID_BODY"),
        (r#"{"id":"evt_1","type":"payment_intent.succeeded","data":{"object":{}}}"#, 400, "INVALID_BODY"),
        (&" ".repeat(65_537), 413, "BODY_TOO_LARGE"),
    ] {
        assert_problem(&send(till.client(), &[&sign(WEBHOOK_SECRET, body, now())], body).await, status, code);
    }
    // As large as a real one.
    let padded = format!("{body:10000}");
    let believed = send(till.client(), &[&sign(WEBHOOK_SECRET, &padded, now())], &padded).await;
    assert_eq!(believed.body, json!({ "received": true }));
    assert_eq!(till.client().order(&order).await.outcome(), "CANCELLED");
    till.start_keeper();
    assert_eq!(till.books().await["sold"], 0);
    till.close().await;
}

#[tokio::test]
async fn an_event_counts_once_and_one_of_somebody_elses_not_at_all() {
    let mut till = Till::without_keeper(&held_sale(2, PRICE, 600)).await;
    let (anns, bobs) = (till.hold("ann").await, till.hold("bob").await);
    let (payment, _) = (till.begin(&anns).await, till.begin(&bobs).await);
    for (kind, payment, order) in [
        ("charge.refunded", payment.as_str(), anns.as_str()),
        ("payment_intent.payment_failed", "pi_of_another_shop", "4711"),
        ("payment_intent.payment_failed", "pi_of_another_shop", "01890000-0000-7000-8000-000000000000"),
        ("payment_intent.payment_failed", "pi_of_another_payment", &anns),
    ] {
        let answer = till.client().webhook(&event("evt_of_no_effect", kind, payment, order)).await.unwrap();
        assert_eq!(answer.status, 200, "the provider need not send it again: {answer:?}");
    }
    for order in [&anns, &bobs] {
        assert_eq!(till.client().order(order).await.outcome(), "PAYING");
    }
    let failed = event("evt_failed", "payment_intent.payment_failed", &payment, &anns);
    for _ in 0..3 {
        assert_eq!(till.client().webhook(&failed).await.unwrap().status, 200);
    }
    assert_eq!(events(&till.client().order(&anns).await), ["RESERVED", "HELD", "PAYING", "CANCELLED"]);
    till.start_keeper();
    let books = till.books().await;
    assert_eq!((&books["sold"], &books["available"]), (&json!(1), &json!(1)), "the unit came back once");
    till.close().await;
}

#[tokio::test]
async fn while_the_provider_is_away_the_buyer_is_told_so_and_the_next_try_goes_on() {
    let till = Till::open(1).await;
    let order = till.hold("ann").await;
    till.stripe.set_weather(Weather::Down);
    let away = till.client().pay(&order).await;
    assert_problem(&away, 503, "UNAVAILABLE");
    assert_eq!(away.headers["retry-after"], "1");
    assert_eq!(till.client().order(&order).await.outcome(), "PAYING", "the units stay the buyer's");
    // The key that was tried answers 500 for ever, as Stripe's do. A later one does not.
    till.stripe.set_weather(Weather::Fine);
    let begun = async || {
        let answer = till.client().pay(&order).await;
        (answer.status == 200).then_some(answer)
    };
    let begun = until("the payment is begun", SOON, begun).await;
    let payment = begun.body["payment"]["providerRef"].as_str().unwrap().to_owned();
    till.stripe.set_weather(Weather::Down);
    till.stripe.pay(&payment);
    till.deliver().await;
    assert_eq!(
        till.client().order(&order).await.outcome(),
        "PAYING",
        "no order is confirmed before the money is taken"
    );
    till.stripe.set_weather(Weather::Fine);
    till.reaches(&order, "CONFIRMED").await;
    assert!(till.stripe.intent(&payment).is_captured());
    assert_eq!(till.books().await["sold"], 1);
    till.close().await;
}

#[tokio::test]
async fn what_a_lost_webhook_would_have_told_is_asked_for() {
    let till = Till::open(2).await;
    let (anns, bobs) = (till.hold("ann").await, till.hold("bob").await);
    let (paid, declined) = (till.begin(&anns).await, till.begin(&bobs).await);
    till.stripe.pay(&paid);
    till.stripe.decline(&declined);
    till.reaches(&anns, "CONFIRMED").await;
    till.reaches(&bobs, "CANCELLED").await;
    assert!(till.stripe.intent(&paid).is_captured());
    assert_eq!(till.books().await["sold"], 1);
    till.close().await;
}

#[tokio::test]
async fn money_that_can_no_longer_be_taken_confirms_nothing() {
    let till = Till::open(1).await;
    let order = till.hold("ann").await;
    let payment = till.begin(&order).await;
    till.stripe.pay(&payment);
    till.stripe.lapse(&payment);
    let [authorized, _lapsed] = till.stripe.take_events().try_into().unwrap();
    till.client().webhook(&authorized.body).await.unwrap();
    till.reaches(&order, "CANCELLED").await;
    till.buys_within_a_second("bob").await;
    assert_eq!(till.books().await["sold"], 1);
    till.close().await;
}

#[tokio::test]
async fn what_costs_nothing_needs_no_provider_and_what_the_provider_refuses_goes_back() {
    let free = Shop::with(&held_sale(1, 0, 600)).await;
    let off = free.stack.api_with(&[("FLASHSALE__PAYMENTS__PROVIDER", "none")]).await;
    let persister = free.stack.persister();
    let order = free.buy("ann").await;
    let paid = async || {
        let answer = off.client.pay(&order).await;
        (answer.outcome() == "CONFIRMED").then_some(answer)
    };
    let paid = until("the order is confirmed", SOON, paid).await;
    assert_eq!(paid.body["payment"], Value::Null);
    assert_problem(&send(&off.client, &[], "{}").await, 501, "PAYMENTS_OFF");
    free.check_books(&[("ann".to_owned(), order)]).await;
    drop(off);
    free.close([persister]).await;

    let cheap = Till::without_keeper(&held_sale(1, 49, 600)).await;
    let off = cheap.shop.stack.api_with(&[("FLASHSALE__PAYMENTS__PROVIDER", "none")]).await;
    let order = cheap.hold("ann").await;
    assert_problem(&off.client.pay(&order).await, 501, "PAYMENTS_OFF");
    let refused = cheap.client().pay(&order).await;
    assert_problem(&refused, 409, "PAYMENT_REFUSED");
    assert!(refused.body["detail"].as_str().unwrap().contains("amount_too_small"), "{refused:?}");
    cheap.buys_within_a_second("bob").await;
    assert_eq!(cheap.client().order(&order).await.outcome(), "CANCELLED");
    assert_eq!(cheap.books().await["sold"], 1);
    drop(off);
    cheap.close().await;
}

/// Nobody sends webhooks: the simulated provider decides, and the keeper asks it.
#[tokio::test]
async fn as_many_orders_are_paid_for_as_there_are_units_though_one_payment_in_five_fails() {
    const UNITS: usize = 20;
    let shop = Shop::with(&held_sale(20, PRICE, 600)).await;
    let simulated =
        [("FLASHSALE__PAYMENTS__SIMULATED_FAILURE_PERCENT", "20"), ("FLASHSALE__PAYMENTS__SIMULATED_DELAY_MS", "100")];
    let api = shop.stack.api_with(&simulated).await;
    let workers = [shop.stack.persister(), shop.stack.start_with("flashsale-keeper", &[], &simulated)];
    let decided = async |order: &str| {
        let pay = async || (api.client.pay(order).await.status == 200).then_some(());
        until("the payment is begun", SOON, pay).await;
        let decided = async || {
            let status = api.client.order(order).await.outcome().to_owned();
            ["CONFIRMED", "CANCELLED"].contains(&status.as_str()).then_some(status)
        };
        until("the payment is decided", SOON, decided).await
    };
    let mut waiting: Vec<String> = (0..300).map(|n| format!("buyer-{n}")).collect();
    let (mut paid, mut failed) = (Vec::new(), 0);
    while paid.len() < UNITS {
        let answers = clicks(std::slice::from_ref(&api.client), shop.sale, waiting.drain(..), 32).await;
        waiting =
            answers.iter().filter(|(_, told)| told.outcome() == "SOLD_OUT").map(|(user, _)| user.clone()).collect();
        let won = promised(&answers);
        assert_eq!(waiting.len() + won.len(), answers.len(), "everybody is told one or the other");
        let outcomes = futures_util::future::join_all(won.iter().map(|(_, order)| decided(order))).await;
        for (winner, outcome) in won.into_iter().zip(outcomes) {
            if outcome == "CONFIRMED" { paid.push(winner) } else { failed += 1 }
        }
        // Whatever failed is on sale again within a second: the next round finds it.
        let back = async || {
            let left = api.client.status(shop.sale).await.body["remainingStock"].as_u64();
            (left == Some((UNITS - paid.len()) as u64)).then_some(())
        };
        until("the units of failed payments are on sale again", Duration::from_secs(2), back).await;
    }
    assert_eq!((paid.len(), shop.click(&waiting[0]).await.outcome()), (UNITS, "SOLD_OUT"), "{failed} failed");
    shop.check_books(&paid).await;
    drop(api);
    shop.close(workers).await;
}
