//! One topic of the image.

use std::{collections::BTreeMap, sync::Arc};

use corduroy_types::{
    BrokerId, LeaderEpoch, PartitionIndex, TimestampMs, TopicConfig, TopicConfigError, TopicId, TopicName,
};

use crate::{Assignment, Incarnation};

/// A topic with its partitions and configs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    pub(crate) id: TopicId,
    pub(crate) name: TopicName,
    pub(crate) created_at: TimestampMs,
    pub(crate) partitions: Vec<Partition>,
    pub(crate) overrides: Overrides,
    pub(crate) config: Arc<TopicConfig>,
}

/// The configs a topic sets itself: key → value in canonical form.
pub(crate) type Overrides = BTreeMap<&'static str, Arc<str>>;

/// Who holds and who leads a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// The brokers that hold it, without repetition.
    pub replicas: Arc<[BrokerId]>,
    /// The one of them that leads.
    pub leader: BrokerId,
    /// The number of this leadership. The first is 1; 0 means that no one has led.
    pub leader_epoch: LeaderEpoch,
    /// The run of the leader that this leadership belongs to: no other run may use it (replication rule R3).
    pub leader_incarnation: Incarnation,
}

impl Partition {
    pub(crate) fn begin(assignment: &Assignment, leader_incarnation: Incarnation) -> Self {
        Self {
            replicas: assignment.replicas.clone(),
            leader: assignment.leader,
            leader_epoch: LeaderEpoch::ZERO.next().unwrap_or_default(),
            leader_incarnation,
        }
    }
}

/// Where a config's value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConfigSource {
    /// Built in.
    Default,
    /// The topic's own: set since, or by the broker's `[topic_defaults]` when it was created.
    Topic,
}

/// One config of a topic, as describing shows it. Texts are in canonical form (`7d`, `256MiB`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedConfig {
    /// The key.
    pub key: &'static str,
    /// The value in force.
    pub value: String,
    /// The built-in default.
    pub default_value: String,
    /// Where the value comes from.
    pub source: ConfigSource,
}

impl Topic {
    /// Its identity: a topic created again under the same name has another.
    pub const fn id(&self) -> TopicId {
        self.id
    }

    /// Its name.
    pub const fn name(&self) -> &TopicName {
        &self.name
    }

    /// When it was created.
    pub const fn created_at(&self) -> TimestampMs {
        self.created_at
    }

    /// Its partitions: the one at position n has index n.
    pub fn partitions(&self) -> &[Partition] {
        &self.partitions
    }

    /// How many partitions it has: at least 1.
    pub fn partition_count(&self) -> u32 {
        u32::try_from(self.partitions.len()).unwrap_or(u32::MAX)
    }

    /// The partition with this index.
    pub fn partition(&self, index: PartitionIndex) -> Option<&Partition> {
        self.partitions.get(usize::try_from(index.0).ok()?)
    }

    /// The partitions of which a broker holds a replica, in the order of their indexes.
    pub fn held_by(&self, broker: BrokerId) -> impl Iterator<Item = PartitionIndex> + '_ {
        let indexed = (0..).map(PartitionIndex).zip(&self.partitions);
        indexed.filter(move |(_, partition)| partition.replicas.contains(&broker)).map(|(index, _)| index)
    }

    /// How many replicas its partitions have.
    pub fn replication(&self) -> u32 {
        let replicas = self.partitions.first().map_or(0, |partition| partition.replicas.len());
        u32::try_from(replicas).unwrap_or(u32::MAX)
    }

    /// The configs in force.
    pub const fn config(&self) -> &Arc<TopicConfig> {
        &self.config
    }

    /// The configs it sets itself, as (key, value in canonical form), ordered by key.
    pub fn overrides(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.overrides.iter().map(|(key, value)| (*key, &**value))
    }

    /// Every config, set or not, ordered by key.
    pub fn described_configs(&self) -> impl Iterator<Item = DescribedConfig> + '_ {
        self.config.entries().map(|entry| DescribedConfig {
            source: match self.overrides.contains_key(entry.key) {
                true => ConfigSource::Topic,
                false => ConfigSource::Default,
            },
            key: entry.key,
            value: entry.value,
            default_value: entry.default_value,
        })
    }
}

/// The configs in force under `overrides`.
pub(crate) fn config_of(overrides: &Overrides) -> Result<TopicConfig, TopicConfigError> {
    TopicConfig::from_entries(overrides.iter().map(|(key, value)| (*key, &**value)))
}
