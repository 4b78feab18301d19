//! Everything that is done with a record batch from outside: headers, checksums, codecs, records, the leader's walk.
//!
//! `cargo +nightly fuzz run batch_decode`; the golden batches make good seeds:
//! `cargo +nightly fuzz run batch_decode fuzz/corpus/batch_decode crates/batch/tests/golden`.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/batch/tests/support/exercise.rs"]
mod exercise;

fuzz_target!(|data: &[u8]| exercise::exercise(data));
