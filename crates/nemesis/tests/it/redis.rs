//! Rows 15, 16, 17, 19 and 22: Redis dies, forgets, is slow, or has no room on its disk.

use std::time::Duration;

use servers::Redis;
use testkit::{Cast, Host, Load, Outcome, Own, Pace, Scene, Wire, new_sale, until};

use crate::{PATIENCE, SETTLES};

/// However Redis was lost: so long after it is back, the sale sells.
const SELLS_WITHIN: Duration = Duration::from_secs(10);
/// No attempt may take longer, whatever Redis does.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);
const STOCK: u32 = 1_500;

/// Sends one command to a private Redis as its operator.
pub(crate) async fn command<T: redis::FromRedisValue>(host: &mut Host<Redis>, words: &[&str]) -> T {
    command_at(host.operator_url(), words).await
}

/// [`command`] to the Redis of an operator's URL.
pub(crate) async fn command_at<T: redis::FromRedisValue>(operator_url: &str, words: &[&str]) -> T {
    let client = redis::Client::open(operator_url).expect("a URL of Redis");
    let mut connection = client.get_multiplexed_async_connection().await.expect("Redis answers");
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]);
    command.query_async(&mut connection).await.unwrap_or_else(|error| panic!("{words:?}: {error}"))
}

/// An open sale with a Redis of its own, under load.
async fn selling(stock: u32) -> (Scene, Load) {
    let scene = Scene::with(Own::REDIS, &new_sale(stock), Cast::default(), &[SETTLES]).await;
    let load = scene.load(Pace::default());
    load.until_promised(300).await;
    (scene, load)
}

/// Waits until the sale sells again, tells how long that took and bounds it.
pub(crate) async fn sells_again(load: &Load, row: u32, fault: &str) {
    let outage = load.until_it_sells_again().await;
    println!("availability | row {row} | {fault} | {:.1} s until it sells", outage.as_secs_f64());
    assert!(outage <= SELLS_WITHIN, "{fault}: {outage:?} until it sells again");
}

/// What a buyer is told while Redis takes no reservation. Nobody may win then: this buyer is in no history.
async fn buyers_are_told_to_try_again(scene: &Scene) {
    let answer = scene.client().purchase(scene.sale, "onlooker").await;
    assert_eq!((answer.status.as_u16(), answer.outcome()), (503, "TRY_AGAIN"), "{answer:?}");
    assert!(answer.headers.contains_key("retry-after"), "{answer:?}");
}

/// Every unit is sold, and not one more.
async fn sells_out(scene: Scene, load: Load) {
    let total = scene.stack.sale(scene.sale).await.total_stock;
    load.until_sold_out().await;
    assert!(load.history().slowest() < ANSWERED_WITHIN, "{:?}", load.history().slowest());
    let judgement = scene.close(load).await;
    assert_eq!(judgement.sold, total, "not one less: {judgement}");
}

fn log_of(scene: &mut Scene) -> String {
    std::fs::read_to_string(scene.stack.redis.dir().join("redis.log")).expect("the log of Redis")
}

