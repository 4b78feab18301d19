//! Checks what clients of a cluster saw against what the cluster promises.
//!
//! A test harness writes a *history*: what each client asked for and what it was answered, with times of one clock, in
//! the format of [`mod@line`]. [`check()`] looks for what no correct cluster can have shown: checks C1 to C12 and C22 of
//! `docs/checker.md`. It knows nothing of how the system works, so it can be wrong only about the promises.
//!
//! An outcome that is *unknown* is taken as either: the record may be there, may come later, or not at all.
//!
//! Never: clock, network, knowledge of the broker.
//!
//! ```
//! use corduroy_checker::{Options, Verdict, check, read};
//!
//! # fn main() -> Result<(), corduroy_checker::ReadError> {
//! let text = r#"{"history":{"version":1}}
//! {"invoke":{"op":0,"at_ns":10,"client":1,"partition":"orders/0","call":{"produce":{"acks":"quorum","records":[[71,5,99]]}}}}
//! {"complete":{"op":0,"at_ns":20,"end":{"produced":{"base_offset":0,"leader_epoch":1}}}}
//! {"invoke":{"op":1,"at_ns":30,"client":2,"partition":"orders/0","call":{"list_offsets":{"spec":"end","final":true}}}}
//! {"complete":{"op":1,"at_ns":40,"end":{"listed":{"offset":0,"leader_epoch":2}}}}
//! "#;
//! let report = check(&read(text.as_bytes())?, &Options::default());
//! assert_eq!(report.verdict(), Verdict::Invalid, "what was acknowledged is above the end: {report}");
//! # Ok(())
//! # }
//! ```

mod checks;
mod files;
mod finals;
mod finding;
mod history;
mod index;
pub mod line;
mod spans;
mod wire;
mod writers;

pub use files::{LINE_BYTES_MAX, ReadError, Writer, read, write};
pub use finding::{Check, Finding, Report, Tally, Verdict, Weight};
pub use history::{Builder, History, Op, PanicInfo, PartitionInfo, Problem};

/// What the promises depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How old an end may be that is shown (C12), in nanoseconds: the lease of a leader.
    pub lease_ns: u64,
    /// An end that was listed must reach everything that was acknowledged before it was asked for (C11).
    pub linearizable: bool,
    /// How soon after the heal each partition has to serve (C22), in nanoseconds.
    pub serve_within_ns: u64,
    /// How many findings of each check are kept. All are counted.
    pub findings_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            lease_ns: 10_000_000_000,
            linearizable: false,
            serve_within_ns: 10_000_000_000,
            findings_max: 10,
        }
    }
}

/// Runs every check on a history.
///
/// The time is that of sorting the history, and the memory is proportional to it.
#[must_use]
pub fn check(history: &History, options: &Options) -> Report {
    let index = index::Index::new(history);
    let finals = finals::finals(&index);
    let mut report = Report::new(options.findings_max);
    report.ops = history.ops.len();
    checks::values::check(&index, &mut report);
    checks::lost::check(&index, &finals, &mut report);
    checks::reads::check(&index, &finals, &mut report);
    checks::polls::check(&index, &mut report);
    checks::order::check(&index, &mut report);
    checks::ends::check(&index, options, &mut report);
    checks::liveness::check(&index, options, &finals, &mut report);
    report
}
