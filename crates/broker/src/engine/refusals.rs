//! What the engine's errors are at the wire.

use corduroy_api::{Leader, Refusal};
use corduroy_log::{AppendError, ReadError, disk::is_out_of_handles, producers::SequenceError};
use corduroy_partition::UnknownReason;
use corduroy_types::{ErrorCode, Outcome, PartitionIndex, TopicName};

use super::{
    Topic,
    replica::{ReplicaCursors, ReplicaIdentity},
};

pub(super) fn stopping() -> Refusal {
    Refusal::new(ErrorCode::ShuttingDown, "the broker stopped before the append was acknowledged")
        .with_outcome(Outcome::Unknown)
}

/// The log was closed: the broker stops. The outcome of a produce is for the caller to say.
pub(super) fn shutting_down(of: &ReplicaIdentity) -> Refusal {
    Refusal::new(ErrorCode::ShuttingDown, format!("{of} is closed: the broker is stopping"))
}

pub(super) fn topic_gone(topic: &TopicName) -> Refusal {
    Refusal::new(ErrorCode::TopicNotFound, format!("topic {topic} was deleted"))
}

/// The partition cannot be served for now.
pub(super) fn offline(of: &ReplicaIdentity, reason: &str) -> Refusal {
    Refusal::new(ErrorCode::PartitionOffline, format!("{of} is offline: {reason}"))
}

/// The topic has no such partition.
pub(crate) fn partition_not_found(topic: &Topic, index: PartitionIndex) -> Refusal {
    let (name, count) = (topic.name(), topic.partition_count());
    let text = format!("topic {name} has {count} partitions, there is no partition {index}");
    Refusal::new(ErrorCode::PartitionNotFound, text)
}

/// This broker's replica is about to be opened.
pub(super) fn not_open_yet(topic: &TopicName, index: PartitionIndex) -> Refusal {
    Refusal::new(ErrorCode::PartitionOffline, format!("{topic}/{index} is offline: it is being opened"))
}

/// Another broker leads. Nothing was written here now.
pub(super) fn not_leader(topic: &TopicName, index: PartitionIndex, leader: Leader) -> Refusal {
    let at = if leader.address.is_empty() { String::new() } else { format!(" at {}", leader.address) };
    let text = format!("broker {}{at} leads {topic}/{index}", leader.id);
    Refusal { leader: Some(Box::new(leader)), ..Refusal::new(ErrorCode::NotLeader, text) }
}

/// Refused before anything was written. The outcome is for the caller to say: an earlier request may have written it.
pub(super) fn not_leading(of: &ReplicaIdentity, refusal: &corduroy_partition::Refusal) -> Refusal {
    Refusal::new(refusal.code(), format!("{of}: {refusal}"))
}

pub(super) fn unknown(of: &ReplicaIdentity, reason: &UnknownReason) -> Refusal {
    let text = format!("{of}: {reason}");
    Refusal::new(reason.code(), text).with_outcome(Outcome::Unknown)
}

/// Nothing was written now. The outcome is for the caller to say: an earlier request may have written it.
pub(super) fn append(of: &ReplicaIdentity, error: &AppendError) -> Refusal {
    let code = match error {
        AppendError::StorageFailed(_) => ErrorCode::StorageFailed,
        AppendError::OffsetsExhausted { .. }
        | AppendError::WrongEpoch { .. }
        | AppendError::EpochNotBegun { .. }
        | AppendError::WithoutEpoch => ErrorCode::Internal,
        // Only a follower's log is cut.
        AppendError::Cutting => ErrorCode::NotLeader,
        AppendError::OffsetMismatch { .. } => ErrorCode::OffsetMismatch,
        AppendError::Sequence(SequenceError::OutOfSequence { .. }) => ErrorCode::OutOfSequence,
        AppendError::Sequence(SequenceError::Fenced { .. }) => ErrorCode::ProducerFenced,
        AppendError::Sequence(_) => ErrorCode::SequenceUnknown,
        AppendError::BatchTooLarge { .. } => ErrorCode::BatchTooLarge,
    };
    let mut refusal = Refusal::new(code, format!("{of}: {error}"));
    if let AppendError::OffsetMismatch { next_offset, .. } = error {
        refusal.next_offset = Some(*next_offset);
    }
    refusal
}

pub(super) fn read(of: &ReplicaIdentity, error: &ReadError, cursors: ReplicaCursors) -> Refusal {
    match error {
        ReadError::BelowStart { from, .. } | ReadError::AboveEnd { from, .. } => {
            let ReplicaCursors { log_start, high_watermark, .. } = cursors;
            out_of_range(of, *from, log_start, high_watermark)
        }
        ReadError::Corrupt { next_good, .. } => {
            tracing::error!(event = "B0206", topic = %of.topic, partition = %of.index, %error, "damaged bytes");
            let mut refusal = Refusal::new(ErrorCode::Corrupt, error.to_string());
            refusal.next_good_offset = *next_good;
            refusal
        }
        ReadError::Io { source, .. } if is_out_of_handles(source) => {
            Refusal::new(ErrorCode::Overloaded, error.to_string())
        }
        ReadError::Io { .. } => Refusal::new(ErrorCode::StorageFailed, error.to_string()),
    }
}

/// `OFFSET_OUT_OF_RANGE` with the range there is.
pub(crate) fn out_of_range(
    of: &ReplicaIdentity,
    offset: corduroy_types::Offset,
    start: corduroy_types::Offset,
    end: corduroy_types::Offset,
) -> Refusal {
    let text =
        format!("offset {offset} of {of} is out of range: records {start} to {end} (exclusive) can be read");
    Refusal::new(ErrorCode::OffsetOutOfRange, text).with_range(start, end)
}