/// Redis is killed under load, and comes back without the last bytes of what it had written.
async fn redis_is_killed_and_lacks(bytes: u64) {
    let (mut scene, load) = selling(STOCK).await;
    scene.stack.redis.kill();
    if bytes > 0 {
        load.history().redis_forgets();
    }
    let length = scene.stack.redis.lose_tail(bytes);
    assert!(length > 4 * bytes, "there is more to keep than to lose: {length}");
    load.until_felt(load.history().now()).await;
    buyers_are_told_to_try_again(&scene).await;
    scene.stack.redis.start();
    sells_again(&load, 15, &format!("Redis killed, AOF lacks {bytes} bytes")).await;
    let log = log_of(&mut scene);
    assert!(log.contains("Done loading RDB") || log.contains("DB loaded from append only file"), "{log}");
    assert_eq!(log.contains("loaded anyway because aof-load-truncated is enabled"), bytes > 0, "{log}");
    sells_out(scene, load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_15_redis_is_killed_and_forgets_nothing() {
    redis_is_killed_and_lacks(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_15_redis_is_away_for_long() {
    // Longer than the keeper's pauses grow.
    const AWAY: Duration = Duration::from_secs(9);
    let (mut scene, load) = selling(STOCK).await;
    scene.stack.redis.kill();
    let since = load.history().now();
    load.until_felt(since).await;
    let over = async || (load.history().now() >= since + AWAY).then_some(());
    until("Redis was away for long", PATIENCE, over).await;
    scene.stack.redis.start();
    sells_again(&load, 15, "Redis away for 9 s").await;
    sells_out(scene, load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_15_redis_is_killed_and_its_file_lacks_one_byte() {
    redis_is_killed_and_lacks(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_15_redis_is_killed_and_its_file_lacks_100_bytes() {
    redis_is_killed_and_lacks(101).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_15_redis_is_killed_and_its_file_lacks_5000_bytes() {
    redis_is_killed_and_lacks(5_003).await;
}

/// The keeper rebuilt the sale once, for this reason.
async fn was_rebuilt_once(scene: &mut Scene, reason: &str) {
    let line = scene.keepers[0].process().wait_for_log("the gate was rebuilt").await;
    assert!(line.contains(reason), "{line}");
    assert_eq!(scene.stack.sale(scene.sale).await.epoch.0, 2, "one rebuild suffices");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_16_redis_is_flushed_during_the_sale() {
    let (mut scene, load) = selling(STOCK).await;
    load.history().redis_forgets();
    let _: () = command(&mut scene.stack.redis, &["FLUSHALL"]).await;
    sells_again(&load, 16, "FLUSHALL").await;
    was_rebuilt_once(&mut scene, "Redis lost the gate").await;
    sells_out(scene, load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_16_the_scripts_are_flushed_during_the_sale() {
    let (mut scene, load) = selling(STOCK).await;
    let _: () = command(&mut scene.stack.redis, &["SCRIPT", "FLUSH"]).await;
    sells_again(&load, 16, "SCRIPT FLUSH").await;
    was_rebuilt_once(&mut scene, "Redis lost the scripts").await;
    sells_out(scene, load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_17_redis_is_wiped_while_the_queue_holds_messages() {
    let mut scene = Scene::with(Own::REDIS, &new_sale(STOCK), Cast::default(), &[SETTLES]).await;
    scene.persisters[0].stop().await;
    let load = scene.load(Pace::default());
    load.until_promised(600).await;
    assert_eq!(scene.stack.sale(scene.sale).await.sold, 0, "all of them wait in the queue");
    load.history().redis_forgets();
    scene.stack.restart_redis(true);
    scene.raise().await;
    sells_again(&load, 17, "Redis wiped over a backlog").await;
    was_rebuilt_once(&mut scene, "Redis lost the gate").await;
    sells_out(scene, load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_19_redis_answers_half_a_second_late() {
    const LATE: Duration = Duration::from_millis(500);
    let scene = Scene::open(Own::NONE, STOCK).await;
    let load = scene.load(Pace::default());
    load.until_promised(300).await;
    scene.api_wires.redis.set(Wire::Slow(LATE / 2));
    let since = load.history().now();
    // It goes on selling: each answer is late, and nobody gives up on it.
    let late = async || {
        let attempts = load.history().attempts();
        let promised = attempts.iter().filter(|one| {
            one.began >= since && matches!(one.outcome, Outcome::Promised(_)) && one.ended - one.began >= LATE
        });
        (promised.count() >= 60).then_some(())
    };
    until("buyers were promised an order half a second late", PATIENCE, late).await;
    println!("availability | row 19 | Redis +500 ms | slowest {:.1} s", load.history().slowest().as_secs_f64());
    assert!(load.history().slowest() < Duration::from_secs(4), "{:?}", load.history().slowest());
    scene.api_wires.redis.set(Wire::Open);
    sells_again(&load, 19, "Redis +500 ms, over").await;
    sells_out(scene, load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_19_redis_answers_later_than_anybody_waits() {
    let scene = Scene::open(Own::NONE, STOCK).await;
    let load = scene.load(Pace::default());
    load.until_promised(300).await;
    let since = load.history().now();
    scene.api_wires.redis.set(Wire::Slow(Duration::from_millis(750)));
    // Long enough for calls that are repeated, given up, and made on a new connection.
    let felt = async || {
        let attempts = load.history().attempts();
        let unknown = attempts.iter().filter(|one| one.began > since && !one.outcome.is_decided());
        (unknown.count() >= 100).then_some(())
    };
    until("a hundred buyers were told to try again", PATIENCE, felt).await;
    scene.api_wires.redis.set(Wire::Open);
    sells_again(&load, 19, "Redis +1.5 s, over").await;
    sells_out(scene, load).await;
}

/// A Redis whose files cannot grow any more, as on a full disk: the write that crosses the limit is cut short, the next
/// one fails, and the server goes on (SIGXFSZ is ignored).
#[cfg(target_os = "linux")]
mod no_room {
    use rustix::process::{Resource, Rlimit, getrlimit, prlimit};

    use super::*;

    /// Starts the scene's Redis so that it survives a write that fails, and a load.
    async fn selling_on_a_small_disk() -> (Scene, Load) {
        let mut scene = Scene::with(Own::REDIS, &new_sale(STOCK), Cast::default(), &[SETTLES]).await;
        let through = ["sh", "-c", r#"trap "" XFSZ; exec "$0" "$@""#];
        scene.stack.redis.change(|redis| redis.through = through.map(str::to_owned).to_vec());
        scene.stack.restart_redis(false);
        let load = scene.load(Pace::default());
        load.until_promised(300).await;
        (scene, load)
    }

    fn limit_files(scene: &mut Scene, to: Option<u64>) {
        let limit = Rlimit { current: to, ..getrlimit(Resource::Fsize) };
        prlimit(Some(scene.stack.redis.pid()), Resource::Fsize, limit).expect("a process of ours");
    }

    /// No file of Redis may be longer than its append-only file is now.
    fn fill(scene: &mut Scene) {
        let aof = scene.stack.redis.dir().join("appendonlydir/appendonly.aof.1.incr.aof");
        limit_files(scene, Some(std::fs::metadata(aof).expect("its length").len() + 10));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn row_22_a_full_disk_ends_redis_and_room_brings_the_sale_back() {
        let (mut scene, load) = selling_on_a_small_disk().await;
        fill(&mut scene);
        scene.stack.redis.died();
        load.until_felt(load.history().now()).await;
        buyers_are_told_to_try_again(&scene).await;
        assert!(log_of(&mut scene).contains("Can't recover from AOF write error"), "{}", log_of(&mut scene));
        scene.stack.redis.start();
        sells_again(&load, 22, "Redis's disk full, appendfsync always").await;
        sells_out(scene, load).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn row_22_redis_refuses_writes_while_its_disk_is_full() {
        let (mut scene, load) = selling_on_a_small_disk().await;
        let _: () = command(&mut scene.stack.redis, &["CONFIG", "SET", "appendfsync", "everysec"]).await;
        let epoch = scene.stack.sale(scene.sale).await.epoch;
        fill(&mut scene);
        load.until_felt(load.history().now()).await;
        let full_at = load.history().now();
        buyers_are_told_to_try_again(&scene).await;
        let status: String = command(&mut scene.stack.redis, &["INFO", "persistence"]).await;
        assert!(status.contains("aof_last_write_status:err"), "{status}");
        assert!(log_of(&mut scene).contains("writing to the AOF file"), "{}", log_of(&mut scene));
        assert_eq!(load.history().promised_after(full_at), None, "nothing is promised that cannot be written");
        limit_files(&mut scene, None);
        sells_again(&load, 22, "Redis's disk full, appendfsync everysec").await;
        assert_eq!(scene.stack.sale(scene.sale).await.epoch, epoch, "Redis forgot nothing: no rebuild");
        sells_out(scene, load).await;
    }
}
