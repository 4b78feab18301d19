//! Handling a group's records with workers, against the real engine.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail loudly")]

mod failures;
mod order;
mod stopping;
mod support;
