//! A bounded number of seeds on the code as it is, and on code with a rule broken on purpose.
#![allow(clippy::panic, reason = "a test may fail loudly")]

use corduroy_sim::{Coverage, Rule, Settings, run};

/// Seeds that run on every build. A release run takes many more: `cargo run --release -p corduroy-sim -- --seeds 20000`.
const SEEDS: u64 = 40;

/// Seeds that once found a fault: no mark was durable after a cut, and a restart of the journal gave the older file up too soon.
const FOUND_ONCE: [u64; 2] = [327, 1874];

#[test]
fn nothing_is_found_and_enough_happens() {
    let mut total = Coverage::default();
    for seed in (0..SEEDS).chain(FOUND_ONCE) {
        let outcome = run(seed, Settings::of_seed(seed));
        if let Some(failure) = outcome.failure {
            panic!(
                "seed {seed}: {failure}\nrun it again: cargo run --release -p corduroy-sim -- --from {seed} --seeds 1"
            );
        }
        total.add(&outcome.coverage);
    }
    // Seeds in which little happens prove nothing.
    assert!(total.acknowledged > 1_000 * SEEDS, "{total:?}");
    assert!(total.fault_us > 3 * 60_000_000 * SEEDS, "{total:?}");
    let Coverage {
        unknown, kills, reopened, leaderships, leaderships_ended, elections_abandoned, cuts, ..
    } = total;
    let rare = [unknown, kills, reopened, leaderships, leaderships_ended, elections_abandoned, cuts];
    assert!(rare.iter().all(|count| *count > SEEDS), "{total:?}");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in [3, 4] {
        let [first, second] = [(); 2].map(|()| run(seed, Settings::of_seed(seed)));
        assert_eq!((first.fingerprint, first.coverage), (second.fingerprint, second.coverage), "seed {seed}");
    }
}

/// The seed that finds each rule broken. That a promise is durable (R1) is not found in so few: it takes a loss of power between a
/// report and the append of an older leader to the same replica.
#[test]
fn a_broken_rule_is_found() {
    let found_by = [
        (Rule::LastEpochFirst, 39),
        (Rule::EnoughReports, 2),
        (Rule::ReportsOfThisAttempt, 0),
        (Rule::EntryIsDurable, 0),
        (Rule::CutIsDurable, 0),
        (Rule::CountsWhenDurable, 1),
        (Rule::SyncsAreHonest, 0),
        (Rule::LeaseForReads, 12),
    ];
    for (rule, first_seed) in found_by {
        // What a seed does changes with the code: the next ones may find it in its place.
        let found = (first_seed..first_seed + 60).find(|seed| {
            let settings = Settings { broken: Some(rule), ..Settings::of_seed(*seed) };
            run(*seed, settings).failure.is_some()
        });
        assert!(
            found.is_some(),
            "{} was broken, and seeds {first_seed} to {} found nothing",
            rule.name(),
            first_seed + 59
        );
    }
}
