//! Partitions by name, and offsets in them.

use std::{collections::BTreeMap, fmt};

use bytes::Bytes;
use corduroy_api::v1;
use corduroy_types::{Offset, PartitionIndex, TopicName};

/// A partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic.
    pub topic: TopicName,
    /// The partition.
    pub partition: PartitionIndex,
}

impl TopicPartition {
    /// That partition of that topic.
    #[must_use]
    pub fn new(topic: TopicName, partition: PartitionIndex) -> Self {
        Self { topic, partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.topic, self.partition)
    }
}

/// Offsets of partitions: of each the next record to read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offsets(BTreeMap<TopicPartition, Offset>);

impl Offsets {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the offset of the next record to read in a partition; returns the one before.
    pub fn set(&mut self, partition: TopicPartition, next: Offset) -> Option<Offset> {
        self.0.insert(partition, next)
    }

    /// The offset of the next record to read in a partition, if there is one.
    #[must_use]
    pub fn get(&self, partition: &TopicPartition) -> Option<Offset> {
        self.0.get(partition).copied()
    }

    /// All of them, by topic and partition.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&TopicPartition, Offset)> {
        self.0.iter().map(|(partition, offset)| (partition, *offset))
    }

    /// How many partitions have one.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no partition has one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(TopicPartition, Offset)> for Offsets {
    fn from_iter<I: IntoIterator<Item = (TopicPartition, Offset)>>(offsets: I) -> Self {
        Self(offsets.into_iter().collect())
    }
}

/// A partition of a topic by its identity: of a topic that was deleted and created again it is another one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Part {
    pub(crate) name: TopicPartition,
    /// 16 bytes, or none from a broker that does not send it.
    pub(crate) topic_id: Bytes,
}

/// Partitions as requests carry them.
pub(crate) fn to_wire<'a>(parts: impl IntoIterator<Item = &'a Part>) -> Vec<v1::TopicPartitions> {
    let mut topics: BTreeMap<(&TopicName, &Bytes), Vec<u32>> = BTreeMap::new();
    for part in parts {
        topics.entry((&part.name.topic, &part.topic_id)).or_default().push(part.name.partition.0);
    }
    let topic = |((topic, id), partitions): ((&TopicName, &Bytes), _)| v1::TopicPartitions {
        topic: topic.to_string(),
        topic_id: id.clone(),
        partitions,
    };
    topics.into_iter().map(topic).collect()
}

/// The names of partitions.
pub(crate) fn names<'a>(parts: impl IntoIterator<Item = &'a Part>) -> Vec<TopicPartition> {
    parts.into_iter().map(|part| part.name.clone()).collect()
}
