//! Arbitrary bytes in the place of a sound log's indexes and of its state file: they change nothing that is read, or
//! are not believed.
//!
//! `cargo +nightly fuzz run log_derived_files`
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/log/tests/hostile/exercise.rs"]
#[allow(dead_code, reason = "each target uses a part of it")]
mod exercise;

fuzz_target!(|data: &[u8]| exercise::derived_files(data));
