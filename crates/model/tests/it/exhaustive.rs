//! Every order of steps, at a small size.

use model::{Model, Size, properties};
use stateright::{Checker, Expectation, HasDiscoveries, Model as _, Path};

/// Actions that only a planted bug makes possible.
const OF_BUGS: [&str; 3] = ["AckFirst", "ExpireRead", "ExpireWrite"];
/// Actions of an operator's claim.
const OF_CLAIMS: [&str; 3] = ["Claim", "AskClaim", "BookClaim"];

fn holds(size: Size, at_least: usize) {
    let model = Model::new(size, None).nameless();
    let checker = model.checker().threads(2).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    println!("{} states of {}", checker.unique_state_count(), checker.state_count());
    for property in properties() {
        let found = checker.discovery(property.name);
        match property.expectation {
            Expectation::Sometimes => assert!(found.is_some(), "nowhere: {}", property.name),
            _ => assert!(found.is_none(), "{} falls after {:?}", property.name, found.map(Path::into_actions)),
        }
    }
    for (kind, count) in checker.model().taken() {
        let possible = !OF_BUGS.contains(&kind) && (size.claims || !OF_CLAIMS.contains(&kind));
        assert_eq!(count > 0, possible, "{kind} was taken {count} times");
    }
    assert!(checker.unique_state_count() > at_least, "{} states", checker.unique_state_count());
}

#[test]
fn no_order_of_steps_and_three_faults_breaks_a_promise() {
    holds(Size { units: 2, buyers: 3, faults: 3, claims: false }, 3_000_000);
}

#[test]
fn no_order_of_steps_and_two_faults_breaks_a_promise_while_a_unit_is_taken_out() {
    holds(Size { units: 2, buyers: 3, faults: 2, claims: true }, 1_000_000);
}
