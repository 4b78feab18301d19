//! How appends end, and why a partition refuses.

use std::fmt;

use corduroy_types::{ErrorCode, LeaderEpoch, Offset};

/// An append that was acknowledged at the level it asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// The batch's first offset.
    pub base: Offset,
    /// The offset after its last one.
    pub end: Offset,
    /// The epoch it was appended in.
    pub epoch: LeaderEpoch,
    /// How many replicas hold it on stable storage, as far as the leader knows now; 0 is possible with
    /// durability `background`.
    pub durable_replicas: u32,
}

/// Why a partition is not led here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotLeading {
    /// It was not led here since this broker started.
    NotYet,
    /// A write or sync failed; the log must be reopened, and a later epoch begin.
    StorageFailed,
    /// The broker is stopping.
    ShuttingDown,
    /// The topic was deleted.
    TopicDeleted,
    /// A later epoch began.
    Superseded,
    /// Another broker leads, and this one follows it.
    Following,
    /// The leadership is being handed to another replica.
    Transferring,
    /// The leader has asked for another one: it cannot serve.
    Resigned,
    /// Agreeing with the leader would cut what was committed (rule R6); an operator has to look.
    Quarantined,
    /// The broker reported something that cannot be, such as a log end that went back.
    Contradiction,
}

impl NotLeading {
    /// The code under which it reaches a client.
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::NotYet => ErrorCode::Starting,
            Self::StorageFailed => ErrorCode::StorageFailed,
            Self::ShuttingDown => ErrorCode::ShuttingDown,
            Self::TopicDeleted => ErrorCode::TopicNotFound,
            Self::Superseded => ErrorCode::FencedLeaderEpoch,
            Self::Following | Self::Transferring | Self::Resigned => ErrorCode::NotLeader,
            Self::Quarantined => ErrorCode::PartitionOffline,
            Self::Contradiction => ErrorCode::Internal,
        }
    }
}

impl fmt::Display for NotLeading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotYet => "the partition is not led yet; try again",
            Self::StorageFailed => {
                "a write or sync of the partition's log failed; it has to be reopened first"
            }
            Self::ShuttingDown => "the broker is stopping; reconnect and try again",
            Self::TopicDeleted => "the topic was deleted",
            Self::Superseded => "a later leader epoch began; look the partition up again",
            Self::Following => "another broker leads the partition; look it up again",
            Self::Transferring => "the leadership is being handed to another replica; look the partition up again",
            Self::Resigned => "the leader cannot serve and has asked for another one; look the partition up again",
            Self::Quarantined => {
                "the replica has committed records that the leader lacks; it stays as it is until an operator has looked"
            }
            Self::Contradiction => "the broker met a state of the partition that cannot be; see its log",
        })
    }
}

/// Why it is unknown whether appended records will stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnknownReason {
    /// The deadline passed first.
    #[error("not acknowledged within the request's time-out")]
    TimedOut,
    /// The leadership ended first.
    #[error("not acknowledged before the leadership ended: {0}")]
    LeadershipEnded(NotLeading),
}

impl UnknownReason {
    /// The code under which it reaches a client, together with the outcome *unknown*.
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::TimedOut => ErrorCode::TimedOut,
            Self::LeadershipEnded(reason) => reason.code(),
        }
    }
}

/// Why a request was refused before anything was appended: the outcome is *not written*.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// This broker does not lead the partition now.
    #[error("{0}")]
    NotLeading(NotLeading),
    /// A quorum does not hold the epoch's entry yet, so the end of what is committed is not known (KIP-207).
    #[error("the leader does not know yet what is committed; try again")]
    NotActivated,
    /// No quorum was heard from within the lease: another broker may lead (rule R18).
    #[error("the leader has heard from no quorum for a while; look the partition up again")]
    LeaseExpired,
    /// The request names an older epoch than the one led (KIP-320).
    #[error("the request names leader epoch {named}, and {current} is in force; look the partition up again")]
    Fenced {
        /// The epoch of the request.
        named: LeaderEpoch,
        /// The epoch in force.
        current: LeaderEpoch,
    },
    /// The request names a newer epoch than the one led (KIP-320).
    #[error("the request names leader epoch {named}, and this broker knows only {current}; try again")]
    UnknownEpoch {
        /// The epoch of the request.
        named: LeaderEpoch,
        /// The epoch in force.
        current: LeaderEpoch,
    },
}

impl Refusal {
    /// The code under which it reaches a client.
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::NotLeading(reason) => reason.code(),
            Self::NotActivated => ErrorCode::Starting,
            Self::LeaseExpired => ErrorCode::NotLeader,
            Self::Fenced { .. } => ErrorCode::FencedLeaderEpoch,
            Self::UnknownEpoch { .. } => ErrorCode::UnknownLeaderEpoch,
        }
    }
}
