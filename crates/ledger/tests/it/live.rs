//! What people look at while sales run: processes, traffic, what waits.

use ledger::{Heartbeat, Seen, TrafficSecond};
use uuid::Uuid;

use crate::fixture::Fixture;

fn heartbeat(role: &'static str, handled: i64) -> Heartbeat {
    Heartbeat { id: Uuid::new_v4(), role, host: "a-host".to_owned(), pid: 7, version: "1.2.3", handled }
}

fn second(at_second: i64, successes: i64) -> TrafficSecond {
    TrafficSecond { at_second, successes, refusals: 2, unknown: 1, latencies: vec![1, 2, 3] }
}

async fn run(fixture: &Fixture, statement: &'static str) {
    sqlx::query(statement).execute(&mut fixture.connect().await).await.unwrap();
}

#[tokio::test]
async fn a_process_is_there_from_its_first_beat_until_it_stops_with_how_much_it_does_a_second() {
    let fixture = Fixture::with_stock(1).await;
    let (mut persister, api) = (heartbeat("persister", 5_000), heartbeat("api", 5));
    fixture.ledger.beat(&persister).await.unwrap();
    fixture.ledger.beat(&api).await.unwrap();
    run(&fixture, "UPDATE processes SET seen_at = seen_at - interval '2 s' WHERE role = 'persister'").await;
    persister.handled = 6_000;
    fixture.ledger.beat(&persister).await.unwrap();
    let seen: Vec<Seen> = fixture.ledger.processes().await.unwrap();
    assert_eq!(
        seen.iter().map(|seen| (seen.id, seen.handled)).collect::<Vec<_>>(),
        [(api.id, 5), (persister.id, 6_000)]
    );
    assert!((300.0..=500.0).contains(&seen[1].per_second), "1,000 in two seconds and a little: {seen:?}");
    assert_eq!((seen[0].per_second, seen[1].started_at < seen[1].seen_at), (0.0, true));
    assert!(seen.iter().all(|seen| (0..60_000).contains(&seen.age_ms)), "{seen:?}");

    fixture.ledger.stopped(api.id).await.unwrap();
    assert_eq!(fixture.ledger.processes().await.unwrap().len(), 1);
    fixture.close().await;
}

#[tokio::test]
async fn who_was_not_heard_of_for_ten_minutes_is_forgotten_by_the_others_and_comes_back_if_it_lives() {
    let fixture = Fixture::with_stock(1).await;
    let (dead, other) = (heartbeat("keeper", 9), heartbeat("keeper", 1));
    fixture.ledger.beat(&dead).await.unwrap();
    run(&fixture, "UPDATE processes SET seen_at = seen_at - interval '599 s'").await;
    fixture.ledger.beat(&other).await.unwrap();
    assert_eq!(fixture.ledger.processes().await.unwrap().len(), 2);
    run(&fixture, "UPDATE processes SET seen_at = seen_at - interval '10 s' WHERE handled = 9").await;
    fixture.ledger.beat(&other).await.unwrap();
    assert_eq!(fixture.ledger.processes().await.unwrap().len(), 1);
    fixture.ledger.beat(&dead).await.unwrap();
    assert_eq!(fixture.ledger.processes().await.unwrap().len(), 2);
    fixture.close().await;
}

#[tokio::test]
async fn a_second_of_traffic_counts_once_for_each_process_and_for_ten_minutes() {
    let fixture = Fixture::with_stock(1).await;
    let (one, other) = (Uuid::new_v4(), Uuid::new_v4());
    for (process, seconds) in [
        (one, vec![second(1_000, 1), second(1_001, 2)]),
        // As after a lost answer.
        (one, vec![second(1_000, 1), second(1_001, 2)]),
        (other, vec![second(1_001, 4)]),
        (other, vec![]),
    ] {
        fixture.ledger.record_traffic(process, &seconds).await.unwrap();
    }
    let told = async |first, last| {
        let seconds = fixture.ledger.traffic(first, last).await.unwrap();
        let mut counts: Vec<_> = seconds.iter().map(|second| (second.at_second, second.successes)).collect();
        counts.sort();
        counts
    };
    assert_eq!(told(1_000, 1_001).await, [(1_000, 1), (1_001, 2), (1_001, 4)]);
    assert_eq!(told(1_001, 2_000).await, [(1_001, 2), (1_001, 4)]);
    assert_eq!(fixture.ledger.traffic(1_000, 1_000).await.unwrap(), [second(1_000, 1)]);
    fixture.ledger.record_traffic(one, &[second(1_601, 8)]).await.unwrap();
    assert_eq!(told(0, 9_999).await, [(1_001, 2), (1_001, 4), (1_601, 8)]);
    fixture.close().await;
}
