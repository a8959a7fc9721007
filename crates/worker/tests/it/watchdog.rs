//! Workers that are stuck end, and workers that merely wait do not. Each SUCCESS becomes an order either way.

use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use broker::{Monitor, Publisher};
use servers::Signal;
use sqlx::Connection;
use testkit::{Process, Proxy, Wire, until};

use crate::fixture::{PATIENCE, Shop, waiting_for_a_lock};

/// The watchdog's limit in these tests.
const LIMIT: Duration = Duration::from_secs(3);
/// Settings with that limit, and with servers that must be quicker.
const QUICK: [(&str, &str); 4] = [
    ("FLASHSALE__WORKER__WATCHDOG_SECONDS", "3"),
    ("FLASHSALE__POSTGRES__ACQUIRE_TIMEOUT_MS", "500"),
    ("FLASHSALE__POSTGRES__STATEMENT_TIMEOUT_MS", "2000"),
    ("FLASHSALE__RABBITMQ__HEARTBEAT_SECONDS", "1"),
];
const ABORTED: i32 = 6;

fn quick(changes: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    QUICK.iter().chain(changes).map(|(name, value)| (*name, (*value).to_owned())).collect()
}

fn start(shop: &Shop, name: &str, changes: &[(&'static str, &str)]) -> Process {
    let changes = quick(changes);
    let changes: Vec<(&str, &str)> = changes.iter().map(|(name, value)| (*name, value.as_str())).collect();
    shop.stack.start_with(name, &[], &changes)
}

/// Waits until the process was ended by its watchdog, which names what was stuck.
async fn assert_ended_for(mut process: Process, what: &str) {
    let status = process.ended().await;
    let log = process.log();
    assert_eq!(status.signal(), Some(ABORTED), "{status}:\n{log}");
    let last_words = log.lines().find(|line| line.contains("stuck, the process is ended")).expect(&log).to_owned();
    assert!(last_words.contains(what) && last_words.contains("\"seconds\":3"), "{last_words}");
}

#[tokio::test]
async fn a_persister_whose_only_thread_is_blocked_is_ended_and_another_does_its_work() {
    let shop = Shop::open(200).await;
    // However many messages wait when it comes, it takes them one by one.
    let one_at_a_time = ("FLASHSALE__PERSISTER__BATCH_RESERVATIONS", "1");
    let freezes = ("FLASHSALE_FAILPOINT", "persister.gathered=freeze@2");
    let frozen = start(&shop, "flashsale-persister", &[one_at_a_time, freezes]);
    let told = shop.rush(150).await;
    frozen.wait_for_log("failpoint persister.gathered fired").await;
    assert_ended_for(frozen, "the async runtime").await;
    assert_eq!(told.promised.len(), 150, "{told:?}");
    // What it had written and not yet deleted from the outbox is the keeper's.
    let (_other, _keeper) = (shop.stack.persister(), shop.stack.keeper());
    assert_eq!(shop.settled(&told.promised).await["sold"], 150);
}

#[tokio::test]
async fn a_keeper_whose_only_thread_is_blocked_is_ended_and_another_finishes_its_rebuild() {
    let shop = Shop::open(20).await;
    let promised = shop.buy_one_by_one(5).await;
    let frozen = start(&shop, "flashsale-keeper", &[("FLASHSALE_FAILPOINT", "reconcile.drained=freeze")]);
    shop.delete_keys().await;
    frozen.wait_for_log("failpoint reconcile.drained fired").await;
    assert_ended_for(frozen, "the async runtime").await;
    let (_other, _persister) = (shop.stack.keeper(), shop.stack.persister());
    assert_eq!(shop.settled(&promised).await["available"], 15);
}

#[tokio::test]
async fn a_persister_whose_answer_got_lost_is_ended_and_another_does_its_work() {
    let shop = Shop::open(20).await;
    let promised = shop.buy_one_by_one(5).await;
    let mut meddler = shop.stack.database.connect().await;
    let mut lock = meddler.begin().await.unwrap();
    sqlx::query("SELECT FROM sales WHERE id = $1 FOR UPDATE").bind(shop.sale.0).execute(&mut *lock).await.unwrap();
    let proxy = Proxy::before(&shop.stack.database.url).await;
    let url = proxy.url_of(&shop.stack.database.url);
    let deaf = start(&shop, "flashsale-persister", &[("FLASHSALE__POSTGRES__URL", &url)]);
    until("it waits for the sale's row", PATIENCE, async || waiting_for_a_lock(&shop.stack).await).await;
    // Neither an answer nor an end of the connection: no timeout of PostgreSQL's reaches the persister.
    proxy.set(Wire::Silent);
    lock.rollback().await.unwrap();

    assert_ended_for(deaf, "waiting for PostgreSQL").await;
    let _other = shop.stack.persister();
    assert_eq!(shop.settled(&promised).await["sold"], 5);
}

#[tokio::test]
async fn workers_that_wait_for_postgresql_for_longer_than_the_limit_are_left_alone() {
    let shop = Shop::open(200).await;
    let promised = shop.buy_one_by_one(3).await;
    let mut meddler = shop.stack.database.connect().await;
    let mut lock = meddler.begin().await.unwrap();
    sqlx::query("SELECT FROM sales WHERE id = $1 FOR UPDATE").bind(shop.sale.0).execute(&mut *lock).await.unwrap();
    let [mut persister, mut keeper] = ["flashsale-persister", "flashsale-keeper"].map(|name| start(&shop, name, &[]));
    until("its transaction waits", PATIENCE, async || waiting_for_a_lock(&shop.stack).await).await;

    // First a row that is locked for longer than any statement may take, then a server that refuses to talk.
    let locked = Instant::now();
    until("time passes", PATIENCE, async || (locked.elapsed() > LIMIT + LIMIT).then_some(())).await;
    shop.stack.database.lock_out().await;
    let locked_out = Instant::now();
    keeper.wait_for_log("the sales cannot be read").await;
    until("more time passes", PATIENCE, async || (locked_out.elapsed() > LIMIT + LIMIT).then_some(())).await;
    assert!(!persister.has_ended(), "{}", persister.log());
    assert!(!keeper.has_ended(), "{}", keeper.log());

    shop.stack.database.let_in().await;
    assert_eq!(shop.settled(&promised).await["sold"], 3);
    // The lock goes with the lock-out, and one statement may just get through between them: two outages then.
    let log = persister.log();
    let told = log.lines().filter(|line| line.contains("WARN") && line.contains("cannot be written, PostgreSQL is at"));
    assert!((1..=2).contains(&told.count()), "told once, however often it is tried:\n{log}");
    assert!(log.matches("does not pass by itself").count() <= 1, "{log}");
    for worker in [persister, keeper] {
        assert!(worker.stop().await.success());
    }
}

/// Each question to PostgreSQL takes this much longer, in each direction.
const SLOW: Wire = Wire::Slow(Duration::from_millis(50));

#[tokio::test]
async fn a_keeper_whose_rebuild_takes_long_but_goes_on_is_left_alone() {
    let shop = Shop::open(200).await;
    let promised = shop.buy_one_by_one(60).await;
    let proxy = Proxy::before(&shop.stack.database.url).await;
    let url = proxy.url_of(&shop.stack.database.url);
    let patient = [
        ("FLASHSALE__POSTGRES__URL", url.as_str()),
        ("FLASHSALE__POSTGRES__ACQUIRE_TIMEOUT_MS", "1500"),
        ("FLASHSALE__POSTGRES__STATEMENT_TIMEOUT_MS", "1000"),
    ];
    let mut keeper = start(&shop, "flashsale-keeper", &patient);
    proxy.set(SLOW);
    shop.delete_keys().await;
    keeper.wait_for_log("rebuilding the gate").await;
    let begun = Instant::now();
    keeper.wait_for_log("the gate was rebuilt").await;
    assert!(begun.elapsed() > LIMIT * 3, "longer than a round may take without progress: {:?}", begun.elapsed());
    assert!(!keeper.has_ended());
    assert_eq!(keeper.log().matches("rebuilding the gate").count(), 1, "{}", keeper.log());
    assert_eq!(shop.settled(&promised).await["sold"], 60);
}

/// From the first burial to the last, once there are ten.
async fn seconds_of_ten_burials(shop: &Shop) -> Option<f64> {
    let mut connection = shop.stack.database.connect().await;
    sqlx::query_scalar(
        "SELECT extract(epoch FROM max(created_at) - min(created_at))::float8 FROM dead_letters HAVING count(*) = 10",
    )
    .fetch_optional(&mut connection)
    .await
    .unwrap()
}

#[tokio::test]
async fn a_persister_that_buries_a_whole_batch_one_by_one_is_left_alone() {
    let shop = Shop::open(20).await;
    let mut batch = shop.reserve_unpublished("0").await;
    for user in 1..10 {
        batch.reservations.extend(shop.reserve_unpublished(&user.to_string()).await.reservations);
    }
    // A point in time that no timestamp holds.
    batch.reservations.iter_mut().for_each(|reservation| reservation.reserved_at = i64::MAX);
    let publisher = Publisher::start(&shop.stack.settings().rabbitmq);
    until("the publisher is ready", PATIENCE, async || publisher.is_ready().then_some(())).await;
    let proxy = Proxy::before(&shop.stack.database.url).await;
    proxy.set(SLOW);
    let url = proxy.url_of(&shop.stack.database.url);
    let patient = [
        ("FLASHSALE__POSTGRES__URL", url.as_str()),
        ("FLASHSALE__POSTGRES__ACQUIRE_TIMEOUT_MS", "1500"),
        ("FLASHSALE__POSTGRES__STATEMENT_TIMEOUT_MS", "1000"),
    ];
    let mut persister = start(&shop, "flashsale-persister", &patient);
    persister.wait_for_log("connected to RabbitMQ").await;
    publisher.publish(&batch).await.unwrap();
    let seconds = until("all are buried", PATIENCE, async || seconds_of_ten_burials(&shop).await).await;
    assert!(seconds > LIMIT.as_secs_f64(), "longer than one statement may take: {seconds}");
    assert!(!persister.has_ended(), "{}", persister.log());
    assert!(persister.stop().await.success());
    publisher.close().await;
}

#[tokio::test]
async fn a_persister_that_was_frozen_as_a_whole_goes_on_where_it_was() {
    let shop = Shop::open(200).await;
    let mut persister = start(&shop, "flashsale-persister", &[]);
    let before = shop.buy_one_by_one(3).await;
    until("an order is written", PATIENCE, async || (shop.row().await.sold > 0).then_some(())).await;
    persister.signal(Signal::STOP);
    let (frozen, epoch) = (Instant::now(), shop.row().await.epoch);
    let promised = [before, testkit::rush(&shop.api.client, shop.sale, "later", 0..50).await.promised].concat();
    let monitor = Monitor::new(&shop.stack.settings().rabbitmq);
    let given_up = async || {
        let depth = monitor.depth(shop.sale, epoch).await.unwrap().expect("the queue is there");
        (depth.consumers == 0 && frozen.elapsed() > LIMIT + LIMIT).then_some(())
    };
    until("RabbitMQ has given it up, and the limit is long over", PATIENCE, given_up).await;
    persister.signal(Signal::CONT);

    // Frozen while it deleted outbox entries it leaves them to a keeper.
    let _keeper = shop.stack.keeper();
    assert_eq!(shop.settled(&promised).await["sold"], 53);
    assert!(!persister.has_ended(), "{}", persister.log());
    assert!(persister.stop().await.success());
}
