//! Small clusters of voters, each with the partition that is its metadata log: messages are lost, late, repeated and out of order; nodes
//! crash and lose what was not synced, stop for a while, and lose their disks for a while; voters come and go. After every step the
//! invariants are checked. Then everything heals, and a leader must be found soon (V5); then one node is away for a while, and
//! must not depose that leader when it comes back (V1).
//!
//! A failure prints its seed; `VOTE_SEED=N` runs only that one, `VOTE_SEEDS=N` as many.

#![expect(clippy::cast_possible_truncation, reason = "offsets and ids of tests are small")]

mod history;
mod mutations;
mod network;
mod node;
mod reached;
mod run;
mod shell;
mod world;

use self::{reached::Reached, run::run};
use crate::vote::rules::Rules;

/// One cluster after another, until one breaks a rule.
fn run_all(voters: usize, count: u64) -> Reached {
    let one = std::env::var("VOTE_SEED").ok().map(|seed| seed.parse().unwrap());
    let count = std::env::var("VOTE_SEEDS").map_or(count, |seeds| seeds.parse().unwrap());
    let seeds = one.map_or(0..count, |seed: u64| seed..seed + 1);
    let mut reached = Reached::default();
    for seed in seeds {
        match run(seed, voters, Rules::ALL) {
            Ok(one) => reached.add(&one),
            Err((violation, world)) => panic!("VOTE_SEED={seed}, {voters} voters: {violation}\n{world}"),
        }
    }
    reached
}

#[test]
fn three_voters_keep_the_rules_in_every_situation() {
    let reached = run_all(3, 200);
    let is_one = std::env::var("VOTE_SEED").is_ok();
    assert!(is_one || reached.missing().is_empty(), "not reached: {:?} in {reached:?}", reached.missing());
}

#[test]
fn a_first_start_that_others_join_keeps_the_rules() {
    run_all(1, 80);
}

#[test]
fn five_voters_keep_the_rules() {
    run_all(5, 80);
}
