//! Every order of steps, at a small size.

use model::{Model, Size, properties};
use stateright::{Checker, Expectation, HasDiscoveries, Model as _, Path};

/// Actions that only a planted bug makes possible.
const OF_BUGS: [&str; 3] = ["AckFirst", "ExpireRead", "ExpireWrite"];

#[test]
fn no_order_of_steps_and_three_faults_breaks_a_promise() {
    let model = Model::new(Size { units: 2, buyers: 3, faults: 3 }, None).nameless();
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
        assert_eq!(count > 0, !OF_BUGS.contains(&kind), "{kind} was taken {count} times");
    }
    assert!(checker.unique_state_count() > 3_000_000, "{} states", checker.unique_state_count());
}
