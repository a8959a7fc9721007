//! Row 18: Redis fails over to a replica that lags, and back.

use std::time::Duration;

use domain::SaleState;
use failpoints::Bug;
use servers::{Redis, free_port};
use testkit::{Cast, Host, Load, Own, Pace, Proxy, REDIS_PASSWORD, Scene, Wire, new_sale, until};

use crate::planted::judged;
use crate::redis::{command, command_at, sells_again};
use crate::{PATIENCE, SETTLES};

const STOCK: u32 = 900;
/// Promised before the replica is held back, and after that.
const REPLICATED: usize = 300;
const LOST: usize = 500;

/// A sale whose Redis has a replica, behind a wire of its own.
struct Pair {
    scene: Scene,
    replica: Host<Redis>,
    replication: Proxy,
}

impl Pair {
    async fn new(changes: &[(&str, &str)]) -> Self {
        let mut scene =
            Scene::with(Own::REDIS, &new_sale(STOCK), Cast::default(), &[&[SETTLES], changes].concat()).await;
        // What makes the first one a replica of the second, later.
        for (name, value) in [("repl-diskless-sync-delay", "0"), ("masterauth", REDIS_PASSWORD)] {
            let _: () = command(&mut scene.stack.redis, &["CONFIG", "SET", name, value]).await;
        }
        let replication = Proxy::before(scene.stack.redis.url()).await;
        let (_, master) = place(&replication.url_of(scene.stack.redis.url()));
        let settings = [
            ("replicaof", format!("127.0.0.1 {master}")),
            ("masterauth", REDIS_PASSWORD.to_owned()),
            ("repl-diskless-sync-delay", "0".to_owned()),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), value)).to_vec();
        let dir = scene.stack.redis.dir().with_file_name("replica");
        let replica = Redis { settings, ..Redis::new(dir, free_port().expect("a free port"), REDIS_PASSWORD) };
        let mut replica = Host::own(replica);
        linked(&mut replica).await;
        // A first replica gives Redis a new history, so the sale is rebuilt; here in any case.
        let _: () = command(&mut scene.stack.redis, &["SCRIPT", "FLUSH"]).await;
        let rebuilt = async || {
            let info: String = command_at(scene.stack.redis.operator_url(), &["INFO", "replication"]).await;
            let sale = scene.stack.sale(scene.sale).await;
            let installation = sale.installation.filter(|_| sale.state == SaleState::Open)?;
            let reserve = installation.scripts.reserve.as_str();
            let loaded: Vec<bool> = command_at(scene.stack.redis.operator_url(), &["SCRIPT", "EXISTS", reserve]).await;
            (loaded == [true] && info.contains(&installation.server.master_replid)).then_some(())
        };
        until("the sale is rebuilt with a replica", PATIENCE, rebuilt).await;
        Self { scene, replica, replication }
    }

    /// Sells until the replica lacks promised reservations, and cuts everybody off from the first Redis.
    async fn lag(&mut self) -> Load {
        let load = self.scene.load(Pace::default());
        load.history().redis_forgets();
        load.until_promised(REPLICATED).await;
        self.replication.set(Wire::Silent);
        load.until_promised(load.history().promised() + LOST).await;
        self.set_wires(Wire::Cut);
        let (first, replica) = self.stock().await;
        // What was on the wire when it fell silent may have passed.
        assert!(replica - first > 400, "the replica lags: {replica} units instead of {first}");
        load
    }

    fn set_wires(&self, wire: Wire) {
        self.scene.api_wires.redis.set(wire);
        self.scene.worker_wires.redis.set(wire);
    }

    /// What the gates of the epoch hold, the first Redis's and the replica's.
    async fn stock(&mut self) -> (i64, i64) {
        let epoch = self.scene.stack.sale(self.scene.sale).await.epoch;
        let gate = format!("sale:{{{}}}:{epoch}:gate", self.scene.sale);
        let ask = ["HGET", &gate, "stock"];
        (command(&mut self.scene.stack.redis, &ask).await, command(&mut self.replica, &ask).await)
    }

    /// Judges, with everything sold.
    async fn sells_out(self, load: Load) {
        load.until_sold_out().await;
        let slowest = load.history().slowest();
        assert!(slowest < Duration::from_secs(10), "{slowest:?}");
        let judgement = self.scene.close(load).await;
        assert_eq!(judgement.sold, i64::from(STOCK), "not one less: {judgement}");
    }
}

