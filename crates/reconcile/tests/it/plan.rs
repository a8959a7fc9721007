//! Every plan, from everything that may be seen.

use chrono::DateTime;
use domain::{Epoch, Halt, Installation, Quantity, Rules, SaleId, SaleState, Scripts, ServerIdentity, Terms, Window};
use inventory::{Gate, Probe};
use ledger::Sale;
use reconcile::{Plan, Reason, Seen, plan};

/// Within the window of [`sale`].
const NOW_MS: i64 = 1_763_000_000_000;

fn window() -> Window {
    Window { starts_ms: NOW_MS - 1_000, ends_ms: NOW_MS + 1_000 }
}

fn terms() -> Terms {
    Terms { unit_price_minor: 1_999, currency: "EUR".parse().unwrap(), hold_seconds: 0 }
}

fn server() -> ServerIdentity {
    ServerIdentity { run_id: "this run".to_owned(), master_replid: "this history".to_owned() }
}

/// A sale that is open at epoch 3.
fn sale() -> Sale {
    let at = |ms| DateTime::from_timestamp_millis(ms).unwrap();
    let sha = |name: &str| name.to_owned();
    let scripts = Scripts {
        reserve: sha("r"),
        adjust: sha("a"),
        open: sha("o"),
        close: sha("c"),
        configure: sha("f"),
        claim: sha("l"),
    };
    Sale {
        id: SaleId(uuid::Uuid::nil()),
        name: "A sale".to_owned(),
        description: None,
        image_url: None,
        total_stock: 10,
        sold: 4,
        terms: terms(),
        per_user_limit: Quantity::ONE,
        starts_at: at(window().starts_ms),
        ends_at: at(window().ends_ms),
        window: window(),
        halted: None,
        revision: 0,
        epoch: Epoch(3),
        valid_from_epoch: Epoch(0),
        drained_through: Epoch(2),
        state: SaleState::Open,
        drain_token: None,
        installation: Some(Installation { scripts, server: server() }),
        ended_at: None,
        cleaned_at: None,
        created_at: at(0),
    }
}

/// What the stores hold of it where nothing was lost.
fn intact() -> Seen {
    let gate = Gate { epoch: Epoch(3), open: true, stock: 6, rules: sale().rules() };
    let probe = Probe { now_ms: NOW_MS, server: server(), gate: Some(gate), scripts_present: true, outbox_len: 2 };
    Seen { probe, queued: Some(1) }
}

fn seen(change: impl FnOnce(&mut Seen)) -> Seen {
    let mut seen = intact();
    change(&mut seen);
    seen
}

/// The window has passed and nothing is on its way any more.
fn over(seen: &mut Seen) {
    (seen.probe.now_ms, seen.probe.outbox_len, seen.queued) = (window().ends_ms, 0, Some(0));
}

fn gate(seen: &mut Seen) -> &mut Gate {
    seen.probe.gate.as_mut().unwrap()
}

#[test]
fn an_open_sale_is_rebuilt_for_the_first_thing_that_is_lost_and_for_nothing_else() {
    use Reason::{GateLost, OtherServer, QueueLost, ScriptsLost};
    for (what, seen, expected) in [
        ("everything stands", intact(), Plan::Nothing),
        ("no reservation on its way", seen(|s| (s.probe.outbox_len, s.queued) = (0, Some(0))), Plan::Nothing),
        ("the stock is below zero", seen(|s| gate(s).stock = -1), Plan::Nothing),
        ("no gate", seen(|s| s.probe.gate = None), Plan::Rebuild(GateLost)),
        ("an older gate", seen(|s| gate(s).epoch = Epoch(2)), Plan::Rebuild(GateLost)),
        ("a gate that was never opened", seen(|s| gate(s).open = false), Plan::Rebuild(GateLost)),
        ("no scripts", seen(|s| s.probe.scripts_present = false), Plan::Rebuild(ScriptsLost)),
        ("another run", seen(|s| s.probe.server.run_id = "x".to_owned()), Plan::Rebuild(OtherServer)),
        ("another history", seen(|s| s.probe.server.master_replid = "x".to_owned()), Plan::Rebuild(OtherServer)),
        ("no queue", seen(|s| s.queued = None), Plan::Rebuild(QueueLost)),
    ] {
        assert_eq!(plan(&sale(), Some(&seen)), expected, "{what}");
    }
}

