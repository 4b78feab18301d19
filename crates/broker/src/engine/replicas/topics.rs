//! Topics as requests see them: what the image says of them, and what this broker holds of them.

use std::{collections::HashMap, sync::Arc};

use corduroy_batch::{AppendRules, DecompressLimits};
use corduroy_metadata::{Image, Partition};
use corduroy_types::{PartitionIndex, TopicConfig, TopicId, TopicName};

use super::{Replica, local_topics::LocalTopic};
use crate::metrics::TopicMetrics;

/// One topic: as the image has it, with what this broker holds of it.
#[derive(Clone)]
pub(crate) struct Topic {
    described: Arc<corduroy_metadata::Topic>,
    local: Arc<LocalTopic>,
}

impl Topic {
    pub(crate) fn name(&self) -> &TopicName {
        self.described.name()
    }

    pub(crate) fn id(&self) -> TopicId {
        self.described.id()
    }

    /// What the image says of it.
    pub(crate) fn described(&self) -> &Arc<corduroy_metadata::Topic> {
        &self.described
    }

    pub(crate) fn config(&self) -> &Arc<TopicConfig> {
        self.described.config()
    }

    pub(crate) fn metrics(&self) -> &Arc<TopicMetrics> {
        self.local.metrics()
    }

    /// The replicas that this broker holds, in the order of their indexes.
    pub(crate) fn replicas(&self) -> Arc<Vec<Arc<Replica>>> {
        self.local.replicas()
    }

    /// This broker's replica of a partition. It has none where other brokers hold the partition, and as long as its own
    /// is not there yet.
    pub(crate) fn replica(&self, index: PartitionIndex) -> Option<Arc<Replica>> {
        self.local.replica(index)
    }

    /// What the image says of a partition: who holds and who leads it.
    pub(crate) fn partition(&self, index: PartitionIndex) -> Option<&Partition> {
        self.described.partition(index)
    }

    pub(crate) fn partition_count(&self) -> u32 {
        self.described.partition_count()
    }

    /// A partition for records without a key that go together: each request the next one.
    pub(crate) fn partition_for_unkeyed(&self) -> PartitionIndex {
        PartitionIndex(self.local.next_unkeyed().checked_rem(self.partition_count()).unwrap_or(0))
    }

    /// What is checked of a batch before it is appended.
    pub(crate) fn append_rules(&self) -> AppendRules {
        let config = self.config();
        AppendRules {
            max_batch_bytes: config.max_message_bytes,
            timestamp_type: config.message_timestamp_type,
            timestamp_before_max_ms: config.message_timestamp_before_max_ms.unwrap_or(u64::MAX),
            timestamp_after_max_ms: config.message_timestamp_after_max_ms.unwrap_or(u64::MAX),
            compacted: config.cleanup_policy.compacts(),
            validate_compressed: config.validate_compressed,
            decompress: DecompressLimits::default(),
        }
    }
}

/// All topics at one moment.
#[derive(Clone)]
pub(crate) struct Topics {
    image: Arc<Image>,
    local: Arc<HashMap<TopicId, Arc<LocalTopic>>>,
}

impl Topics {
    pub(super) fn new(image: Arc<Image>, local: Arc<HashMap<TopicId, Arc<LocalTopic>>>) -> Self {
        Self { image, local }
    }

    pub(crate) fn get(&self, name: &TopicName) -> Option<Topic> {
        self.with_local(self.image.topic(name.as_str())?)
    }

    pub(crate) fn by_id(&self, id: TopicId) -> Option<Topic> {
        self.with_local(self.image.topic_by_id(id)?)
    }

    /// In the order of their names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Topic> {
        self.image.topics().filter_map(|described| self.with_local(described))
    }

    /// The topics that belong to users, in the order of their names.
    pub(crate) fn of_users(&self) -> impl Iterator<Item = Topic> {
        self.iter().filter(|topic| !topic.name().is_internal())
    }

    /// A topic without a local one is being deleted.
    fn with_local(&self, described: &Arc<corduroy_metadata::Topic>) -> Option<Topic> {
        let local = Arc::clone(self.local.get(&described.id())?);
        Some(Topic { described: Arc::clone(described), local })
    }
}
