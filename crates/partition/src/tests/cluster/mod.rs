//! Small clusters of one partition: replicas that crash and lose what was not synced, streams that break, elections that are
//! abandoned, logs that fail. After every step the invariants of the replication rules are checked; at the end everything heals, and all
//! replicas must come to hold the same records, with everything that was acknowledged among them.
//!
//! The choices are drawn by proptest, so that a failure shrinks to few of them.

#![expect(clippy::cast_possible_truncation, reason = "offsets and ids of tests are small")]

mod history;
mod node;
mod world;

use proptest::{prelude::*, strategy::ValueTree as _};

use self::world::World;

fn run(replicas: usize, choices: &[u32]) -> World {
    let mut world = World::new(replicas);
    for choice in choices {
        world.step(*choice);
    }
    world.heal();
    world
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn three_replicas_lose_nothing(choices in prop::collection::vec(any::<u32>(), 0..2_000)) {
        run(3, &choices);
    }

    #[test]
    fn five_replicas_lose_nothing(choices in prop::collection::vec(any::<u32>(), 0..2_000)) {
        run(5, &choices);
    }

    #[test]
    fn two_replicas_lose_nothing(choices in prop::collection::vec(any::<u32>(), 0..1_500)) {
        run(2, &choices);
    }
}

/// Random runs prove nothing if little happens in them.
#[test]
fn random_runs_reach_the_rare_situations() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut reached = world::Reached::default();
    for _ in 0..200 {
        let choices = prop::collection::vec(any::<u32>(), 2_000).new_tree(&mut runner).unwrap().current();
        reached.add(&run(3, &choices).reached);
    }
    reached.assert_all();
}
