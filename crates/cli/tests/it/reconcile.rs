//! `flashsale reconcile`: says what would be done, and does it.

use serde_json::json;
use testkit::Own;

use crate::desk::Desk;

#[tokio::test]
async fn a_gate_that_was_lost_is_told_of_by_a_dry_run_and_built_anew_without() {
    let mut desk = Desk::with(Own::REDIS, &[]).await;
    let sale = desk.open_sale("Lamp", 3).await;
    assert_eq!(desk.api.client.purchase(sale, "ann").await.outcome(), "SUCCESS");
    desk.stack.settled(&desk.api.client, sale).await;
    let nothing = desk.table(&["reconcile", "Lamp", "--dry-run"]);
    assert!(nothing.contains("nothing is to be done") && nothing.contains("books ok"), "{nothing}");

    // A keeper would be quicker.
    desk.workers.pop().unwrap().stop().await;
    desk.stack.restart_redis(true);
    let (code, table, complaints) = desk.run(&["reconcile", "Lamp", "--dry-run"]);
    assert_eq!((code, complaints.as_str()), (1, ""), "there is no gate, and the books say so: {table}");
    assert!(table.contains("a new gate would be built (gate_lost)"), "{table}");
    let done = desk.table(&["reconcile", "Lamp"]);
    for part in ["a new gate was built (gate_lost)", "1 -> 2", "unknown -> 2", "buyers loaded", "books ok"] {
        assert!(done.contains(part), "no {part} in {done}");
    }
    let again = desk.json(&["reconcile", "Lamp", "--dry-run"]);
    assert_eq!((&again["needed"], &again["verification"]["ok"]), (&json!("NOTHING"), &json!(true)));
    assert_eq!(desk.run(&["reconcile", "Sofa"]).0, 1);
    desk.close().await;
}
