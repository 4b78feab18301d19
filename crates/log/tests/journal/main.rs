//! The commit journal at its face, on the simulated disk: what was acknowledged survives a crash between any two
//! calls, and nothing that the journal still holds ever overwrites newer bytes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop"
)]
#![allow(unreachable_pub, reason = "modules of one test")]

mod carried;
#[path = "../common/mod.rs"]
mod common;
mod crash;
mod epochs;
mod failing_calls;
mod followers;
mod full_disk;
mod generations;
mod node;
mod offline;
mod remembered;
mod reopening;
mod room;
mod rot;
mod stale;
