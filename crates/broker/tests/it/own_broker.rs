//! What needs a broker that a test may kill, or starve of memory.

use std::time::{Duration, Instant};

use broker::{Config, Consumers, Drain, Monitor, PublishError, Status, decode};
use domain::SaleId;
use servers::{RabbitMq, RabbitMqPorts, Running, Server};
use tempfile::TempDir;

use crate::fixture::{EPOCH, batch, config_for, connected, eventually, new_sale, soon, tidy};

/// A node takes a few seconds to start, and more on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(120);

struct OwnBroker {
    server: RabbitMq,
    running: Running,
    _folder: TempDir,
}

impl OwnBroker {
    async fn start(settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut server = RabbitMq::new(folder.path().join("broker"), RabbitMqPorts::free().unwrap(), "hunter2");
        server.settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let running = launch(&server).await;
        Self { server, running, _folder: folder }
    }

    fn config(&self) -> Config {
        config_for(self.running.url())
    }

    /// Not killed: this broker confirms a new queue up to two seconds before it would survive that.
    fn stop(&mut self) {
        let running = &mut self.running;
        tokio::task::block_in_place(|| running.stop(START_TIMEOUT)).unwrap();
    }

    async fn restart(&mut self) {
        self.running = launch(&self.server).await;
    }
}

async fn launch(server: &RabbitMq) -> Running {
    let server = server.clone();
    let launch = move || {
        let mut running = server.start().unwrap();
        running.wait_ready(START_TIMEOUT).unwrap();
        running
    };
    tokio::task::spawn_blocking(launch).await.unwrap()
}

async fn declared(config: &Config) -> (SaleId, Drain) {
    let sale = new_sale();
    let drain = Drain::lock(config, sale).await.unwrap().expect("nobody else knows this sale");
    drain.declare(EPOCH).await.unwrap();
    (sale, drain)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confirmed_batch_survives_a_restart_of_the_broker_and_the_publisher_comes_back() {
    let mut own = OwnBroker::start(&[]).await;
    let mut config = own.config();
    // A message for a quorum queue that has no leader yet is tried again by the broker after ten seconds.
    config.confirm_timeout_ms = 60_000;
    let (sale, drain) = declared(&config).await;
    let publisher = connected(&config).await;
    let monitor = Monitor::connect(&config).await.unwrap();
    publisher.publish(&batch(sale, "ann")).await.unwrap();

    own.stop();
    eventually("the loss is reported", async || matches!(publisher.status(), Status::Down(_))).await;
    assert!(matches!(publisher.publish(&batch(sale, "bob")).await, Err(PublishError::NotSent(_))));
    assert!(monitor.ping().await.is_err());
    assert!(drain.get(EPOCH).await.is_err());
    own.restart().await;

    eventually("the publisher is back", async || publisher.is_ready()).await;
    publisher.publish(&batch(sale, "cid")).await.unwrap();
    monitor.ping().await.unwrap();
    assert!(drain.get(EPOCH).await.is_err(), "a lost lock stays lost");
    let consumers = Consumers::connect(&config).await.unwrap();
    let mut consumer = consumers.consume(sale, EPOCH).await.unwrap().expect("the queue is durable");
    for name in ["ann", "cid"] {
        let delivery = soon("a delivery arrives", consumer.next()).await.unwrap().unwrap();
        let batch = decode(&delivery.body, (sale, EPOCH)).unwrap();
        assert_eq!(batch.reservations[0].user_id.as_str(), name);
    }
    soon("the publisher closes", publisher.close()).await;
}

#[tokio::test]
async fn a_broker_short_of_memory_blocks_publishers_and_nobody_else() {
    let own = OwnBroker::start(&[("vm_memory_high_watermark.absolute", "1MB")]).await;
    let mut config = own.config();
    config.confirm_timeout_ms = 1_000;
    let (sale, drain) = declared(&config).await;
    let publisher = connected(&config).await;

    // The broker tells a connection only once it publishes.
    let first = publisher.publish(&batch(sale, "ann")).await;
    assert!(matches!(first, Err(PublishError::Unknown(_))), "{first:?}");
    eventually("the alarm is reported", async || matches!(publisher.status(), Status::Blocked(_))).await;
    assert!(!publisher.is_ready());
    assert!(matches!(publisher.publish(&batch(sale, "bob")).await, Err(PublishError::NotSent(_))));

    assert_eq!(drain.get(EPOCH).await.unwrap(), None, "a drain only fetches, and works on");
    Monitor::connect(&config).await.unwrap().ping().await.unwrap();
    let start = Instant::now();
    soon("the publisher closes", publisher.close()).await;
    assert!(start.elapsed() < Duration::from_secs(10), "a blocked connection is closed in bounded time");
    tidy(drain).await;
}
