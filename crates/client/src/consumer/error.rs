//! Why records could not be read.

use corduroy_api::Refusal;
use corduroy_types::{Offset, PartitionIndex, TopicName};

use crate::error::tells_its_refusal;

/// Why a partition cannot be read at its position. The other partitions go on; this one waits for
/// [`seek`](crate::Consumer::seek).
///
/// `OFFSET_OUT_OF_RANGE` names the range that can be read; the consumer never chooses another place by itself.
/// `CORRUPT` says where reading can go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("topic \"{topic}\" partition {partition}: {refusal}")]
pub struct ConsumeError {
    /// Which topic.
    pub topic: TopicName,
    /// Which partition.
    pub partition: PartitionIndex,
    /// The offset that could not be read.
    pub position: Offset,
    refusal: Box<Refusal>,
}

tells_its_refusal!(ConsumeError, refusal);

impl ConsumeError {
    pub(crate) fn new(
        topic: TopicName,
        partition: PartitionIndex,
        position: Offset,
        refusal: Refusal,
    ) -> Self {
        Self { topic, partition, position, refusal: Box::new(refusal) }
    }

    /// Whether reading the same place again may succeed without anybody changing anything. Such errors are retried
    /// by the consumer itself and not returned, so this is false unless the broker says otherwise.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        self.code().is_retriable()
    }

    /// The first offset that can be read, where the broker named it.
    #[must_use]
    pub fn log_start(&self) -> Option<Offset> {
        self.refusal.log_start
    }

    /// The end of what can be read, exclusive, where the broker named it.
    #[must_use]
    pub fn high_watermark(&self) -> Option<Offset> {
        self.refusal.high_watermark
    }

    /// Behind damaged bytes: where reading can go on.
    #[must_use]
    pub fn next_good_offset(&self) -> Option<Offset> {
        self.refusal.next_good_offset
    }
}
