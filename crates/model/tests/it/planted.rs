//! Each planted bug is found, and what falls is what it breaks.

use model::{Action, COUNTER_IS_SUM, EVERY_UNIT_IS_SOMEWHERE, Model, NOBODY_REFUSED, PlantedBug, SUCCESS_STAYS, Size};
use stateright::{Checker, HasDiscoveries, Model as _};

/// More steps than any of the bugs takes to show.
const DEEPEST: usize = 40;

/// The shortest way to a state in which `property` does not hold.
fn way_to_fall(model: impl Fn() -> Model, property: &'static str) -> Option<Vec<Action>> {
    (2..DEEPEST).find_map(|depth| {
        let finds = HasDiscoveries::AnyOf([property].into());
        let checker = model().checker().target_max_depth(depth).finish_when(finds).spawn_bfs().join();
        checker.discovery(property).map(stateright::Path::into_actions)
    })
}

/// Checks that `bug` breaks `property` with so many units and faults, but not with one fault less.
fn breaks(bug: PlantedBug, units: u8, faults: u8, property: &'static str) {
    let model = |faults| Model::new(Size { units, buyers: 2, faults, claims: true }, Some(bug));
    let way = way_to_fall(|| model(faults), property);
    println!("{bug:?}: {property:?} falls after {:?}", way.unwrap_or_else(|| panic!("{property:?} still holds")));
    if faults > 0 {
        let checker = model(faults - 1).checker().spawn_bfs().join();
        assert!(checker.discovery(property).is_none(), "{property:?} falls with {} faults too", faults - 1);
    }
}

#[test]
fn a_rebuild_that_does_not_drain_refuses_what_was_promised() {
    breaks(PlantedBug::RebuildWithoutDrain, 1, 1, NOBODY_REFUSED);
}

#[test]
fn a_rebuild_that_leaves_the_old_queue_bound_loses_what_was_promised() {
    breaks(PlantedBug::RebuildWithoutUnbind, 1, 1, SUCCESS_STAYS);
}

#[test]
fn a_rebuild_that_does_not_wait_for_persisters_refuses_what_was_promised() {
    breaks(PlantedBug::RebuildWithoutEmptyHands, 1, 1, NOBODY_REFUSED);
}

#[test]
fn stock_that_is_given_back_without_a_confirm_is_promised_twice() {
    breaks(PlantedBug::StockGivenBackOnPublishTimeout, 1, 1, NOBODY_REFUSED);
}

#[test]
fn an_outbox_entry_that_ends_with_the_confirm_is_missed_in_the_books_and_with_a_queue() {
    breaks(PlantedBug::OutboxDeletedOnConfirm, 1, 0, EVERY_UNIT_IS_SOMEWHERE);
    breaks(PlantedBug::OutboxDeletedOnConfirm, 1, 1, SUCCESS_STAYS);
}

#[test]
fn scripts_that_are_loaded_on_demand_sell_what_a_replica_has_not_heard_of() {
    breaks(PlantedBug::ScriptsLoadedOnNoscript, 1, 1, NOBODY_REFUSED);
}

#[test]
fn a_gate_and_a_keeper_that_do_not_compare_histories_sell_an_old_stock() {
    breaks(PlantedBug::FailbackWithoutReplidCheck, 1, 2, SUCCESS_STAYS);
}

#[test]
fn a_persister_that_acknowledges_first_loses_what_was_promised() {
    breaks(PlantedBug::AckBeforeCommit, 1, 1, SUCCESS_STAYS);
}

#[test]
fn an_expiry_without_the_sales_lock_loses_count() {
    breaks(PlantedBug::ExpiryWithoutSaleLock, 2, 0, COUNTER_IS_SUM);
}

#[test]
fn stock_that_is_lowered_without_asking_the_gate_refuses_what_was_promised() {
    breaks(PlantedBug::LoweredWithoutClaim, 1, 0, NOBODY_REFUSED);
}

#[test]
fn a_gate_that_answers_claims_on_any_history_gives_away_what_was_promised() {
    breaks(PlantedBug::ClaimWithoutReplidCheck, 1, 2, NOBODY_REFUSED);
}

#[test]
fn a_rebuild_that_decides_about_a_claim_gives_away_what_the_next_one_saves() {
    breaks(PlantedBug::ClaimDecidedByRebuild, 1, 2, NOBODY_REFUSED);
}
