//! `flashsale orders`: every page of them, and only those that are asked for.

use serde_json::json;

use crate::desk::Desk;

#[tokio::test]
async fn orders_are_listed_whole_or_by_buyer_state_and_number() {
    let desk = Desk::open().await;
    let sale = desk.open_sale("Lamp", 300).await;
    assert_eq!(desk.table(&["orders", "Lamp"]), "no orders\n");
    let told = testkit::rush(&desk.api.client, sale, "buyer", 0..205).await;
    assert_eq!(told.promised.len(), 205);
    desk.stack.settled(&desk.api.client, sale).await;

    let table = desk.table(&["orders", "Lamp"]);
    assert_eq!(table.lines().count(), 206, "more than a page");
    assert!(table.starts_with("ORDER ") && table.contains("19.99 EUR") && table.contains("CONFIRMED"), "{table}");
    let (user, order) = &told.promised[7];
    let theirs = desk.json(&["orders", "Lamp", "--user", user]);
    assert_eq!(theirs["orders"].as_array().unwrap().len(), 1);
    assert_eq!(theirs["orders"][0]["orderId"], json!(order));
    assert_eq!(desk.json(&["orders", "Lamp", "--limit", "3"])["orders"].as_array().unwrap().len(), 3);
    assert_eq!(desk.json(&["orders", "Lamp", "--limit", "203"])["orders"].as_array().unwrap().len(), 203);
    assert_eq!(desk.table(&["orders", "Lamp", "--status", "held"]), "no orders\n");
    assert_eq!(desk.run(&["orders", "Lamp", "--status", "lost"]).0, 2);
    assert_eq!(desk.run(&["orders", "Sofa"]).0, 1);
    desk.close().await;
}
