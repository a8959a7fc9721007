//! `flashsale sale`: made, shown, changed, stopped, each by words that people use.

use std::time::Duration;

use domain::SaleId;
use serde_json::{Value, json};
use testkit::{Own, Proxy, Wire, until};
use uuid::Uuid;

use crate::desk::{Desk, bare, told};

const PATIENCE: Duration = Duration::from_secs(30);

fn id(sale: &Value) -> SaleId {
    SaleId(sale["saleId"].as_str().unwrap().parse().unwrap())
}

#[tokio::test]
async fn a_sale_is_made_with_everything_it_can_have_and_changed_while_it_runs() {
    let desk = Desk::open().await;
    let made = desk.json(&[
        "sale",
        "create",
        "Brass lamp",
        "--stock",
        "5",
        "--price",
        "19.9",
        "--starts",
        "now",
        "--lasts",
        "1h30m",
        "--hold",
        "15m",
        "--per-user",
        "2",
        "--description",
        "It shines",
        "--image-url",
        "https://shop.example/l.jpg",
    ]);
    let fields = ["name", "totalStock", "unitPriceMinor", "currency", "holdSeconds", "perUserLimit", "description"];
    let expected = json!(["Brass lamp", 5, 1_990, "EUR", 900, 2, "It shines"]);
    assert_eq!(fields.iter().map(|field| made[field].clone()).collect::<Value>(), expected);
    let at = |field: &str| chrono::DateTime::parse_from_rfc3339(made[field].as_str().unwrap()).unwrap();
    assert_eq!((at("endsAt") - at("startsAt")).num_minutes(), 90);
    desk.sells(id(&made)).await;

    let list = desk.table(&["sale", "list"]);
    assert!(list.starts_with("ID ") && list.contains("Brass lamp") && list.contains("19.90 EUR"), "{list}");
    let shown = desk.table(&["sale", "show", "brass"]);
    for part in ["Brass lamp", "per buyer", "2 at most", "15m", "https://shop.example/l.jpg"] {
        assert!(shown.contains(part), "no {part} in {shown}");
    }
    let changed = desk.table(&["sale", "edit", "brass", "--price", "9.99", "--no-description", "--stock", "6"]);
    assert_eq!(changed, "Brass lamp is changed\n");
    assert_eq!(desk.table(&["sale", "add-stock", "brass", "4"]), "Brass lamp is given 4 more units, 10 in all\n");
    let now = desk.json(&["sale", "show", &id(&made).to_string()]);
    let now = ["unitPriceMinor", "description", "totalStock", "remainingStock"].map(|field| now[field].clone());
    assert_eq!(now, [json!(999), Value::Null, json!(10), json!(10)]);

    assert_eq!(desk.table(&["sale", "pause", "brass"]), "Brass lamp is paused\n");
    assert_eq!(desk.api.client.purchase(id(&made), "ann").await.body["code"], "NOT_ACTIVE");
    assert!(desk.table(&["sale", "show", "brass"]).contains("paused"));
    assert_eq!(desk.table(&["sale", "resume", "brass"]), "Brass lamp is resumed\n");
    assert_eq!(desk.api.client.purchase(id(&made), "ann").await.outcome(), "SUCCESS");
    assert_eq!(desk.table(&["sale", "end", "brass", "--yes"]), "Brass lamp is ended\n");
    let (code, _, complaints) = desk.run(&["sale", "resume", "brass"]);
    assert_eq!(code, 1);
    assert!(complaints.contains("SALE_STATE_FORBIDS"), "{complaints}");
    desk.close().await;
}

#[tokio::test]
async fn what_cannot_be_undone_is_done_only_where_somebody_types_the_sales_name() {
    let desk = Desk::open().await;
    let sale = desk.open_sale("Lamp", 5).await;
    assert_eq!(desk.api.client.purchase(sale, "ann").await.outcome(), "SUCCESS");
    desk.stack.settled(&desk.api.client, sale).await;
    for command in ["end", "reset"] {
        let (code, output, complaints) = desk.run(&["sale", command, "Lamp"]);
        assert_eq!((code, output.as_str()), (2, ""));
        assert!(complaints.contains("say --yes"), "{complaints}");
        let (code, shown) = desk.at_a_terminal(&format!("sale {command} Lamp"), "to go on: ", "lump\n");
        assert_eq!(code, 1, "{shown}");
        assert!(shown.contains("Type Lamp to go on") && shown.contains("nothing was done"), "{shown}");
    }
    let untouched = desk.json(&["sale", "show", "Lamp"]);
    assert_eq!((&untouched["sold"], &untouched["halted"]), (&json!(1), &Value::Null));
    let (code, shown) = desk.at_a_terminal("sale reset Lamp", "to go on: ", "Lamp\n");
    assert_eq!(code, 0, "{shown}");
    assert!(shown.contains("1 units in all") && shown.contains("Lamp has been reset"), "{shown}");
    desk.sells(sale).await;
    assert_eq!(desk.json(&["sale", "show", "Lamp"])["sold"], 0);
    let (code, shown) = desk.at_a_terminal("sale end Lamp", "to go on: ", "Lamp\n");
    assert_eq!(code, 0, "{shown}");
    desk.close().await;
}

