//! Files that no one meant well, a fixed number of them. The fuzz targets do the same for longer.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test may stop, and its numbers are small"
)]

mod exercise;

use std::cell::Cell;

use exercise::{derived_files, journal, recovery};
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

/// The same inputs on every run.
fn run<S: Strategy>(cases: u32, strategy: &S, test: impl Fn(S::Value)) {
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    TestRunner::new_with_rng(config, rng)
        .run(strategy, |drawn| {
            test(drawn);
            Ok(())
        })
        .unwrap();
}

/// Bytes that look a little like batches: lengths that fit now and then, and the magic where it should be.
fn like_batches() -> impl Strategy<Value = Vec<u8>> {
    let batch = (61..300_usize, any::<[u8; 61]>(), any::<bool>()).prop_map(|(total, header, sound)| {
        let mut bytes = vec![header[0]; total];
        bytes[..61].copy_from_slice(&header);
        if sound {
            bytes[8..12].copy_from_slice(&((total - 12) as u32).to_be_bytes());
        }
        bytes
    });
    let control = prop::collection::vec(any::<u8>(), 3);
    (control, prop::collection::vec(batch, 0..8)).prop_map(|(mut control, batches)| {
        control.extend(batches.concat());
        control
    })
}

#[test]
fn a_log_opens_on_any_segment_files() {
    let served = Cell::new(0);
    run(600, &like_batches(), |data| served.set(served.get() + recovery(&data)));
    assert!(served.get() > 0, "nothing passes the first checks, so nothing behind them was tried");
    run(300, &prop::collection::vec(any::<u8>(), 0..400), |data| {
        let _ = recovery(&data);
    });
}

#[test]
fn any_index_and_any_state_file_are_survived() {
    run(400, &prop::collection::vec(any::<u8>(), 0..120), |data| derived_files(&data));
    // Entries that grow look like those of an index.
    let growing = (any::<[u8; 2]>(), prop::collection::vec((0..9_u32, 0..300_u32), 0..12));
    run(400, &growing, |(control, steps)| {
        let mut data = control.to_vec();
        let (mut relative, mut position) = (0, 0);
        for step in steps {
            (relative, position) = (relative + step.0, position + step.1);
            data.extend([relative.to_be_bytes(), position.to_be_bytes()].concat());
        }
        derived_files(&data);
    });
}

#[test]
fn any_journal_file_is_read_to_an_end() {
    let overlaid = (any::<[u8; 2]>(), prop::collection::vec(any::<u8>(), 0..60));
    run(300, &overlaid, |(mut control, data)| {
        control[0] &= 1;
        journal(&[&control[..], &data].concat());
    });
    run(200, &prop::collection::vec(any::<u8>(), 0..700), |data| journal(&data));
}
