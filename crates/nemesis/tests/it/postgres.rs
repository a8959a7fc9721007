//! Rows 12 to 14: PostgreSQL dies, stands still, has no room, or cannot have it both ways. Buyers buy on.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use inventory::Inventory;
use servers::{Postgres, Signal};
use sqlx::{Connection, Executor, PgConnection};
use testkit::{Attempt, Cast, Host, Load, Outcome, Own, Pace, Scene, new_sale, until};

use crate::PATIENCE;
use crate::reconciler::tell_unsold;

/// How long PostgreSQL stands still.
const FROZEN: Duration = Duration::from_secs(8);
/// No request may take longer, whatever PostgreSQL does.
const LONGEST_ANSWER: Duration = Duration::from_secs(10);
/// How often each conflict is provoked.
const ROUNDS: usize = 3;

/// About two hundred clicks a second: the sale outlasts a fault of seconds.
fn calm() -> Pace {
    Pace { buyers: 8, rest: Duration::from_millis(40), ..Pace::default() }
}

/// Asserts that the sale goes on without PostgreSQL: `more` buyers are promised an order, one of them reads of it, and the
/// status answers, stale as it is.
async fn assert_it_sells_on(scene: &Scene, load: &Load, more: usize) {
    let began = load.history().now();
    let already = load.history().promised();
    load.until_promised(already + more).await;
    let is_promised = |one: &Attempt| one.began >= began && matches!(one.outcome, Outcome::Promised(_));
    let last = load.history().attempts().into_iter().rfind(is_promised).unwrap();

    assert_eq!(scene.client().status(scene.sale).await.status, 200);
    let purchase = scene.client().purchase_of(scene.sale, &last.user).await;
    let pending = (&purchase.body["purchased"], purchase.body["status"].as_str());
    assert_eq!(pending, (&true.into(), Some("PENDING")), "{purchase:?}");
    assert_eq!(Outcome::Promised(purchase.order_id().unwrap().to_owned()), last.outcome);
    assert!(load.history().now() - began < PATIENCE, "and all that in time");
}

/// Sells the rest and judges. Nobody was told to try again, and nobody waited for PostgreSQL.
async fn assert_nobody_noticed(scene: Scene, load: Load, row: &str) {
    load.until_sold_out().await;
    let (outage, slowest) = (load.history().longest_outage(), load.history().slowest());
    assert!(slowest < LONGEST_ANSWER, "nobody hangs: {slowest:?}");
    let judgement = scene.close(load).await;
    println!("availability | {row} | {:.1} s", outage.as_secs_f64());
    println!("settled | {row} | {:.1} s", judgement.settled_after.as_secs_f64());
    assert_eq!(
        (judgement.books["books"]["total"].as_i64(), judgement.unknown),
        (Some(judgement.sold), 0),
        "{judgement}"
    );
}

