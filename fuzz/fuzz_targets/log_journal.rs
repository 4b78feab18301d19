//! Arbitrary bytes in a file of the commit journal, in the place of it or laid over it: read, replayed, begun again.
//!
//! `cargo +nightly fuzz run log_journal`
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/log/tests/hostile/exercise.rs"]
#[allow(dead_code, reason = "each target uses a part of it")]
mod exercise;

fuzz_target!(|data: &[u8]| exercise::journal(data));
