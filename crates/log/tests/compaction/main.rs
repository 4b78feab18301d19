//! Compaction against a model as naive as can be: offsets to records, with all of them looked at each time.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    unreachable_pub,
    reason = "a test may stop, and its numbers are small"
)]

#[path = "../common/mod.rs"]
mod common;
mod crash;
mod model;
mod offline;
mod passes;
mod rules;
