//! Depth and health.

use broker::{Consumers, Depth, Monitor};
use testkit::{Proxy, Wire};

use crate::fixture::{EPOCH, config, config_for, eventually, new_sale, publish_all, sale_with_queue, tidy, url};

#[tokio::test]
async fn the_depth_counts_what_waits_and_who_consumes() {
    let (sale, drain) = sale_with_queue().await;
    let monitor = Monitor::connect(&config()).await.unwrap();
    assert_eq!(monitor.depth(new_sale(), EPOCH).await.unwrap(), None);
    assert_eq!(monitor.depth(sale, EPOCH).await.unwrap(), Some(Depth { ready: 0, consumers: 0 }));
    publish_all(sale, &["ann", "bob", "cid"]).await;
    let is = async |ready, consumers| monitor.depth(sale, EPOCH).await.unwrap() == Some(Depth { ready, consumers });
    eventually("three wait", async || is(3, 0).await).await;
    let consumers = Consumers::connect(&config()).await.unwrap();
    let consumer = consumers.consume(sale, EPOCH).await.unwrap().unwrap();
    eventually("all are handed out", async || is(0, 1).await).await;
    consumer.close().await;
    eventually("all are back", async || is(3, 0).await).await;
    tidy(drain).await;
}

#[tokio::test]
async fn a_monitor_survives_the_loss_of_its_connection() {
    let proxy = Proxy::before(&url()).await;
    let monitor = Monitor::connect(&config_for(&proxy.url_of(&url()))).await.unwrap();
    proxy.set(Wire::Cut);
    eventually("the broker is away", async || monitor.ping().await.is_err()).await;
    proxy.set(Wire::Open);
    eventually("the broker is back", async || monitor.ping().await.is_ok()).await;
    let ping = async move { monitor.ping().await };
    tokio::spawn(ping).await.unwrap().unwrap();
}
