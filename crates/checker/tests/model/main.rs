//! Generated legal histories pass every check, and what is planted into them is found by the check that it belongs to.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly, its helpers too"
)]

#[path = "../support/model/mod.rs"]
mod model;
mod spoil;

use std::collections::BTreeMap;

use corduroy_checker::{Check, Options, Verdict, check, read, write};
use model::{LEASE_NS, Reached, Rng, generate};
use proptest::prelude::*;
use spoil::SPOILERS;

fn options() -> Options {
    Options { lease_ns: LEASE_NS, ..Options::default() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn legal_histories_pass_and_what_is_planted_is_found(seed: u64, ops_min in 30_usize..600) {
        let (history, _) = generate(seed, ops_min);
        let report = check(&history, &options());
        prop_assert!(report.violated().is_empty(), "seed {} with {} operations: {}", seed, ops_min, report);
        for (kind, spoil) in SPOILERS {
            let mut spoiled = history.clone();
            let Some(what) = spoil(&mut spoiled, &mut Rng(seed)) else { continue };
            let report = check(&spoiled, &options());
            prop_assert!(
                report.violations(*kind) > 0,
                "seed {seed} with {ops_min} operations: {} did not find {what}:\n{report}", kind.title()
            );
        }
    }

    #[test]
    fn what_is_written_reads_back(seed: u64) {
        let (history, _) = generate(seed, 100);
        let text = write(&history, Vec::new()).unwrap();
        prop_assert_eq!(read(&text[..]).unwrap(), history, "seed {}", seed);
    }
}

/// The property says nothing when the model never gets anywhere.
#[test]
fn the_model_reaches_the_rare_situations_and_each_kind_can_be_planted() {
    let mut all = Reached::default();
    let (mut valid, mut allowed) = (0, 0);
    let mut planted: BTreeMap<Check, u64> = BTreeMap::new();
    for seed in 0..60 {
        let (history, reached) = generate(seed, 400);
        all.cuts += reached.cuts;
        all.late_appends += reached.late_appends;
        all.sent_again += reached.sent_again;
        all.answered_again += reached.answered_again;
        all.old_ends += reached.old_ends;
        all.deletions += reached.deletions;
        let report = check(&history, &options());
        valid += u64::from(report.verdict() == Verdict::Valid);
        allowed += report.duplicates_allowed.min(1) + report.losses_allowed.min(1);
        for (kind, spoil) in SPOILERS {
            let found = spoil(&mut history.clone(), &mut Rng(seed)).is_some();
            *planted.entry(*kind).or_default() += u64::from(found);
        }
    }
    let Reached { cuts, late_appends, sent_again, answered_again, old_ends, deletions } = all;
    for (what, count) in [
        ("cuts", cuts),
        ("late appends", late_appends),
        ("sent again", sent_again),
        ("answered again", answered_again),
        ("old ends", old_ends),
        ("deletions", deletions),
        ("allowed duplicates and losses", allowed),
        ("valid histories", valid),
    ] {
        assert!(count >= 10, "{what}: only {count}: {all:?}");
    }
    assert_eq!(planted.keys().copied().collect::<Vec<_>>(), Check::ALL, "each check has a kind");
    assert!(planted.values().all(|count| *count >= 10), "{planted:?}");
}