/// Host and port of a URL of Redis.
fn place(url: &str) -> (String, String) {
    let place = url.rsplit('@').next().expect("a place");
    let (host, port) = place.split_once(':').expect("a port");
    (host.to_owned(), port.split('/').next().expect("a port").to_owned())
}

/// Waits until a replica follows its master.
async fn linked(replica: &mut Host<Redis>) {
    let url = replica.operator_url();
    let follows = async || {
        let info: String = command_at(url, &["INFO", "replication"]).await;
        info.contains("master_link_status:up").then_some(())
    };
    until("the replica follows", PATIENCE, follows).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_18_a_replica_that_lags_takes_over() {
    let mut pair = Pair::new(&[]).await;
    let load = pair.lag().await;
    let _: () = command(&mut pair.replica, &["REPLICAOF", "NO", "ONE"]).await;
    pair.scene.api_wires.redis.lead_to(pair.replica.url());
    pair.scene.worker_wires.redis.lead_to(pair.replica.url());
    pair.set_wires(Wire::Open);
    sells_again(&load, 18, "failover to a replica that lags").await;
    let line = pair.scene.keepers[0].process().wait_for_log("Redis lost the scripts").await;
    assert!(line.contains("rebuilding"), "{line}");

    // Back to the first one, which has its old gate and its old scripts.
    pair.scene.api_wires.redis.lead_to(pair.scene.stack.redis.url());
    pair.scene.worker_wires.redis.lead_to(pair.scene.stack.redis.url());
    sells_again(&load, 18, "failback to the first, with what it had").await;
    pair.sells_out(load).await;
}

/// The replica takes over, the first one becomes a replica of it and takes over again, all before anybody could look:
/// a gate of the recorded epoch, its scripts loaded, on the recorded process, that lacks what was promised.
async fn there_and_back(pair: &mut Pair) {
    let _: () = command(&mut pair.replica, &["REPLICAOF", "NO", "ONE"]).await;
    let (host, port) = place(pair.replica.url());
    let _: () = command(&mut pair.scene.stack.redis, &["REPLICAOF", &host, &port]).await;
    linked(&mut pair.scene.stack.redis).await;
    let _: () = command(&mut pair.scene.stack.redis, &["REPLICAOF", "NO", "ONE"]).await;
    let stock = pair.stock().await;
    assert_eq!(stock.0, stock.1, "the first one has forgotten what the replica lacked");
    let installation = pair.scene.stack.sale(pair.scene.sale).await.installation.expect("an open sale");
    let loaded: Vec<bool> =
        command(&mut pair.scene.stack.redis, &["SCRIPT", "EXISTS", &installation.scripts.reserve]).await;
    assert_eq!(loaded, [true], "and it has kept its scripts");
    pair.set_wires(Wire::Open);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_18_failover_and_failback_before_anybody_looks() {
    let mut pair = Pair::new(&[]).await;
    let load = pair.lag().await;
    there_and_back(&mut pair).await;
    sells_again(&load, 18, "failover and failback within one epoch").await;
    pair.sells_out(load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn planted_a_gate_trusted_on_any_history_sells_units_twice() {
    let mut pair = Pair::new(&[("FLASHSALE_PLANTED_BUG", Bug::ServerNotCompared.name())]).await;
    let load = pair.lag().await;
    there_and_back(&mut pair).await;
    load.until_sold_out().await;
    let history = load.stop().await;
    let judgement = judged(pair.scene, &history).await;
    assert!(!judgement.lost.is_empty(), "{judgement}");
    println!("planted | {} | lost {}", Bug::ServerNotCompared.name(), judgement.lost.len());
}
