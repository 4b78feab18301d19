//! What happens to a partition, and what it wants done.

use std::sync::Arc;

use corduroy_types::{Acks, BrokerId, LeaderEpoch, MonotonicMs, Offset};

use crate::{Acknowledged, Invariant, NotLeading, UnknownReason};

/// Which append an answer is for. The broker chooses it; two waiting appends have two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// The cursors of the partition's own log at one moment: `log_start`, `counted_end` and `durable_end` are all
/// at most `log_end`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogEnds {
    /// The first offset that can be read.
    pub log_start: Offset,
    /// The offset that the next record gets.
    pub log_end: Offset,
    /// What counts here: `durable_end` with durability `sync`, `log_end` with `background`.
    pub counted_end: Offset,
    /// The end of what is on stable storage here.
    pub durable_end: Offset,
}

/// Something that happened. Those that name an epoch are dropped once another is led.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// This broker leads. The epoch's entry is durable here, and the log is as the last run of it left it.
    ///
    /// Ignored unless `epoch` is greater than every epoch led before (replication rule R3).
    Lead {
        /// The leadership's number.
        epoch: LeaderEpoch,
        /// The replica set; this broker is in it.
        replicas: Arc<[BrokerId]>,
        /// The cursors of the log.
        log: LogEnds,
    },
    /// The log has taken a batch into memory: from here on the request is acknowledged or unknown.
    Appended {
        /// Whom to answer.
        request: RequestId,
        /// The epoch that the batch was stamped with.
        epoch: LeaderEpoch,
        /// The batch's first offset: the log end before it.
        base: Offset,
        /// The offset after its last one, which is the log end now.
        end: Offset,
        /// What the producer waits for.
        acks: Acks,
        /// When the wait ends as unknown.
        deadline: MonotonicMs,
    },
    /// A producer sent a batch again that the log has: the request waits for what the first one waits for, and is
    /// acknowledged when that batch counts.
    Duplicate {
        /// Whom to answer.
        request: RequestId,
        /// The epoch in which the log was asked; the batch may be of an earlier one.
        epoch: LeaderEpoch,
        /// The batch's first offset.
        base: Offset,
        /// The offset after its last one: at most the log end.
        end: Offset,
        /// What the producer waits for.
        acks: Acks,
        /// When the wait ends as unknown.
        deadline: MonotonicMs,
    },
    /// A commit round ended well, or (with durability `background`) an append counts at once.
    Counted {
        /// The epoch in which the log was asked.
        epoch: LeaderEpoch,
        /// What counts here now.
        counted_end: Offset,
        /// What is on stable storage here now.
        durable_end: Offset,
    },
    /// The log start was raised, by retention or by delete-records. It never passes the high watermark.
    LogStartRaised {
        /// The first offset that can be read now.
        log_start: Offset,
    },
    /// A write or sync failed and the log takes no more appends: the leadership ends.
    LogFailed {
        /// The epoch in which it failed.
        epoch: LeaderEpoch,
        /// The end of what is certainly on stable storage; the log will be cut there.
        durable_end: Offset,
    },
    /// The broker gives the leadership up.
    Stop {
        /// Why.
        reason: NotLeading,
    },
    /// The shell looked at the log: log and partition must agree ([`Invariant::LogAgrees`]).
    LogSeen {
        /// The epoch in which it looked.
        epoch: LeaderEpoch,
        /// The log's start.
        log_start: Offset,
        /// The log's end.
        log_end: Offset,
    },
    /// Nothing but time passed.
    Tick,
}

/// Something to do, in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// The high watermark was raised to here: waiting fetches may have something to read.
    HighWatermark(Offset),
    /// Tell the producer.
    Answer {
        /// Whom.
        request: RequestId,
        /// Acknowledged, or why it is not known whether the records will stay.
        result: Result<Acknowledged, UnknownReason>,
    },
    /// A rule is broken; the leadership ends with [`NotLeading::Contradiction`]. Report it: it is a fault of the broker.
    Contradiction(Invariant),
    /// The leadership ended: waiting fetches end too, and somebody else, or this broker in a later epoch,
    /// leads next.
    LeadershipEnded {
        /// The leadership's number.
        epoch: LeaderEpoch,
        /// Why.
        reason: NotLeading,
    },
    /// Records that could be seen are gone: the log came back shorter than the high watermark. With
    /// durability `sync` that means a disk that lost what it had confirmed.
    VisibleRecordsLost {
        /// The first offset lost: the log end now.
        from: Offset,
        /// The high watermark as it was.
        to: Offset,
    },
}
