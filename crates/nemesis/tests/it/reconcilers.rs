//! Row 23: five reconcilers at once, and the one that works is stopped in the middle of it.

use servers::Signal;
use testkit::{Cast, Own, Pace, Process, Scene, new_sale, until};

use crate::redis::{command, command_at, sells_again};
use crate::{PATIENCE, SETTLES};

/// RabbitMQ gives a frozen peer up after about two heartbeats: for so long the others wait, about ten seconds.
const HEARTBEAT: (&str, &str) = ("FLASHSALE__RABBITMQ__HEARTBEAT_SECONDS", "4");

/// How far the winner is when it is stopped.
#[derive(Clone, Copy, PartialEq)]
enum Stage {
    /// It has raised the epoch.
    Fenced,
    /// Its gate is written, and waits for its queue to settle.
    Installed,
}

/// The one of them that rebuilds the gate, once it has come so far.
async fn winner(scene: &mut Scene, crowd: &[Process], stage: Stage) -> usize {
    let works = async || crowd.iter().position(|process| process.log().contains("rebuilding the gate"));
    let winner = until("one of them rebuilds the gate", PATIENCE, works).await;
    if stage == Stage::Installed {
        let url = scene.stack.redis.operator_url();
        let gate = gate_key(scene, 2);
        let written = async || {
            let found: i64 = command_at(url, &["EXISTS", &gate]).await;
            (found == 1).then_some(())
        };
        until("its gate is written", PATIENCE, written).await;
    }
    winner
}

fn gate_key(scene: &Scene, epoch: i64) -> String {
    format!("sale:{{{}}}:{epoch}:gate", scene.sale)
}

async fn the_winner_is_stopped(stage: Stage) {
    let mut scene = Scene::with(Own::REDIS, &new_sale(1_500), Cast::default(), &[SETTLES]).await;
    scene.keepers[0].stop().await;
    scene.persisters[0].stop().await;
    let load = scene.load(Pace::default());
    load.until_promised(300).await;
    load.history().redis_forgets();
    scene.stack.restart_redis(true);
    let crowd: Vec<Process> =
        (0..5).map(|_| scene.stack.start_with("flashsale-reconcile", &[], &[HEARTBEAT, SETTLES])).collect();
    let winner = winner(&mut scene, &crowd, stage).await;
    crowd[winner].signal(Signal::STOP);
    let stopped = scene.stack.sale(scene.sale).await;
    assert_eq!((stopped.epoch.0, stopped.drain_token.is_some()), (2, true), "stopped in the middle");
    assert_eq!(stopped.sold == 0, stage == Stage::Fenced, "before it drained, or after");

    let outage = load.until_it_sells_again().await;
    println!("availability | row 23 | reconciler stopped, another takes over | {:.1} s", outage.as_secs_f64());
    let overtaken = scene.stack.sale(scene.sale).await;
    assert_eq!(overtaken.epoch.0, 3, "one other raised the epoch, once");

    crowd[winner].signal(Signal::CONT);
    for process in crowd {
        assert!(process.wait().await.success(), "all of them find an open sale in the end");
    }
    assert_eq!(scene.stack.sale(scene.sale).await.installation, overtaken.installation, "the second gate stands");
    let first_gate = gate_key(&scene, 2);
    let open: Option<String> = command(&mut scene.stack.redis, &["HGET", &first_gate, "open"]).await;
    assert_ne!(open.as_deref(), Some("1"), "the first one's gate never opened");
    sells_again(&load, 23, "the stopped reconciler wakes").await;
    scene.raise().await;
    load.until_sold_out().await;
    let judgement = scene.close(load).await;
    assert_eq!(judgement.sold, 1_500, "{judgement}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_23_the_winner_of_five_reconcilers_is_stopped_before_it_drains() {
    the_winner_is_stopped(Stage::Fenced).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_23_the_winner_of_five_reconcilers_is_stopped_before_it_opens_its_gate() {
    the_winner_is_stopped(Stage::Installed).await;
}