#[tokio::test]
async fn a_name_that_several_sales_have_is_answered_with_their_ids() {
    let desk = Desk::open().await;
    let [first, second] = [desk.open_sale("Lamp", 1).await, desk.open_sale("Lamp", 2).await];
    let (code, output, complaints) = desk.run(&["sale", "show", "lamp"]);
    assert_eq!((code, output.as_str()), (2, ""));
    assert!(complaints.starts_with("error: 2 sales are meant by lamp"), "{complaints}");
    for sale in [first, second] {
        assert!(complaints.contains(&sale.to_string()), "{complaints}");
        assert!(desk.table(&["sale", "show", &sale.to_string()]).contains("Lamp"));
    }
    let unknown = Uuid::new_v4().to_string();
    for nobody in ["Sofa", &unknown, ""] {
        let (code, _, complaints) = desk.run(&["sale", "show", nobody]);
        assert_eq!(code, 1);
        assert!(complaints.contains("SALE_NOT_FOUND") && complaints.contains("flashsale sale list"), "{complaints}");
    }
    assert_eq!(desk.table(&["sale", "list", "--name", "sofa"]), "no sales\n");
    assert_eq!(desk.json(&["sale", "list", "--state", "open"])["sales"].as_array().unwrap().len(), 2);
    desk.close().await;
}

#[tokio::test]
async fn what_is_asked_in_a_wrong_way_says_what_is_right() {
    let desk = Desk::open().await;
    desk.open_sale("Lamp", 1).await;
    let create = |more: &[&'static str]| [&["sale", "create", "Sofa", "--stock", "1"], more].concat();
    for (arguments, code, words) in [
        (create(&["--price", "1.999", "--lasts", "1h"]), 2, "3 decimals, and EUR has 2"),
        (create(&["--price", "1,99", "--lasts", "1h"]), 2, "is no amount"),
        (create(&["--price", "1", "--currency", "euro", "--lasts", "1h"]), 2, "no currency"),
        (create(&["--price", "1"]), 2, "--ends"),
        (create(&["--price", "1", "--lasts", "soon"]), 2, "use a span such as"),
        (create(&["--price", "1", "--starts", "tomorrow", "--lasts", "1h"]), 2, "use now, +10m"),
        (create(&["--price", "1", "--ends", "2020-01-01T00:00:00Z"]), 1, "endsAt"),
        (create(&["--price", "1", "--lasts", "1h", "--per-user", "0"]), 1, "perUserLimit"),
        (vec!["sale", "edit", "Lamp"], 2, "nothing is to be changed"),
        (vec!["sale", "edit", "Lamp", "--currency", "USD"], 2, "--price"),
        (vec!["sale", "add-stock", "Lamp", "0"], 2, "invalid value '0'"),
        (vec!["sale", "list", "--state", "closing"], 2, "possible values"),
    ] {
        let (ended, output, complaints) = desk.run(&arguments);
        assert_eq!((ended, output.as_str()), (code, ""), "{arguments:?}: {complaints}");
        assert!(complaints.contains(words), "{arguments:?}: {complaints}");
    }
    assert_eq!(told(&bare(&["sale", "list"]).output().unwrap()).0, 2, "no address");
    let mut away = desk.command(&["sale", "list", "--url", "http://127.0.0.1:9"]);
    let (code, _, complaints) = told(&away.output().unwrap());
    assert!(code == 1 && complaints.contains("flashsale doctor"), "{complaints}");
    assert_eq!(desk.json(&["sale", "list"])["sales"].as_array().unwrap().len(), 1, "no sofa was made");
    desk.close().await;
}

#[tokio::test]
async fn a_sale_whose_answer_was_lost_is_made_once() {
    let desk = Desk::open().await;
    let wire = Proxy::before(desk.api.client.url()).await;
    wire.set(Wire::CutAfter(0));
    let mut command = desk.command(&["sale", "create", "Lamp", "--stock", "3", "--price", "1", "--lasts", "1h"]);
    command.env("FLASHSALE_URL", wire.url_of(desk.api.client.url()));
    let creating = tokio::task::spawn_blocking(move || told(&command.output().unwrap()));
    let is_made = async || (!desk.stack.ledger.sales().await.unwrap().is_empty()).then_some(());
    until("the sale is made", PATIENCE, is_made).await;
    wire.set(Wire::Open);
    let (code, output, complaints) = creating.await.unwrap();
    assert_eq!(code, 0, "{complaints}");
    let sales = desk.stack.ledger.sales().await.unwrap();
    assert_eq!(sales.len(), 1);
    assert!(output.contains(&sales[0].id.to_string()), "{output}");
    desk.sells(sales[0].id).await;
    desk.close().await;
}

#[tokio::test]
async fn a_change_that_the_gate_could_not_be_told_is_explained() {
    let mut desk = Desk::with(Own::REDIS, &[]).await;
    let sale = desk.open_sale("Lamp", 3).await;
    desk.stack.redis.kill();
    let output = desk.table(&["sale", "pause", "Lamp"]);
    assert!(output.contains("not in effect yet") && output.contains("flashsale sale show"), "{output}");
    assert!(desk.table(&["sale", "show", "Lamp"]).contains("a change is not in effect yet"));
    desk.stack.redis.start();
    let in_effect = async || (desk.json(&["sale", "show", "Lamp"])["inEffect"] == true).then_some(());
    until("the pause is in effect", PATIENCE, in_effect).await;
    desk.stack.settled(&desk.api.client, sale).await;
    desk.close().await;
}
