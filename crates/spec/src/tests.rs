//! The small exhaustive runs, and the removal of every rule.

use crate::{Bounds, Rule, Spec, exhaust, refute, removal};

fn holds(bounds: Bounds) {
    let outcome = exhaust(Spec::new(bounds), 1, None);
    assert!(outcome.is_complete, "{bounds}: {:?}", outcome.violation);
}

#[test]
fn a_partition_holds() {
    holds(Bounds::partition(2, 2, 1));
}
