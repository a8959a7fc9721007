//! Payments in a keeper's hands: no webhook ever comes, keepers die and providers are away.

use std::time::Duration;

use failpoints::Point;
use servers::Signal;
use testkit::{Weather, until};

use crate::fixture::PATIENCE;
use crate::till::Till;

const ONE_SECOND: (&str, &str) = ("FLASHSALE__PAYMENTS__PAY_LIMIT_SECONDS", "1");
const NO_GRACE: (&str, &str) = ("FLASHSALE__KEEPER__LATE_PAYMENT_SECONDS", "0");

#[tokio::test]
async fn what_no_webhook_has_told_a_keeper_finds_out() {
    let till = Till::open(10, &[]).await;
    let _keeper = till.keeper(&[]);
    let (paid, payment) = till.begin("paid").await;
    let (declined, declined_payment) = till.begin("declined").await;
    till.stripe.pay(&payment);
    till.stripe.decline(&declined_payment);
    till.reaches(&paid, "CONFIRMED").await;
    till.reaches(&declined, "CANCELLED").await;
    // The buyer's page still has the form open: it cannot be paid any more.
    let cancelled = async || (till.stripe.intent(&declined_payment).status == "canceled").then_some(());
    until("what was declined is cancelled", PATIENCE, cancelled).await;
    till.settles_with(&[&paid]).await;
}

#[tokio::test]
async fn a_payment_that_is_not_finished_in_time_is_let_go_and_its_unit_is_bought_again() {
    let till = Till::open(1, &[ONE_SECOND, NO_GRACE]).await;
    let _keeper = till.keeper(&[("FLASHSALE__KEEPER__TICK_MS", "3600000")]);
    let (order, payment) = till.begin("slow").await;
    let bought = async || {
        let answer = till.shop.api.client.purchase(till.shop.sale, "quick").await;
        (answer.outcome() == "SUCCESS").then(|| answer.body["orderId"].as_str().unwrap().to_owned())
    };
    let other = until("the unit is for sale", PATIENCE, bought).await;
    till.reaches(&order, "EXPIRED").await;
    let released = async || (till.stripe.intent(&payment).status == "canceled").then_some(());
    until("the payment is cancelled", PATIENCE, released).await;
    till.stripe.pay(&payment);
    till.reaches(&other, "HELD").await;
    till.settles_with(&[]).await;
}

#[tokio::test]
async fn of_two_late_payments_the_one_that_finds_a_unit_gets_it_and_the_other_gets_its_money_back() {
    let till = Till::open(2, &[ONE_SECOND]).await;
    let _keepers = [till.keeper(&[]), till.keeper(&[])];
    let late = [till.begin("late-0").await, till.begin("late-1").await];
    for (order, _) in &late {
        till.reaches(order, "EXPIRED").await;
    }
    // One of the two units is gone by the time they pay.
    let bought =
        async || (till.shop.api.client.purchase(till.shop.sale, "quick").await.outcome() == "SUCCESS").then_some(());
    until("a unit is for sale", PATIENCE, bought).await;
    for (_, payment) in &late {
        till.stripe.pay(payment);
    }
    let decided = async || {
        let states = [till.status(&late[0].0).await.unwrap(), till.status(&late[1].0).await.unwrap()];
        let released = till.stripe.intents().iter().filter(|intent| intent.status == "canceled").count();
        let winner = states.iter().position(|state| state == "CONFIRMED")?;
        (released == 1).then_some(winner)
    };
    let winner = until("both are decided", PATIENCE, decided).await;
    till.settles_with(&[&late[winner].0]).await;
}

#[tokio::test]
async fn a_keeper_that_dies_once_the_money_is_taken_leaves_it_to_the_next_and_it_is_taken_once() {
    let till = Till::open(3, &[]).await;
    let point = Point::KeeperCaptured;
    let mut dying = till.keeper(&[("FLASHSALE_FAILPOINT", "keeper.captured=crash")]);
    let (order, payment) = till.begin("buyer").await;
    till.stripe.pay(&payment);
    let status = dying.ended().await;
    assert!(!status.success() && dying.log().contains(&point.last_words()), "{status}:\n{}", dying.log());
    assert!(till.stripe.intent(&payment).is_captured());
    assert_eq!(till.status(&order).await.as_deref(), Some("PAYING"), "nobody has written it down");
    let _keepers = [till.keeper(&[]), till.keeper(&[])];
    till.reaches(&order, "CONFIRMED").await;
    till.settles_with(&[&order]).await;
}

#[tokio::test]
async fn while_the_provider_is_away_nothing_is_lost_and_a_reset_gives_all_money_back() {
    let till = Till::open(5, &[]).await;
    let keeper = till.keeper(&[]);
    let (confirmed, first) = till.begin("confirmed").await;
    till.stripe.pay(&first);
    till.reaches(&confirmed, "CONFIRMED").await;
    let (_, second) = till.begin("authorized").await;
    let (_, third) = till.begin("pending").await;
    till.stripe.set_weather(Weather::Down);
    till.stripe.pay(&second);
    let noticed = async || keeper.log().contains("payments wait for their provider").then_some(());
    until("the outage is told", PATIENCE, noticed).await;

    let reset = till.shop.api.client.reset(till.shop.sale, true).await;
    assert_eq!(reset.status, 200, "{reset:?}");
    till.stripe.set_weather(Weather::Fine);
    let released =
        async || [&first, &second, &third].iter().all(|payment| till.stripe.intent(payment).is_let_go()).then_some(());
    until("all money is given back", PATIENCE, released).await;
    till.settles_with(&[]).await;
    assert!(till.stripe.intent(&first).refunded);
}

#[tokio::test]
async fn a_keeper_that_is_asked_to_stop_writes_down_the_answer_it_waits_for() {
    let till = Till::open(1, &[]).await;
    let mut keeper = till.keeper(&[]);
    let (order, payment) = till.begin("buyer").await;
    till.stripe.set_delay(Duration::from_secs(1));
    till.stripe.pay(&payment);
    let captured = async || till.stripe.intent(&payment).is_captured().then_some(());
    until("the money is taken", PATIENCE, captured).await;
    keeper.signal(Signal::TERM);
    let status = keeper.ended().await;
    assert!(status.success(), "{status}:\n{}", keeper.log());
    assert_eq!(till.status(&order).await.as_deref(), Some("CONFIRMED"));
    till.settles_with(&[&order]).await;
}
