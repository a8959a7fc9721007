//! Each invariant is seen to hold, and to be found broken.

use serde_json::json;

use super::*;
use crate::simulate::history::{Click, Paid};

const PLAN: Plan = Plan {
    buyers: 3,
    stock: 2,
    quantity: 1,
    duplicates: 0,
    pays: false,
    pay_failures: None,
    rate: None,
    connections: 1,
    hold_seconds: 0,
    seed: 0,
};

/// Three buyers of two units: 0 and 1 won the orders 10 and 11, 2 was refused.
struct Scene {
    plan: Plan,
    history: History,
    orders: Vec<Order>,
    books: Verification,
}

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn order(number: u128, buyer: u32, status: &str) -> Order {
    Order { order_id: id(number), user_id: name_of(buyer), quantity: 1, status: status.to_owned() }
}

fn name_of(buyer: u32) -> String {
    format!("b{buyer}")
}

fn click(buyer: u32, told: Told) -> Click {
    Click { buyer, told, gave_up: false }
}

fn paid(number: u128, ended: &str) -> Paid {
    Paid { order: id(number), wanted: Some(true), ended: Ok(ended.to_owned()) }
}

fn books(sold: i64) -> Verification {
    let invariant = json!({ "name": "every_unit_is_somewhere", "expected": "2", "actual": "2", "ok": true });
    serde_json::from_value(json!({
        "ok": true, "settled": true, "invariants": [invariant],
        "books": { "total": 2, "sold": sold, "available": 2 - sold, "inFlight": 0, "adjustments": 0, "deadLetters": 0 },
    }))
    .unwrap()
}

impl Scene {
    fn clean() -> Self {
        let history = History {
            clicks: vec![
                click(0, Told::Promised(id(10))),
                click(1, Told::TryAgain),
                click(1, Told::Held(id(11))),
                click(2, Told::SoldOut),
            ],
            ..History::default()
        };
        let orders = vec![order(10, 0, "CONFIRMED"), order(11, 1, "CONFIRMED")];
        Self { plan: PLAN, history, orders, books: books(2) }
    }

    /// With payments: that of buyer 0 succeeded, that of buyer 1 failed, and buyer 2 got the unit.
    fn paying() -> Self {
        let mut scene = Self::clean();
        scene.plan = Plan { pays: true, pay_failures: Some(50), hold_seconds: 600, ..PLAN };
        scene.history.clicks.push(click(2, Told::Promised(id(12))));
        scene.orders[1].status = "CANCELLED".to_owned();
        scene.orders.push(order(12, 2, "CONFIRMED"));
        scene.history.payments = vec![paid(10, "CONFIRMED"), paid(11, "CANCELLED"), paid(12, "CONFIRMED")];
        scene
    }

    fn checks(&self) -> Vec<Check> {
        let Self { plan, history, orders, books } = self;
        judge(&Evidence { plan, history, orders, books, name_of: &name_of })
    }

    fn broken(&self) -> Vec<String> {
        self.checks().into_iter().filter(|check| !check.ok).map(|check| check.name).collect()
    }
}

/// Whether a change of a clean scene breaks this invariant, and it names who does.
fn breaks(mut scene: Scene, invariant: &str, change: impl FnOnce(&mut Scene)) {
    assert_eq!(scene.broken(), [""; 0], "{invariant}: clean before");
    change(&mut scene);
    assert!(scene.broken().iter().any(|name| name == invariant), "{invariant}: {:#?}", scene.checks());
}

#[test]
fn what_is_right_passes_with_and_without_payments() {
    assert_eq!(Scene::clean().broken(), [""; 0]);
    assert_eq!(Scene::paying().broken(), [""; 0]);
    let mut few = Scene::clean();
    few.plan.buyers = 2;
    few.history.clicks.pop();
    assert_eq!(few.broken(), [""; 0], "everybody got one");
}

#[test]
fn each_broken_invariant_of_stock_is_found() {
    breaks(Scene::clean(), "never oversold", |scene| scene.orders.push(order(12, 2, "CONFIRMED")));
    breaks(Scene::clean(), "never undersold", |scene| {
        scene.orders.pop();
    });
    breaks(Scene::paying(), "never undersold", |scene| {
        scene.orders.pop();
    });
}

