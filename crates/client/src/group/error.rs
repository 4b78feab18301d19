//! What can go wrong in a group.

use std::{fmt, sync::Arc};

use corduroy_api::Refusal;
use corduroy_types::{ErrorCode, Offset};

use super::{Offsets, TopicPartition};
use crate::{ClientError, ConsumeError, error::tells_its_refusal};

/// Records are gone that a group has not read: retention or delete-records has overtaken it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PositionLost {
    /// The group.
    pub group: Arc<str>,
    /// Where.
    pub partition: TopicPartition,
    /// The offset that the group would have read next.
    pub position: Offset,
    /// The first offset that there still is.
    pub log_start: Offset,
    /// How many offsets are gone.
    pub lost_offset_count: u64,
}

impl fmt::Display for PositionLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group, partition, position, log_start, lost_offset_count } = self;
        write!(
            f,
            "group {group} would read topic \"{}\" partition {} from offset {position}, but the log starts at \
             {log_start}: {lost_offset_count} offsets that it has not read are gone",
            partition.topic, partition.partition
        )
    }
}

/// Why a consumer of a group got no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GroupConsumeError {
    /// A partition cannot be read; the others go on.
    #[error(transparent)]
    Partition(#[from] ConsumeError),
    /// Records that the group has not read are gone, and
    /// [`on_position_lost`](crate::GroupConsumerBuilder::on_position_lost) says to fail. The partition is not read and
    /// the group's position stays, until [`seek`](crate::GroupConsumer::seek) chooses another; the others go on.
    #[error("{code}: {0}", code = ErrorCode::PositionLost)]
    PositionLost(PositionLost),
    /// A [`RebalanceHook`](crate::RebalanceHook) failed as partitions were assigned. They are not read.
    #[error("the rebalance hook failed: {message}")]
    Hook {
        /// What it said.
        message: String,
        /// The partitions that are not read because of it.
        partitions: Vec<TopicPartition>,
    },
    /// The member is out of the group for good; nothing comes any more.
    #[error(transparent)]
    Out(#[from] ClientError),
}

impl GroupConsumeError {
    /// The code, from the closed set; `INTERNAL` for a hook that failed.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Partition(error) => error.code(),
            Self::PositionLost(_) => ErrorCode::PositionLost,
            Self::Hook { .. } => ErrorCode::Internal,
            Self::Out(error) => error.code(),
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &str {
        match self {
            Self::Partition(error) => error.hint(),
            Self::PositionLost(_) => ErrorCode::PositionLost.action(),
            Self::Hook { .. } => "See to what the hook says, and build the consumer again.",
            Self::Out(error) => error.hint(),
        }
    }

    /// Whether nothing comes any more from the whole consumer, rather than from some partitions.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Out(_))
    }
}

/// Why offsets were not committed, or perhaps not.
///
/// The position stays what it was; committing again later commits at least as much. `PARTITION_NOT_ASSIGNED`,
/// `UNKNOWN_MEMBER` and `FENCED_MEMBER`: partitions are another one's by now, and what was read of them behind
/// their committed position is read again there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{refusal}")]
pub struct CommitError {
    refusal: Box<Refusal>,
    /// The partitions of which nothing was committed, as far as is known.
    pub partitions: Vec<TopicPartition>,
}

tells_its_refusal!(CommitError, refusal);

impl CommitError {
    pub(crate) fn new(refusal: Refusal, partitions: Vec<TopicPartition>) -> Self {
        Self { refusal: Box::new(refusal), partitions }
    }

    pub(crate) fn closed() -> Self {
        Self::new(Refusal::new(ErrorCode::Closed, "the consumer is closed"), Vec::new())
    }

    pub(crate) fn timed_out(partitions: Vec<TopicPartition>) -> Self {
        Self::new(Refusal::new(ErrorCode::TimedOut, "the broker did not answer in time"), partitions)
    }

    /// Whether the same commit may succeed later without anybody changing anything.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        self.code().is_retriable()
    }
}

/// Why a consumer was not closed as it should be. It is closed nevertheless.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseError {
    /// Messages were not done in time; the group reads them again.
    #[error("{count} messages were not done when the time to close was over; the group reads them again")]
    NotDone {
        /// How many.
        count: u64,
        /// What is committed.
        committed: Offsets,
    },
    /// What was done could not be committed; the group reads it again.
    #[error("what was done could not be committed: {0}")]
    Commit(#[from] CommitError),
    /// Everything is committed, but the broker did not hear that the member leaves: its partitions are given to
    /// others when its session ends.
    #[error("the broker did not hear in time that the member leaves; its session ends by itself")]
    NotLeft {
        /// What is committed.
        committed: Offsets,
    },
}
