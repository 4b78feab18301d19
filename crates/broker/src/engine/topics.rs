//! The topics that this broker serves now: the image's topics with their open logs.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use arc_swap::ArcSwap;
use corduroy_batch::{AppendRules, DecompressLimits};
use corduroy_types::{PartitionIndex, TopicConfig, TopicId, TopicName};

use super::Replica;
use crate::metrics::TopicMetrics;

/// One topic with its replicas on this broker.
pub(crate) struct Topic {
    name: TopicName,
    id: TopicId,
    config: ArcSwap<TopicConfig>,
    replicas: ArcSwap<Vec<Arc<Replica>>>,
    next_unkeyed: AtomicU32,
    metrics: Arc<TopicMetrics>,
}

impl Topic {
    pub(crate) fn new(
        name: TopicName,
        id: TopicId,
        config: TopicConfig,
        replicas: Vec<Arc<Replica>>,
        metrics: Arc<TopicMetrics>,
    ) -> Self {
        Self {
            name,
            id,
            config: ArcSwap::from_pointee(config),
            replicas: ArcSwap::from_pointee(replicas),
            next_unkeyed: AtomicU32::new(0),
            metrics,
        }
    }

    pub(crate) fn name(&self) -> &TopicName {
        &self.name
    }

    pub(crate) fn id(&self) -> TopicId {
        self.id
    }

    pub(crate) fn config(&self) -> Arc<TopicConfig> {
        self.config.load_full()
    }

    pub(crate) fn set_config(&self, config: TopicConfig) {
        self.config.store(Arc::new(config));
    }

    pub(crate) fn metrics(&self) -> &Arc<TopicMetrics> {
        &self.metrics
    }

    /// The replicas, by partition index.
    pub(crate) fn replicas(&self) -> Arc<Vec<Arc<Replica>>> {
        self.replicas.load_full()
    }

    /// Adds replicas for partitions behind the last one.
    pub(crate) fn add_replicas(&self, added: impl IntoIterator<Item = Arc<Replica>>) {
        let mut replicas = Vec::clone(&self.replicas.load());
        replicas.extend(added);
        self.replicas.store(Arc::new(replicas));
    }

    pub(crate) fn replica(&self, index: PartitionIndex) -> Option<Arc<Replica>> {
        let index = usize::try_from(index.0).ok()?;
        self.replicas.load().get(index).cloned()
    }

    pub(crate) fn partition_count(&self) -> u32 {
        u32::try_from(self.replicas.load().len()).unwrap_or(u32::MAX)
    }

    /// A partition for records without a key that go together: each request the next one.
    pub(crate) fn partition_for_unkeyed(&self) -> PartitionIndex {
        let turn = self.next_unkeyed.fetch_add(1, Ordering::Relaxed);
        PartitionIndex(turn.checked_rem(self.partition_count()).unwrap_or(0))
    }

    /// What is checked of a batch before it is appended.
    pub(crate) fn append_rules(&self) -> AppendRules {
        let config = self.config.load();
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
#[derive(Default, Clone)]
pub(crate) struct Topics {
    by_name: BTreeMap<TopicName, Arc<Topic>>,
    by_id: BTreeMap<TopicId, Arc<Topic>>,
}

impl Topics {
    pub(crate) fn get(&self, name: &TopicName) -> Option<Arc<Topic>> {
        self.by_name.get(name).cloned()
    }

    pub(crate) fn by_id(&self, id: TopicId) -> Option<Arc<Topic>> {
        self.by_id.get(&id).cloned()
    }

    /// In the order of their names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.by_name.values()
    }

    /// The topics that belong to users, in the order of their names.
    pub(crate) fn of_users(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.iter().filter(|topic| !topic.name.is_internal())
    }

    pub(crate) fn insert(&mut self, topic: Arc<Topic>) {
        self.by_id.insert(topic.id, Arc::clone(&topic));
        self.by_name.insert(topic.name.clone(), topic);
    }

    pub(crate) fn remove(&mut self, name: &TopicName) -> Option<Arc<Topic>> {
        let removed = self.by_name.remove(name)?;
        self.by_id.remove(&removed.id);
        Some(removed)
    }
}
