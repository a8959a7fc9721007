//! SIGTERM ends a worker in good order and in time, whatever its servers do, and nothing is lost.

use std::time::{Duration, Instant};

use broker::Consumers;
use servers::Signal;
use sqlx::Connection;
use testkit::{Process, Proxy, Stack, Wire, until};

use crate::fixture::{PATIENCE, Shop, waiting_for_a_lock};

/// `worker.stop_seconds` in these tests, and what a process may take beyond it on a busy machine.
const STOP_SECONDS: (&str, &str) = ("FLASHSALE__WORKER__STOP_SECONDS", "5");
const IN_TIME: Duration = Duration::from_secs(10);

const SERVERS: [&str; 3] = ["FLASHSALE__POSTGRES__URL", "FLASHSALE__REDIS__URL", "FLASHSALE__RABBITMQ__URL"];

/// SIGTERM for all of them at once; each ends with 0 in time. Returns what they have logged.
async fn stop(mut workers: Vec<Process>) -> String {
    let asked = Instant::now();
    workers.iter().for_each(|worker| worker.signal(Signal::TERM));
    let mut logs = String::new();
    for worker in &mut workers {
        let status = worker.ended().await;
        assert!(status.success(), "{status}:\n{}", worker.log());
        logs += &worker.log();
    }
    assert!(asked.elapsed() < IN_TIME, "{:?}:\n{logs}", asked.elapsed());
    logs
}

/// The URL of one of the servers, as the processes are told.
fn url_of(stack: &Stack, variable: &str) -> String {
    stack.variables().into_iter().find(|(name, _)| name == variable).expect("every server has a URL").1
}

/// Stops a persister and a keeper, both with work in hand, while one of their servers is `wire`.
async fn stop_while(server: &str, wire: Wire) {
    let shop = Shop::open(200).await;
    let url = url_of(&shop.stack, server);
    let proxy = Proxy::before(&url).await;
    let proxied = proxy.url_of(&url);
    let one_at_a_time = ("FLASHSALE__PERSISTER__BATCH_RESERVATIONS", "1");
    let changes = [(server, proxied.as_str()), STOP_SECONDS, one_at_a_time];
    let before = shop.buy_one_by_one(20).await;
    let workers = ["flashsale-persister", "flashsale-keeper"].map(|name| shop.stack.start_with(name, &[], &changes));
    until("an order is written", PATIENCE, async || (shop.row().await.sold > 0).then_some(())).await;
    proxy.set(wire);
    let later = testkit::rush(&shop.api.client, shop.sale, "later", 0..20).await;
    assert_eq!(later.promised.len(), 20, "{later:?}");
    stop(workers.into()).await;

    let (_persister, _keeper) = (shop.stack.persister(), shop.stack.keeper());
    assert_eq!(shop.settled(&[before, later.promised].concat()).await["sold"], 40);
}

#[tokio::test]
async fn workers_stop_in_time_while_postgresql_is_away() {
    stop_while(SERVERS[0], Wire::Cut).await;
}

#[tokio::test]
async fn workers_stop_in_time_while_postgresql_is_silent() {
    stop_while(SERVERS[0], Wire::Silent).await;
}

#[tokio::test]
async fn workers_stop_in_time_while_redis_is_away() {
    stop_while(SERVERS[1], Wire::Cut).await;
}

#[tokio::test]
async fn workers_stop_in_time_while_redis_is_silent() {
    stop_while(SERVERS[1], Wire::Silent).await;
}

#[tokio::test]
async fn workers_stop_in_time_while_rabbitmq_is_away() {
    stop_while(SERVERS[2], Wire::Cut).await;
}

#[tokio::test]
async fn workers_stop_in_time_while_rabbitmq_is_silent() {
    stop_while(SERVERS[2], Wire::Silent).await;
}

#[tokio::test]
async fn a_keeper_hears_that_it_is_to_stop_while_it_waits_for_postgresql() {
    let stack = Stack::new().await;
    let sale = stack.create(&testkit::new_sale(20)).await;
    stack.reconcile().await;
    let mut meddler = stack.database.connect().await;
    let mut lock = meddler.begin().await.unwrap();
    sqlx::query("LOCK TABLE sales IN ACCESS EXCLUSIVE MODE").execute(&mut *lock).await.unwrap();
    let mut keeper = stack.start_with("flashsale-keeper", &[], &[STOP_SECONDS]);
    // Nobody else is there to wait: an API would.
    until("it waits for the sales", PATIENCE, async || waiting_for_a_lock(&stack).await).await;
    keeper.signal(Signal::TERM);
    keeper.wait_for_log("stopping").await;
    assert!(waiting_for_a_lock(&stack).await.is_some(), "it heard of it only when PostgreSQL had answered");
    lock.rollback().await.unwrap();
    let status = keeper.ended().await;
    assert!(status.success(), "{status}:\n{}", keeper.log());

    let (api, _persister, _keeper) = (stack.api().await, stack.persister(), stack.keeper());
    assert_eq!(stack.settled(&api.client, sale).await.body["books"]["available"], 20);
}

#[tokio::test]
async fn a_persister_that_is_asked_to_stop_finishes_the_batch_in_hand() {
    let shop = Shop::open(20).await;
    let promised = shop.buy_one_by_one(1).await;
    let mut meddler = shop.stack.database.connect().await;
    let mut lock = meddler.begin().await.unwrap();
    sqlx::query("SELECT FROM sales WHERE id = $1 FOR UPDATE").bind(shop.sale.0).execute(&mut *lock).await.unwrap();
    let mut persister = shop.stack.persister();
    until("it waits for the sale's row", PATIENCE, async || waiting_for_a_lock(&shop.stack).await).await;
    persister.signal(Signal::TERM);
    persister.wait_for_log("stopping").await;
    lock.rollback().await.unwrap();
    let status = persister.ended().await;
    assert!(status.success(), "{status}:\n{}", persister.log());
    // The entry is deleted last: after the commit and after the acknowledgement.
    let row = shop.row().await;
    let left = shop.inventory().outbox(shop.sale, row.epoch, None, 0, 10).await.unwrap();
    assert_eq!((row.sold, left.len()), (1, 0), "{}", persister.log());
    assert_eq!(shop.settled(&promised).await["sold"], 1);
}

#[tokio::test]
async fn a_keeper_in_the_middle_of_a_rebuild_stops_in_time_and_another_finishes_it() {
    let shop = Shop::open(20).await;
    let promised = shop.buy_one_by_one(5).await;
    let epoch = shop.row().await.epoch;
    let consumers = Consumers::connect(&shop.stack.settings().rabbitmq).await.unwrap();
    // Hands that hold on to a message: the rebuild waits for them longer than a keeper may take to stop.
    let holder = consumers.consume(shop.sale, epoch).await.unwrap().expect("the queue is there");
    let keeper = shop.stack.start_with("flashsale-keeper", &[], &[STOP_SECONDS]);
    shop.delete_keys().await;
    keeper.wait_for_log("rebuilding the gate").await;
    let logs = stop(vec![keeper]).await;
    assert!(logs.contains("not done in time"), "{logs}");

    holder.close().await;
    consumers.close().await;
    let (_persister, _keeper) = (shop.stack.persister(), shop.stack.keeper());
    assert_eq!(shop.settled(&promised).await["available"], 15);
}
