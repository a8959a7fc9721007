//! Row 24: an operator resets a sale while it sells.

use testkit::{Cast, Outcome, Own, Pace, Scene, new_sale, until};

use crate::PATIENCE;

const STOCK: u32 = 2_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_24_a_reset_during_the_sale_is_refused_and_changes_nothing() {
    let mut scene = Scene::open(Own::NONE, STOCK).await;
    // Nobody persists, so something is on its way whenever the operator asks.
    scene.persisters[0].stop().await;
    let load = scene.load(Pace::default());
    load.until_promised(200).await;
    let refused = scene.client().reset(scene.sale, false).await;
    assert_eq!((refused.status.as_u16(), refused.body["code"].as_str()), (409, Some("SALE_BUSY")), "{refused:?}");
    assert!(refused.headers.contains_key("retry-after"));
    scene.raise().await;
    let sale = scene.stack.sale(scene.sale).await;
    assert_eq!((sale.epoch.0, sale.state), (1, domain::SaleState::Open));
    load.until_sold_out().await;
    let judgement = scene.close(load).await;
    assert_eq!(judgement.sold, i64::from(STOCK), "{judgement}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_24_a_reset_by_force_during_the_sale_voids_what_was_sold_and_nothing_after() {
    let cast = Cast { apis: 2, ..Cast::default() };
    let scene = Scene::with(Own::NONE, &new_sale(STOCK), cast, &[]).await;
    let load = scene.load(Pace::default());
    load.until_promised(200).await;
    let began = load.history().now();
    let reset = scene.client().reset(scene.sale, true).await;
    assert_eq!(reset.status, 200, "{reset:?}");
    let done = load.history().now();
    println!("availability | row 24 | reset by force | {:.1} s", (done - began).as_secs_f64());
    let sale = scene.stack.sale(scene.sale).await;
    assert_eq!(sale.epoch.0, 2);
    load.until_it_sells_again().await;
    // What was sold before is on sale again: all of it is sold, a second time.
    let again = async || {
        let attempts = load.history().attempts();
        attempts.iter().any(|one| one.began >= done && one.outcome == Outcome::SoldOut).then_some(())
    };
    until("the sale is sold out again", PATIENCE, again).await;
    let history = load.stop().await;
    assert!(history.promised() > STOCK as usize, "promises of before the reset are void");
    let judgement = scene.judge(&history.voided_before(done)).await;
    judgement.assert_clean();
    assert_eq!(judgement.sold, i64::from(STOCK), "{judgement}");
    scene.end().await;
}
