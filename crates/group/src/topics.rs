//! The topics that can be subscribed to, as the coordinator last received them.

use std::collections::{BTreeMap, BTreeSet};

use corduroy_types::{PartitionIndex, TopicId, TopicName};

use crate::{Subscription, TopicPartition};

/// Names, ids and partition counts of all topics. The broker's own topics are not in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topics {
    names: BTreeMap<TopicName, TopicId>,
    partition_counts: BTreeMap<TopicId, u32>,
}

impl Topics {
    /// The topics that are in `topics`, but for those whose names belong to the broker.
    pub fn new(topics: impl IntoIterator<Item = (TopicName, TopicId, u32)>) -> Self {
        let mut all = Self::default();
        for (name, id, partition_count) in topics {
            if !name.is_internal() {
                all.names.insert(name, id);
                all.partition_counts.insert(id, partition_count);
            }
        }
        all
    }

    /// Whether this partition exists.
    pub fn has(&self, partition: TopicPartition) -> bool {
        self.partition_counts.get(&partition.topic_id).is_some_and(|count| partition.partition.0 < *count)
    }

    /// Whether there is a topic with this id.
    pub fn has_topic(&self, id: TopicId) -> bool {
        self.partition_counts.contains_key(&id)
    }

    /// The id of the topic with this name.
    pub fn id(&self, name: &TopicName) -> Option<TopicId> {
        self.names.get(name).copied()
    }

    /// The partitions of a topic; none when there is no such topic.
    pub(crate) fn partitions(&self, topic_id: TopicId) -> impl Iterator<Item = TopicPartition> + use<> {
        let count = self.partition_counts.get(&topic_id).copied().unwrap_or(0);
        (0..count).map(move |index| TopicPartition { topic_id, partition: PartitionIndex(index) })
    }

    /// The topics that a subscription means now: those named that exist, and those that its pattern matches.
    pub(crate) fn resolve(&self, subscription: &Subscription) -> BTreeSet<TopicId> {
        let named = subscription.topics.iter().filter_map(|name| self.id(name));
        let matched = self.names.iter().filter(|(name, _)| {
            subscription.pattern.as_ref().is_some_and(|pattern| pattern.matches(name.as_str()))
        });
        named.chain(matched.map(|(_, id)| *id)).collect()
    }
}
