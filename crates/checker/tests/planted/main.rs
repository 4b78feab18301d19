//! For each check: the smallest history against it, and the nearest one that is legal.
//!
//! A legal history must be *valid*: no other check may find something in it either.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly, its helpers too"
)]

#[path = "../support/script.rs"]
mod script;

mod bad_input;
mod binary;
mod ends;
mod liveness;
mod order;
mod reads;
mod values;

use corduroy_checker::{Check, Options, Report, Verdict, check};
use script::Script;

/// The history is invalid, by these checks and no others.
fn assert_found(script: &Script, checks: &[Check]) -> Report {
    let report = script.report();
    assert_eq!(report.violated(), checks, "{report}");
    assert_eq!(report.verdict(), Verdict::Invalid);
    report
}

/// Nothing is wrong with the history, and it shows enough.
fn assert_valid(script: &Script) -> Report {
    assert_valid_with(script, &Options::default())
}

fn assert_valid_with(script: &Script, options: &Options) -> Report {
    let report = check(&script.history(), options);
    assert_eq!(report.verdict(), Verdict::Valid, "{report}");
    report
}
