//! Persisters that die, that are two, that lose PostgreSQL: each reservation becomes one order.

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use testkit::until;

use crate::fixture::{PATIENCE, Shop, waiting_for_a_lock};

const BUYERS: usize = 120;
/// So few at a time that a backlog takes a while.
const SMALL_BATCHES: [(&str, &str); 1] = [("FLASHSALE__PERSISTER__BATCH_RESERVATIONS", "3")];

#[tokio::test]
async fn a_persister_killed_in_the_middle_of_a_backlog_leaves_no_order_out_and_none_twice() {
    let shop = Shop::open(200).await;
    let promised = shop.buy_one_by_one(BUYERS).await;

    let first = shop.stack.start_with("flashsale-persister", &[], &SMALL_BATCHES);
    until("some orders are written", PATIENCE, async || (shop.row().await.sold > 0).then_some(())).await;
    first.kill();
    let sold = shop.row().await.sold;
    assert!(usize::try_from(sold).unwrap() < BUYERS, "killed too late: all {sold} were written");

    let (_second, _keeper) = (shop.stack.persister(), shop.stack.keeper());
    let books = shop.settled(&promised).await;
    assert_eq!((&books["sold"], &books["available"]), (&BUYERS.into(), &(200 - BUYERS).into()));
}

/// Kills a persister while its transaction waits for the sale's row. Then PostgreSQL, which does not notice, commits what
/// the dead process asked for, or is made to forget it. No keeper runs: only a redelivery can mend this.
async fn kill_while_the_transaction_runs(commits: bool) {
    let shop = Shop::open(10).await;
    let promised = shop.buy_one_by_one(5).await;
    let mut meddler = shop.stack.database.connect().await;
    let mut lock = meddler.begin().await.unwrap();
    sqlx::query("SELECT FROM sales WHERE id = $1 FOR UPDATE").bind(shop.sale.0).execute(&mut *lock).await.unwrap();

    let first = shop.stack.persister();
    let waiting =
        until("its transaction waits for the sale's row", PATIENCE, async || waiting_for_a_lock(&shop.stack).await)
            .await;
    first.kill();
    if !commits {
        let mut connection = shop.stack.database.connect().await;
        let terminate = sqlx::query("SELECT pg_terminate_backend($1, 10000)").bind(waiting);
        terminate.execute(&mut connection).await.unwrap();
    }
    lock.rollback().await.unwrap();
    if commits {
        until("that transaction commits", PATIENCE, async || (shop.row().await.sold > 0).then_some(())).await;
    }
    assert_eq!(shop.row().await.sold > 0, commits);

    let _second = shop.stack.persister();
    assert_eq!(shop.settled(&promised).await["sold"], 5);
}

#[tokio::test]
async fn a_persister_killed_before_its_commit_costs_a_redelivery_and_nothing_else() {
    kill_while_the_transaction_runs(false).await;
}

#[tokio::test]
async fn a_persister_killed_between_commit_and_acknowledgement_costs_a_redelivery_and_nothing_else() {
    kill_while_the_transaction_runs(true).await;
}

#[tokio::test]
async fn two_persisters_share_one_queue() {
    let shop = Shop::open(200).await;
    let (first, second) = (shop.stack.persister(), shop.stack.persister());
    let told = shop.rush(300).await;
    assert_eq!(told.promised.len(), 200);
    assert_eq!(shop.settled(&told.promised).await["sold"], 200);
    for persister in [first, second] {
        assert!(persister.stop().await.success());
    }
}

#[tokio::test]
async fn a_persister_that_loses_postgresql_holds_on_and_continues() {
    let shop = Shop::open(200).await;
    let persister = shop.stack.persister();
    let before = shop.buy_one_by_one(3).await;
    until("an order is written", PATIENCE, async || (shop.row().await.sold > 0).then_some(())).await;

    let mut server = PgConnection::connect(&std::env::var("FLASHSALE_TEST_POSTGRES_URL").unwrap()).await.unwrap();
    let name = &shop.stack.database.name;
    server.execute(AssertSqlSafe(format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false"))).await.unwrap();
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1";
    sqlx::query(cut).bind(name).execute(&mut server).await.unwrap();
    let told = testkit::rush(&shop.api.client, shop.sale, "later", 0..50).await;
    assert_eq!(told.promised.len(), 50, "the sale goes on: {told:?}");
    persister.wait_for_log("cannot be written, PostgreSQL is at").await;
    let line = persister.wait_for_log("does not pass by itself").await;
    assert!(line.contains("ERROR"), "{line}");
    server.execute(AssertSqlSafe(format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true"))).await.unwrap();

    let promised = [before, told.promised].concat();
    assert_eq!(shop.settled(&promised).await["sold"], 53);
}
