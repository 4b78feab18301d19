//! What must hold of a partition at every moment. Where it does not, a mistake was made before: the leadership ends, so
//! that the mistake goes no further.

use std::fmt;

/// A rule that was found broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invariant {
    /// `log_start ≤ high_watermark ≤ log_end`.
    CursorsInOrder,
    /// A batch is appended at the log end and holds a record.
    AppendAtLogEnd,
    /// A duplicate is of a batch that lies below the log end.
    DuplicateBelowLogEnd,
    /// What counts, and what is durable, lies below the log end.
    CountedBelowLogEnd,
    /// A follower acknowledges only what the leader has.
    AckBelowLogEnd,
    /// The replica set of a leadership names this broker, and none twice.
    LeaderInReplicaSet,
    /// A replica set names at least one broker, and none twice.
    ReplicaNamedOnce,
    /// The high watermark does not go back during a leadership.
    HighWatermarkGrows,
    /// A leadership is of the greatest epoch that was ever led here (rule R3).
    GreatestEpochLeads,
    /// An epoch that a follower adopts is greater than the last of its history, and begins no earlier (rule R4).
    EpochsGrow,
    /// The log and the partition have the same log start and log end.
    LogAgrees,
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CursorsInOrder => "log start ≤ high watermark ≤ log end",
            Self::AppendAtLogEnd => "a batch is appended at the log end and holds a record",
            Self::DuplicateBelowLogEnd => "a duplicate is of a batch below the log end",
            Self::CountedBelowLogEnd => "what counts lies below the log end",
            Self::AckBelowLogEnd => "a follower acknowledges only what the leader has",
            Self::LeaderInReplicaSet => "the replica set names the leader, and no replica twice",
            Self::ReplicaNamedOnce => "a replica set names a broker, and none twice",
            Self::HighWatermarkGrows => "the high watermark does not go back",
            Self::GreatestEpochLeads => "the epoch that is led is the greatest one led here",
            Self::EpochsGrow => "the epochs of a history grow, and so do their starts",
            Self::LogAgrees => "log and partition have the same log start and log end",
        })
    }
}
