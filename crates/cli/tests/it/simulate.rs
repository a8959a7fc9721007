//! `flashsale simulate`: a verdict that is right, whichever it is.

use serde_json::{Value, json};
use testkit::{TOKEN_SECRET, WEBHOOK_SECRET};

use crate::desk::{Desk, told};

const SECRET: &str = "FLASHSALE_PAYMENTS_WEBHOOK_SECRET";

/// Runs a simulation: its code, its report, its complaints.
fn simulated(desk: &Desk, arguments: &[&str], variables: &[(&str, &str)]) -> (i32, Value, String) {
    let arguments = [&["simulate", "--output", "json"], arguments].concat();
    let mut command = desk.command(&arguments);
    let (code, output, complaints) = told(&command.envs(variables.iter().copied()).output().unwrap());
    (code, serde_json::from_str(&output).unwrap_or_default(), complaints)
}

/// The names of the invariants that are broken.
fn broken(report: &Value) -> Vec<&str> {
    let checks = report["checks"].as_array().unwrap().iter();
    checks.filter(|check| check["ok"] == false).map(|check| check["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_crowd_buys_exactly_what_there_is_and_the_sale_is_over() {
    let desk = Desk::open().await;
    let (code, report, complaints) = simulated(&desk, &["--buyers", "300", "--stock", "20"], &[]);
    assert_eq!((code, complaints.as_str(), &report["result"]), (0, "", &json!("PASS")), "{report:#}");
    assert_eq!(report["answers"], json!({ "SUCCESS": 20, "SOLD_OUT": 280 }));
    assert!(report["latencyMs"]["p99"].as_f64().unwrap() > 0.0 && report["answersPerSecond"].as_f64().unwrap() > 0.0);
    let sale = desk.json(&["sale", "show", report["saleId"].as_str().unwrap()]);
    assert_eq!((&sale["sold"], &sale["halted"]), (&json!(20), &json!("ended")));

    let few = ["--buyers", "5", "--stock", "11", "--quantity", "2", "--keep", "--rate", "50", "--connections", "2"];
    let (code, report, _) = simulated(&desk, &few, &[]);
    assert_eq!((code, &report["answers"]), (0, &json!({ "SUCCESS": 5 })), "{report:#}");
    let sale = desk.json(&["sale", "show", report["saleId"].as_str().unwrap()]);
    assert_eq!((&sale["sold"], &sale["halted"], &sale["remainingStock"]), (&json!(10), &Value::Null, &json!(1)));
    let none = simulated(&desk, &["--buyers", "5", "--stock", "0"], &[]);
    assert_eq!((none.0, &none.1["answers"]), (0, &json!({ "SOLD_OUT": 5 })));
    desk.close().await;
}

#[tokio::test]
async fn buyers_who_click_many_times_at_once_get_one_order_each() {
    let desk = Desk::open().await;
    let (code, report, _) = simulated(&desk, &["--buyers", "100", "--stock", "30", "--duplicates", "3"], &[]);
    assert_eq!((code, &report["result"]), (0, &json!("PASS")), "{report:#}");
    let answers: u64 = report["answers"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
    assert!(answers >= 400, "{report:#}");
    let promised = report["checks"].as_array().unwrap().iter();
    let promised = promised.clone().find(|check| check["name"] == "orders promised are distinct").unwrap();
    assert_eq!(promised["actual"], "30");
    desk.close().await;
}

#[tokio::test]
async fn units_of_payments_that_fail_are_sold_again_until_all_are_paid_for() {
    let desk = Desk::open().await;
    let plan = ["--buyers", "60", "--stock", "10", "--pay-failures", "40", "--seed", "7"];
    let (code, report, complaints) = simulated(&desk, &plan, &[(SECRET, WEBHOOK_SECRET)]);
    assert_eq!((code, complaints.as_str(), &report["result"]), (0, "", &json!("PASS")), "{report:#}");
    assert_eq!(report["payments"]["succeeded"], 10, "{report:#}");
    assert!(report["payments"]["failed"].as_u64().unwrap() > 0, "{report:#}");
    let (code, report, _) = simulated(&desk, &["--buyers", "5", "--stock", "3", "--pay"], &[]);
    assert_eq!((code, &report["payments"]["succeeded"]), (0, &json!(3)), "the provider decides: {report:#}");

    let (code, _, complaints) = simulated(&desk, &plan, &[]);
    assert!(code == 2 && complaints.contains(SECRET), "{complaints}");
    let (code, _, complaints) = simulated(&desk, &["--pay", "--hold", "0"], &[]);
    assert!(code == 2 && complaints.contains("cannot be paid for"), "{complaints}");
    desk.close().await;
}

#[tokio::test]
async fn a_shop_without_a_provider_or_an_api_is_told_of_as_what_it_is() {
    let desk = Desk::with(testkit::Own::NONE, &[("FLASHSALE__PAYMENTS__PROVIDER", "none")]).await;
    let (code, _, complaints) = simulated(&desk, &["--buyers", "3", "--stock", "1", "--pay"], &[]);
    assert!(code == 2 && complaints.contains("FLASHSALE__PAYMENTS__PROVIDER"), "{complaints}");
    let sales = desk.json(&["sale", "list"]);
    assert_eq!(sales["sales"][0]["halted"], "ended", "it is ended whatever happens");
    let (code, _, complaints) = simulated(&desk, &["--url", "http://127.0.0.1:9"], &[]);
    assert!(code == 1 && complaints.contains("no answer from"), "{complaints}");
    // Its order is held to the end of the sale.
    desk.close_unsettled().await;
}

#[tokio::test]
async fn buyers_have_tokens_where_the_shop_wants_them() {
    let secret = ("FLASHSALE__AUTH__HS256_SECRET", TOKEN_SECRET);
    let desk = Desk::with(testkit::Own::NONE, &[("FLASHSALE__AUTH__MODE", "jwt"), secret]).await;
    let plan = ["--buyers", "20", "--stock", "4"];
    let (code, report, complaints) = simulated(&desk, &plan, &[secret]);
    assert_eq!((code, complaints.as_str(), &report["answers"]["SUCCESS"]), (0, "", &json!(4)), "{report:#}");
    let (code, report, _) = simulated(&desk, &plan, &[]);
    assert_eq!(code, 1);
    let odd = broken(&report);
    assert!(odd.contains(&"answers outside the contract"), "{report:#}");
    desk.close().await;
}

/// Has PostgreSQL do this after each order of the third buyer and on.
async fn meddle(desk: &Desk, what: &str) {
    let sql = format!(
        "CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN {what} RETURN NULL; END $$;
         CREATE TRIGGER meddle AFTER INSERT ON orders FOR EACH ROW
             WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION meddle();"
    );
    let mut connection = desk.stack.database.connect().await;
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
}

#[tokio::test]
async fn an_order_that_vanishes_after_its_promise_is_a_fail() {
    let desk = Desk::open().await;
    meddle(&desk, "DELETE FROM orders WHERE id = NEW.id AND NEW.user_id LIKE '%-1';").await;
    // One buyer of one unit would be served without a doubt: number 1 is among two.
    let (code, report, complaints) = simulated(&desk, &["--buyers", "2", "--stock", "2"], &[]);
    assert_eq!((code, complaints.as_str(), &report["result"]), (1, "", &json!("FAIL")), "{report:#}");
    let broken = broken(&report);
    for name in ["never undersold", "every order told is there, once", "books: sold counter is sum of orders"] {
        assert!(broken.contains(&name), "{name}: {broken:?}");
    }
    desk.close_unsettled().await;
}

#[tokio::test]
async fn an_order_that_nobody_asked_for_is_a_fail() {
    let desk = Desk::open().await;
    let smuggle = "INSERT INTO orders SELECT (jsonb_populate_record(NEW, jsonb_build_object(
                       'id', gen_random_uuid(), 'user_id', 'stranger-' || NEW.user_id))).*;";
    meddle(&desk, smuggle).await;
    let mut command = desk.command(&["simulate", "--buyers", "4", "--stock", "2"]);
    let (code, report, complaints) = told(&command.output().unwrap());
    assert_eq!((code, complaints.as_str()), (1, ""), "{report}");
    for part in ["BROKEN  never oversold", "BROKEN  every order has its buyer", "stranger-sim-", "FAIL: "] {
        assert!(report.contains(part), "no {part} in {report}");
    }
    desk.close_unsettled().await;
}
