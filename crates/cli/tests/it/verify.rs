//! `flashsale verify`: books that are right, and books that somebody has meddled with.

use serde_json::json;

use crate::desk::Desk;

#[tokio::test]
async fn books_that_are_right_exit_with_0_and_those_that_are_wrong_with_1() {
    let desk = Desk::open().await;
    let sale = desk.open_sale("Lamp", 3).await;
    desk.open_sale("Sofa", 3).await;
    assert_eq!(desk.api.client.purchase(sale, "ann").await.outcome(), "SUCCESS");
    desk.stack.settled(&desk.api.client, sale).await;
    let table = desk.table(&["verify", "Lamp"]);
    for part in ["Lamp  ok", "1 sold + 2 on sale of 3 units", "never_oversold", "every_unit_is_somewhere"] {
        assert!(table.contains(part), "no {part} in {table}");
    }
    let all = desk.json(&["verify", "--all"]);
    assert_eq!((&all["ok"], all["sales"].as_array().unwrap().len()), (&json!(true), 2));

    let mut connection = desk.stack.database.connect().await;
    let order = "UPDATE orders SET quantity = quantity + $1 WHERE sale_id = $2";
    sqlx::query(order).bind(1).bind(sale.0).execute(&mut connection).await.unwrap();
    let (code, table, complaints) = desk.run(&["verify", "--all"]);
    assert_eq!((code, complaints.as_str()), (1, ""), "{table}");
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines.contains(&"ok  Sofa  0 sold + 3 on sale of 3 units"), "{table}");
    assert!(table.contains("BROKEN  Lamp") && table.contains("sold_counter_is_sum_of_orders: expected 2"), "{table}");
    let (code, json, _) = desk.run(&["verify", "Lamp", "Sofa", "--output", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, &json["ok"], &json["sales"][1]["ok"]), (1, &json!(false), &json!(true)));
    sqlx::query(order).bind(-1).bind(sale.0).execute(&mut connection).await.unwrap();

    assert_eq!(desk.run(&["verify"]).0, 2);
    assert_eq!(desk.run(&["verify", "Table"]).0, 1);
    assert_eq!(desk.run(&["verify", "Lamp", "--all"]).0, 2);
    desk.close().await;
}
