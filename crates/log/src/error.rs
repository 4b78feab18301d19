//! What can go wrong, by operation.

use std::io;
use std::ops::Range;
use std::path::PathBuf;

use corduroy_types::{LeaderEpoch, Offset};

use crate::disk::is_disk_full;
use crate::journal::PartitionKey;
use crate::producers::SequenceError;
use crate::scan::Damage;

/// A write or sync failed, and the log has stopped taking appends. Reopen it: see [`crate::Log::plan_reopen`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the log stopped at offset {} after a failed {step}: {reason}; reopen it", lost.start)]
pub struct StorageFailure {
    /// What failed, in words: `write of 4096 bytes to …`.
    pub step: String,
    /// What the disk said.
    pub reason: String,
    /// Whether it was a sync that failed, so that even the page cache says nothing about the bytes.
    pub in_sync: bool,
    /// Offsets that were appended and are not known durable. A waiter for one gets *unknown*.
    pub lost: Range<Offset>,
}

/// Why a batch was not appended. In each case certainly nothing of it was written now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The log has stopped. Retry after it was reopened.
    #[error(transparent)]
    StorageFailed(StorageFailure),
    /// The offsets of this partition are used up. Do not retry.
    #[error("offset {log_end} plus {count} records exceeds the greatest offset there can be")]
    OffsetsExhausted {
        /// The offset the batch would have begun at.
        log_end: Offset,
        /// The offsets it needs.
        count: u64,
    },
    /// The partition's next offset is not the one that was expected. Read what was appended meanwhile, then decide.
    #[error("expected offset {expected_offset}, but the next offset is {next_offset}")]
    OffsetMismatch {
        /// The offset the batch was to get.
        expected_offset: Offset,
        /// The offset it would have got.
        next_offset: Offset,
    },
    /// It does not follow what the log has of its producer.
    #[error(transparent)]
    Sequence(#[from] SequenceError),
    /// The epoch is not the one that the log's last leadership began in. Do not retry in this epoch.
    #[error("epoch {epoch} is not the one that is appended in, {current}")]
    WrongEpoch {
        /// The epoch of the batch.
        epoch: LeaderEpoch,
        /// The last epoch of the history.
        current: LeaderEpoch,
    },
    /// No epoch was ever begun in this log. Adopt the leader's entry first.
    #[error("epoch {epoch} was not begun in this log, nor any other")]
    EpochNotBegun {
        /// The epoch of the batch.
        epoch: LeaderEpoch,
    },
    /// The batch names no leader epoch, so no leader has appended it. Do not retry.
    #[error("the batch has no leader epoch")]
    WithoutEpoch,
    /// The log is being cut, or emptied. Retry when that is done.
    #[error("the log is being cut to agree with its leader")]
    Cutting,
    /// The batch is larger than any the log stores. Do not retry.
    #[error("a batch of {bytes} bytes is larger than the {} that a log stores", crate::BATCH_BYTES_MAX)]
    BatchTooLarge {
        /// Its size.
        bytes: u32,
    },
}

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Retention or delete-records has passed the offset. Go on at `log_start`.
    #[error("offset {from} is below the log start {log_start}")]
    BelowStart {
        /// The offset asked for.
        from: Offset,
        /// The first offset there is.
        log_start: Offset,
    },
    /// The offset does not exist yet.
    #[error("offset {from} is above the log end {log_end}")]
    AboveEnd {
        /// The offset asked for.
        from: Offset,
        /// The offset that the next record will get.
        log_end: Offset,
    },
    /// Stored bytes are damaged. Do not retry; go on at `next_good` to skip what is lost.
    #[error("{damage}; the next readable offset is {}", next_good.map_or_else(|| "none".to_owned(), |offset| offset.to_string()))]
    Corrupt {
        /// Where, and what is wrong there.
        damage: Box<Damage>,
        /// The next offset known to be readable, if any.
        next_good: Option<Offset>,
    },
    /// The disk failed to read. Retry; if it repeats, check the disk.
    #[error("cannot read {}: {source}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
}