/// PostgreSQL ends this way, is away while the sale goes on, and comes back over its data.
async fn postgres_goes_and_comes_back(end: impl Fn(&mut Host<Postgres>), row: &str) {
    let mut scene = Scene::open(Own::POSTGRES, 1_500).await;
    let load = scene.load(calm());
    load.until_promised(200).await;
    end(&mut scene.stack.postgres);
    assert!(scene.stack.database.try_connect().await.is_err(), "PostgreSQL is away");
    assert_it_sells_on(&scene, &load, 500).await;
    scene.persisters[0].process().wait_for_log("cannot be written, PostgreSQL is at").await;
    scene.stack.postgres.start();
    assert_nobody_noticed(scene, load, row).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_12_postgresql_is_killed_and_back_after_seconds() {
    postgres_goes_and_comes_back(Host::kill, "row 12 | PostgreSQL killed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_12_postgresql_stops_at_once_and_is_back_after_seconds() {
    let immediate = |postgres: &mut Host<Postgres>| postgres.end_by(Signal::QUIT);
    postgres_goes_and_comes_back(immediate, "row 12 | PostgreSQL stopped at once").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_13_postgresql_stands_still_with_its_connections_open() {
    let mut scene = Scene::open(Own::POSTGRES, 2_500).await;
    let load = scene.load(calm());
    load.until_promised(200).await;
    let frozen_at = load.history().now();
    scene.stack.postgres.freeze();
    assert_it_sells_on(&scene, &load, 200).await;
    scene.apis[0].process().wait_for_log("the sales cannot be read, the last ones are shown").await;
    let long_enough = async || (load.history().now() - frozen_at >= FROZEN).then_some(());
    until("PostgreSQL has stood still for long enough", PATIENCE, long_enough).await;
    scene.stack.postgres.thaw();
    assert_nobody_noticed(scene, load, "row 13 | PostgreSQL frozen").await;
}

/// Every user may cause this one, on any machine: the file of the table `orders`, which is empty, becomes a link to the
/// device that has no room. The kernel refuses each block with ENOSPC, as a full disk does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_13_postgresql_has_no_room_for_orders() {
    let mut scene = Scene::open(Own::POSTGRES, 1_500).await;
    scene.persisters[0].stop().await;
    let mut connection = scene.stack.database.connect().await;
    let path = sqlx::query_scalar("SELECT pg_relation_filepath('orders')");
    let path: String = path.fetch_one(&mut connection).await.unwrap();
    let file = scene.stack.postgres.dir().join("data").join(path);
    let aside = file.with_extension("aside");
    assert_eq!(fs::metadata(&file).unwrap().len(), 0, "no order is lost with the file");
    fs::rename(&file, &aside).unwrap();
    symlink("/dev/full", &file).unwrap();

    let load = scene.load(calm());
    scene.raise().await;
    scene.persisters[0].process().wait_for_log("No space left on device").await;
    assert_it_sells_on(&scene, &load, 500).await;
    // The persister tells of an outage once; PostgreSQL of each statement that it refused.
    let log = scene.stack.postgres.dir().join("postgres.log");
    let refused = fs::read_to_string(log).unwrap().matches("No space left on device").count();
    assert!(refused >= ROUNDS, "it was tried again: {refused}");

    fs::rename(&aside, &file).unwrap();
    // A full disk keeps its name; who has this file open has the device.
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE datname = current_database() AND pid <> pg_backend_pid()";
    connection.execute(end).await.unwrap();
    assert_nobody_noticed(scene, load, "row 13 | no room for PostgreSQL's orders").await;
}

/// Takes two locks in the other order than everybody else. Whoever waits for the first has the second.
async fn deadlock(scene: &Scene, connection: &mut PgConnection) {
    let mut transaction = connection.begin().await.unwrap();
    // The persister looks for a deadlock after a second, this session later: it is never the one to give in.
    transaction.execute("SET LOCAL deadlock_timeout = '1min'").await.unwrap();
    transaction.execute("LOCK TABLE orders IN SHARE MODE").await.unwrap();
    let waits = async || {
        let waiting = "SELECT count(*) FROM pg_locks WHERE relation = 'orders'::regclass AND NOT granted";
        let waiting: i64 =
            sqlx::query_scalar(waiting).fetch_one(&mut scene.stack.database.connect().await).await.unwrap();
        (waiting > 0).then_some(())
    };
    until("a persister waits for the orders", PATIENCE, waits).await;
    let sale = sqlx::query("SELECT FROM sales WHERE id = $1 FOR UPDATE").bind(scene.sale.0);
    sale.execute(&mut *transaction).await.unwrap();
    transaction.rollback().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_14_persisters_are_the_victims_of_deadlocks() {
    let mut scene = Scene::open(Own::NONE, 1_500).await;
    let load = scene.load(calm());
    let mut connection = scene.stack.database.connect().await;
    for _ in 0..ROUNDS {
        deadlock(&scene, &mut connection).await;
    }
    load.until_sold_out().await;
    let rounds = i64::try_from(ROUNDS).unwrap();
    let counted = async || {
        // PostgreSQL's own count, which a session hands in some time after its statement.
        let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
        let deadlocks: i64 =
            sqlx::query_scalar(deadlocks).fetch_one(&mut scene.stack.database.connect().await).await.unwrap();
        (deadlocks >= rounds).then_some(())
    };
    until("PostgreSQL has found each deadlock", PATIENCE, counted).await;
    assert!(scene.persisters[0].process().log().contains("deadlock detected"), "the persister was the victim");
    assert_nobody_noticed(scene, load, "row 14 | deadlocks").await;
}

/// From now on each `one_in`-th statement that writes orders, sales or refusal counts fails, for a reason that passes.
async fn make_capricious(scene: &Scene, one_in: u8) {
    let function = format!(
        "CREATE FUNCTION capricious() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF random() < 1.0 / {one_in} THEN
                 RAISE EXCEPTION 'a passing failure' USING ERRCODE = CASE WHEN random() < 0.5 THEN '40001' ELSE '40P01' END;
             END IF;
             RETURN NULL;
         END $$"
    );
    let mut connection = scene.stack.database.connect().await;
    connection.execute(sqlx::AssertSqlSafe(function)).await.unwrap();
    for trigger in [
        "CREATE TRIGGER capricious BEFORE INSERT ON orders EXECUTE FUNCTION capricious()",
        "CREATE TRIGGER capricious BEFORE UPDATE ON sales EXECUTE FUNCTION capricious()",
        "CREATE TRIGGER capricious BEFORE INSERT OR UPDATE ON refusals EXECUTE FUNCTION capricious()",
    ] {
        connection.execute(trigger).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_14_statements_fail_at_random_with_serialization_failures_and_deadlocks() {
    // Many small statements: each outage is told once, and enough of them are to be told.
    let small = [("FLASHSALE__PERSISTER__BATCH_RESERVATIONS", "20")];
    let mut scene = Scene::with(Own::NONE, &new_sale(1_500), Cast::default(), &small).await;
    make_capricious(&scene, 8).await;
    let load = scene.load(Pace::default());
    load.until_sold_out().await;
    let persister = scene.persisters[0].process();
    let failed = async || (persister.log().matches("a passing failure").count() >= ROUNDS).then_some(());
    until("statements fail", PATIENCE, failed).await;
    assert_nobody_noticed(scene, load, "row 14 | serialization failures").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_14_a_gate_is_rebuilt_by_statements_that_fail_at_random() {
    let mut scene = Scene::open(Own::NONE, 1_500).await;
    make_capricious(&scene, 10).await;
    let load = scene.load(Pace::default());
    load.until_promised(300).await;
    let inventory = Inventory::new(&scene.stack.settings().redis).unwrap();
    load.history().redis_forgets();
    inventory.remove(scene.sale, scene.stack.sale(scene.sale).await.epoch).await.unwrap();
    let lost_at = load.history().now();
    load.until_sold_out().await;
    tell_unsold(&load, lost_at, "row 14 | gate lost, a tenth of the statements fails");
    let log = scene.keepers[0].process().log() + &scene.persisters[0].process().log();
    assert!(log.contains("a passing failure"), "{log}");
    let judgement = scene.close(load).await;
    assert_eq!(judgement.sold, 1_500, "{judgement}");
}
