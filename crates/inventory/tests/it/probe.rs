//! Does the epoch still stand as it was installed?

use crate::sale::{ALWAYS, EPOCH, Sale, attempt, is_intact, shared_inventory};

#[tokio::test]
async fn an_open_gate_is_intact_and_a_closed_or_missing_one_is_not() {
    let inventory = shared_inventory();
    let sale = Sale::installed_at(&inventory, 5, ALWAYS).await;
    let intact = async || {
        let probe = inventory.probe(sale.id, EPOCH, &sale.installation).await.unwrap();
        assert!(probe.scripts_present);
        is_intact(&probe, EPOCH, &sale.installation)
    };
    assert!(!intact().await);
    inventory.open(sale.id, EPOCH, &sale.installation.scripts, 0).await.unwrap();
    assert!(intact().await);
    sale.raw::<()>(&["HDEL", &sale.key("gate"), "terms"]).await;
    assert!(!intact().await, "a damaged gate is not intact");
    sale.raw::<()>(&["DEL", &sale.key("gate")]).await;
    assert!(!intact().await);
}

#[tokio::test]
async fn many_sales_are_probed_at_once_in_their_order() {
    let inventory = shared_inventory();
    let (busy, idle) = (Sale::open(5).await, Sale::open(3).await);
    busy.reserve(&[attempt("ann", 1), attempt("bob", 1)]).await;
    let asked = [(busy.id, EPOCH, &busy.installation), (idle.id, EPOCH, &idle.installation)];
    let probes = inventory.probe_all(&asked).await.unwrap();
    assert_eq!(probes.iter().map(|probe| probe.outbox_len).collect::<Vec<_>>(), [2, 0]);
    assert_eq!(probes.iter().map(|probe| probe.gate.unwrap().stock).collect::<Vec<_>>(), [3, 3]);
    assert!(probes.iter().all(|probe| probe.server == busy.installation.server));
    assert!(inventory.probe_all(&[]).await.unwrap().is_empty());
    busy.check_books(5, 0, 0).await;
    idle.check_books(3, 0, 0).await;
}

#[tokio::test]
async fn another_server_another_history_or_other_scripts_are_not_intact() {
    let sale = Sale::open(5).await;
    let probe = sale.inventory.probe(sale.id, EPOCH, &sale.installation).await.unwrap();
    assert!(is_intact(&probe, EPOCH, &sale.installation));
    assert!(!is_intact(&probe, EPOCH.next(), &sale.installation));
    let mut restarted = sale.installation.clone();
    restarted.server.run_id.push('0');
    let mut promoted = sale.installation.clone();
    promoted.server.master_replid.push('0');
    assert!(!is_intact(&probe, EPOCH, &restarted) && !is_intact(&probe, EPOCH, &promoted));

    let mut unloaded = sale.installation.clone();
    unloaded.scripts.close = "0".repeat(40);
    let probe = sale.inventory.probe(sale.id, EPOCH, &unloaded).await.unwrap();
    assert!(!probe.scripts_present && !is_intact(&probe, EPOCH, &unloaded));
    sale.check_books(5, 0, 0).await;
}
