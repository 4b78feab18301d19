//! What a consumer knows of each partition.

use std::sync::Arc;

use bytes::Bytes;
use corduroy_types::{Offset, PartitionIndex, TopicName};

use super::batch::Source;

/// How it stands with a partition of a consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PartitionStatus {
    /// It is being read.
    Reading,
    /// It was paused.
    Paused,
    /// It reached its `until`.
    Done,
    /// It ended with an error, and waits for a seek.
    Stopped,
}

/// A partition that a consumer reads, and how far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssignedPartition {
    /// The topic.
    pub topic: TopicName,
    /// The partition.
    pub partition: PartitionIndex,
    /// The offset after the last record handed out.
    pub position: Offset,
    /// Where reading stops, exclusive.
    pub until: Option<Offset>,
    /// The end of what could be read as the broker answered last; `None` before its first answer.
    pub high_watermark: Option<Offset>,
    /// Whether it is being read.
    pub status: PartitionStatus,
}

impl AssignedPartition {
    /// How many offsets are between position and high watermark, as far as they are known.
    #[must_use]
    pub fn lag(&self) -> Option<u64> {
        self.high_watermark.map(|end| end.distance_from(self.position))
    }
}

#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) source: Arc<Source>,
    pub(crate) topic_id: Bytes,
    /// The offset after the last record handed out.
    pub(crate) position: Offset,
    /// The offset after the last record that is here.
    pub(crate) fetched_to: Offset,
    pub(crate) until: Option<Offset>,
    pub(crate) high_watermark: Option<Offset>,
    pub(crate) status: PartitionStatus,
    /// More of it will come unless something is changed.
    pub(crate) fetching: bool,
}

impl Partition {
    pub(crate) fn new(source: Arc<Source>, topic_id: Bytes, start: Offset, until: Option<Offset>) -> Self {
        let mut partition = Self {
            source,
            topic_id,
            position: start,
            fetched_to: start,
            until,
            high_watermark: None,
            status: PartitionStatus::Reading,
            fetching: false,
        };
        partition.place(start);
        partition
    }

    /// The same, not read until it is sought in.
    pub(crate) fn stopped(mut self) -> Self {
        self.status = PartitionStatus::Stopped;
        self.fetching = false;
        self
    }

    /// Goes on from another place.
    pub(crate) fn place(&mut self, position: Offset) {
        self.position = position;
        self.fetched_to = position;
        self.status = match (self.status, self.until) {
            (_, Some(until)) if until <= position => PartitionStatus::Done,
            (PartitionStatus::Paused, _) => PartitionStatus::Paused,
            _ => PartitionStatus::Reading,
        };
        self.fetching = self.status == PartitionStatus::Reading;
    }

    /// The records up to `next` were handed out.
    pub(crate) fn advance(&mut self, next: Offset) {
        let next = self.until.map_or(next, |until| next.min(until));
        self.position = self.position.max(next);
    }

    pub(crate) fn describe(&self) -> AssignedPartition {
        AssignedPartition {
            topic: self.source.topic.clone(),
            partition: self.source.partition,
            position: self.position,
            until: self.until,
            high_watermark: self.high_watermark,
            status: self.status,
        }
    }
}