/// Why records were not deleted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeleteRecordsError {
    /// Only what is committed can be deleted. Use an offset up to the high watermark.
    #[error("cannot delete records before offset {before}: the high watermark is {high_watermark}")]
    AboveHighWatermark {
        /// The offset asked for.
        before: Offset,
        /// The greatest offset allowed.
        high_watermark: Offset,
    },
    /// The log is being cut, or emptied. Retry when that is done.
    #[error("the log is being cut to agree with its leader")]
    Cutting,
}

/// Why a log could not be opened, kept or closed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The disk failed. The partition stays as it was; retry after checking the disk.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was tried: `open`, `list`.
        what: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
    /// A round failed, now or before: the log is stopped.
    #[error(transparent)]
    StorageFailed(#[from] StorageFailure),
    /// The log is being cut, or emptied. Finish that first; the log that takes its place can be closed.
    #[error("the log is being cut to agree with its leader")]
    Cutting,
    /// The partition's state file has a newer format. Use the version that wrote it, or a newer one.
    #[error("{} has format {version}; this version knows up to {known}", path.display())]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        version: u16,
        /// The newest one known.
        known: u16,
    },
    /// The files in a partition's directory are another partition's. Put the right directory in its place; nothing
    /// was changed.
    #[error(
        "{} holds partition {} of topic id {}, and not what its path says, partition {} of topic id {}; put the right directory there",
        dir.display(), found.partition, found.topic_id, expected.partition, expected.topic_id
    )]
    OtherPartition {
        /// The directory.
        dir: PathBuf,
        /// Whose it should be.
        expected: PartitionKey,
        /// Whose the files in it say that they are.
        found: PartitionKey,
    },
    /// A sound batch is of a later leader epoch than the history knows, so the commit journal has lost a part of what it
    /// held. Nothing was cut. Put the journal's files back as they were; or, when they are lost, move them away, and the
    /// log is opened without a history.
    #[error(
        "{} has a sound batch of leader epoch {epoch} at position {position}, offset {offset}, but the epoch history in \
         the commit journal ends with epoch {last}: the journal is damaged or older than the log, and nothing was cut; \
         put the journal's files back as they were, or, if they are lost, move them away and start again",
        path.display()
    )]
    StaleHistory {
        /// The segment file.
        path: PathBuf,
        /// Where the batch begins.
        position: u64,
        /// Its base offset.
        offset: Offset,
        /// Its epoch.
        epoch: LeaderEpoch,
        /// The last epoch of the history.
        last: LeaderEpoch,
    },
    /// A file whose name is not that of a segment.
    #[error("{} is not a segment: its name should be a base offset in 20 digits and .log", path.display())]
    NotASegment {
        /// The file.
        path: PathBuf,
    },
    /// The report is not of the round in flight. A mistake in the caller: each round is reported once.
    #[error("round {got} was reported, but the round in flight is {in_flight:?}")]
    WrongRound {
        /// The round reported.
        got: u64,
        /// The one in flight.
        in_flight: Option<u64>,
    },
    /// Records are not durable yet. Perform the rounds first.
    #[error("records from offset {durable_end} up to the log end {log_end} are not durable yet")]
    NotDurable {
        /// What is durable.
        durable_end: Offset,
        /// What should be.
        log_end: Offset,
    },
    /// An epoch does not follow the last one of the log.
    #[error(transparent)]
    Epoch(#[from] crate::EpochOrder),
    /// The commit journal holds data of the log that could not be written to its segments. It must not be opened before
    /// that is done; try again.
    #[error("what the commit journal holds for it cannot be written to its files: {reason}")]
    NotReplayed {
        /// What the disk said.
        reason: String,
    },
    /// A cursor would have left its place. A mistake in this crate.
    #[error(transparent)]
    Cursors(#[from] crate::CursorOrder),
}

impl LogError {
    /// Whether the disk has no room.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if is_disk_full(source))
    }

    pub(crate) fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { what, path, source }
    }
}
