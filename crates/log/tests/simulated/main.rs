//! The log on a disk that loses power, fails and lies, against what was promised.
//!
//! | file | what it holds |
//! |---|---|
//! | `ops` | what may happen to a log, drawn from a seed |
//! | `world` | a log, its disk, and the performance of it all |
//! | `promise` | what holds whatever happens next, and how a disk is checked against it |
//! | `probing` | the power going between disk calls |
//! | `crashes` | any operations in any order, the power going between any two disk calls |
//! | `faults` | failing calls: inside what the log promises to bear |
//! | `rot` | beyond that: what is lost is reported, never served |
//! | `data_dir` | a data directory with its journal and a few logs, used as a broker uses it |
//! | `lives` | what brokers do to one, drawn from a seed, and what was promised |
//! | `striking` | one thing that is not as it was left: a bit, a file, a directory |
//! | `single_faults` | one such fault: nothing acknowledged is lost without a finding |
//! | `failing_reopen` | calls that fail while logs are reopened and checkpoints run |
//! | `seeds` | which seeds run, and how to run one again |

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    unreachable_pub,
    reason = "a test may stop, and its numbers are small"
)]

#[path = "../common/mod.rs"]
mod common;
mod crashes;
mod data_dir;
mod failing_reopen;
mod faults;
mod lives;
mod ops;
mod probing;
mod promise;
mod rot;
mod seeds;
mod single_faults;
mod striking;
mod world;
