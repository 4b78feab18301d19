//! A log opened on segment files of arbitrary bytes: recovered, read, scrubbed, appended to, and opened again.
//!
//! `cargo +nightly fuzz run log_recovery`
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/log/tests/hostile/exercise.rs"]
#[allow(dead_code, reason = "each target uses a part of it")]
mod exercise;

fuzz_target!(|data: &[u8]| {
    let _ = exercise::recovery(data);
});