#[test]
fn units_that_came_back_too_late_to_be_sold_are_on_sale_again() {
    let mut scene = Scene::paying();
    scene.history.clicks.pop();
    scene.history.payments.pop();
    scene.orders.pop();
    scene.history.cut_short = true;
    scene.books = books(1);
    assert_eq!(scene.broken(), [""; 0]);
    scene.history.cut_short = false;
    assert_eq!(scene.broken(), ["never undersold"], "buyer 2 would have taken it");
    scene.history.cut_short = true;
    scene.books.books.available = 0;
    assert_eq!(scene.broken(), ["never undersold", "units of failed payments are back"]);
}

#[test]
fn each_broken_invariant_of_buyers_is_found() {
    let twice = "buyers with more than one order";
    breaks(Scene::clean(), twice, |scene| scene.orders[1].user_id = name_of(0));
    breaks(Scene::clean(), twice, |scene| scene.history.clicks.push(click(0, Told::Promised(id(13)))));
    breaks(Scene::clean(), twice, |scene| scene.history.clicks.push(click(0, Told::Held(id(13)))));
    let lost = "every order told is there, once";
    breaks(Scene::clean(), lost, |scene| scene.orders[0].order_id = id(14));
    breaks(Scene::clean(), lost, |scene| scene.orders[0].quantity = 2);
    breaks(Scene::clean(), lost, |scene| scene.orders[0].status = "CANCELLED".to_owned());
    breaks(Scene::clean(), lost, |scene| drop(scene.orders.remove(1)));
    breaks(Scene::clean(), "refused buyers with an order", |scene| scene.orders[1].user_id = name_of(2));
    breaks(Scene::clean(), "every order has its buyer", |scene| scene.orders[1].user_id = "stranger".to_owned());
    breaks(Scene::clean(), "orders promised are distinct", |scene| {
        scene.history.clicks.push(click(2, Told::Promised(id(10))));
    });
}

#[test]
fn each_broken_invariant_of_answers_and_states_is_found() {
    breaks(Scene::clean(), "answers outside the contract", |scene| {
        scene.history.clicks.push(click(2, Told::Odd("500 oh".to_owned())));
    });
    breaks(Scene::clean(), "buyers left without a decision", |scene| scene.history.clicks[1].gave_up = true);
    for status in ["HELD", "PAYING", "REFUSED", "EXPIRED", "CANCELLED"] {
        breaks(Scene::clean(), "orders that are not confirmed", |scene| scene.orders[0].status = status.to_owned());
    }
    let mut held = Scene::clean();
    held.plan.hold_seconds = 60;
    held.orders[0].status = "HELD".to_owned();
    held.orders[1].status = "HELD".to_owned();
    breaks(held, "orders that were refused or paid for", |scene| scene.orders[0].status = "CONFIRMED".to_owned());
}

#[test]
fn each_broken_invariant_of_payments_is_found() {
    breaks(Scene::paying(), "orders neither paid nor given back", |scene| scene.orders[0].status = "HELD".to_owned());
    breaks(Scene::paying(), "payments left undecided", |scene| scene.history.payments[0].ended = Err("no".to_owned()));
    breaks(Scene::paying(), "confirmed orders are those paid for", |scene| {
        scene.orders[1].status = "CONFIRMED".to_owned();
    });
    breaks(Scene::paying(), "confirmed orders are those paid for", |scene| {
        scene.history.payments[2].ended = Ok("CANCELLED".to_owned());
    });
    breaks(Scene::paying(), "units of failed payments are back", |scene| scene.books.books.available = 1);
}

#[test]
fn each_broken_invariant_of_the_books_is_found() {
    breaks(Scene::clean(), "the books settle", |scene| scene.books.settled = false);
    breaks(Scene::clean(), "books: every unit is somewhere", |scene| {
        scene.books.ok = false;
        scene.books.invariants[0].ok = false;
    });
    breaks(Scene::clean(), "books: ok", |scene| scene.books.ok = false);
}

#[test]
fn of_many_culprits_a_few_are_named_and_all_are_counted() {
    let mut scene = Scene::clean();
    scene.history.clicks.extend((3..12).map(|buyer| click(buyer, Told::Odd("500".to_owned()))));
    let checks = scene.checks();
    let odd = checks.iter().find(|check| check.name == "answers outside the contract").unwrap();
    assert_eq!((odd.actual.as_str(), odd.culprits.len()), ("9", 5));
    assert_eq!(odd.culprits[0], "b3: 500");
}