#[test]
fn a_sale_ends_when_its_window_has_passed_and_nothing_is_on_its_way() {
    use Reason::{GateLost, OtherServer, QueueLost, ScriptsLost};
    for (what, change, expected) in [
        ("all of it", (|_| ()) as fn(&mut Seen), Plan::End),
        ("its queue is gone", |s| s.queued = None, Plan::End),
        ("the last millisecond", |s| s.probe.now_ms -= 1, Plan::Nothing),
        ("a reservation in the outbox", |s| s.probe.outbox_len = 1, Plan::Nothing),
        ("a message in the queue", |s| s.queued = Some(1), Plan::Nothing),
        ("outbox but no queue", |s| (s.probe.outbox_len, s.queued) = (1, None), Plan::Rebuild(QueueLost)),
        // An outbox that was lost looks empty: what it held is drained first.
        ("no gate", |s| s.probe.gate = None, Plan::Rebuild(GateLost)),
        ("no scripts", |s| s.probe.scripts_present = false, Plan::Rebuild(ScriptsLost)),
        ("another run", |s| s.probe.server.run_id = "x".to_owned(), Plan::Rebuild(OtherServer)),
    ] {
        let seen = seen(|seen| {
            over(seen);
            change(seen);
        });
        assert_eq!(plan(&sale(), Some(&seen)), expected, "{what}");
    }
}

#[test]
fn a_sale_that_an_operator_has_ended_ends_like_one_whose_window_has_passed_once_the_gate_knows() {
    let ended = Sale { halted: Some(Halt::Ended), revision: 4, ..sale() };
    let knows = |seen: &mut Seen| gate(seen).rules = Rules { halted: Some(Halt::Ended), revision: 4, ..sale().rules() };
    let empty = |seen: &mut Seen| (seen.probe.outbox_len, seen.queued) = (0, Some(0));
    let both = seen(|seen| {
        knows(seen);
        empty(seen);
    });
    assert_eq!(plan(&ended, Some(&both)), Plan::End);
    assert_eq!(plan(&ended, Some(&seen(knows))), Plan::Nothing, "what was won is on its way");
    assert_eq!(plan(&ended, Some(&seen(empty))), Plan::Nothing, "the gate may still let somebody win");
    // An operator has prolonged the sale since it was read.
    let newer = seen(|seen| {
        over(seen);
        gate(seen).rules.revision = 1;
    });
    assert_eq!(plan(&sale(), Some(&newer)), Plan::Nothing);
    let paused = Sale { halted: Some(Halt::Paused), ..sale() };
    assert_eq!(plan(&paused, Some(&seen(empty))), Plan::Nothing, "a paused sale goes on");
    assert_eq!(plan(&paused, Some(&seen(over))), Plan::End, "until its window has passed");
}

#[test]
fn a_sale_in_any_other_state_is_judged_by_its_state_alone() {
    for (state, expected) in [
        (SaleState::Closed, Plan::Rebuild(Reason::NeverOpened)),
        (SaleState::Draining, Plan::Rebuild(Reason::Unfinished)),
        (SaleState::Ended, Plan::Nothing),
    ] {
        for seen in [None, Some(intact()), Some(seen(over)), Some(seen(|s| s.probe.gate = None))] {
            assert_eq!(plan(&Sale { state, ..sale() }, seen.as_ref()), expected, "{state}, {seen:?}");
        }
    }
}

#[test]
fn an_open_sale_without_an_installation_is_rebuilt() {
    let bare = Sale { installation: None, ..sale() };
    assert_eq!(plan(&bare, None), Plan::Rebuild(Reason::GateLost));
    assert_eq!(plan(&bare, Some(&intact())), Plan::Rebuild(Reason::GateLost));
    assert_eq!(plan(&sale(), None), Plan::Rebuild(Reason::GateLost));
}
