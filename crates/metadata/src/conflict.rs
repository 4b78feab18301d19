//! What a record contradicts.

use std::sync::Arc;

use corduroy_types::{BrokerId, LeaderEpoch, PartitionIndex, TopicConfigError, TopicId, TopicName};

use crate::Incarnation;

/// Why a record cannot follow the records before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// The record names another cluster than the log's first one.
    #[error("it names cluster {named}, and the log began as cluster {known}")]
    OtherCluster {
        /// The cluster of the record.
        named: Arc<str>,
        /// The cluster of the log.
        known: Arc<str>,
    },
    /// Incarnations grow with each registration.
    #[error("incarnation {} does not follow incarnation {}", named.0, last.0)]
    IncarnationNotNewer {
        /// The incarnation of the record.
        named: Incarnation,
        /// The last one of the log.
        last: Incarnation,
    },
    /// A partition of the topic has used its last leader epoch.
    #[error("a partition of topic {0} has used its last leader epoch")]
    EpochsUsedUp(TopicId),
    /// A topic of that name exists.
    #[error("topic {0} exists already")]
    NameInUse(TopicName),
    /// A topic with that id exists.
    #[error("topic id {0} is in use already")]
    IdInUse(TopicId),
    /// A topic has at least one partition.
    #[error("topic {0} would have no partition")]
    NoPartition(TopicName),
    /// The topic does not exist.
    #[error("there is no topic with id {0}")]
    UnknownTopic(TopicId),
    /// New partitions continue the indexes of those that exist.
    #[error("partition {first} cannot follow the {present} that topic {topic_id} has")]
    PartitionsNotNext {
        /// The topic.
        topic_id: TopicId,
        /// The first index of the record.
        first: PartitionIndex,
        /// How many partitions the topic has.
        present: u32,
    },
    /// The topic has no such partition.
    #[error("topic {topic_id} has no partition {partition}")]
    UnknownPartition {
        /// The topic.
        topic_id: TopicId,
        /// The index of the record.
        partition: PartitionIndex,
    },
    /// Leader epochs of a partition grow.
    #[error("leader epoch {named} does not follow epoch {current}")]
    EpochNotNewer {
        /// The epoch of the record.
        named: LeaderEpoch,
        /// The partition's epoch.
        current: LeaderEpoch,
    },
    /// Only a replica of a partition may lead it.
    #[error("broker {leader} holds no replica of {topic_id}/{partition}")]
    NotAReplica {
        /// The topic.
        topic_id: TopicId,
        /// The partition.
        partition: PartitionIndex,
        /// The broker that would lead.
        leader: BrokerId,
    },
    /// The assigned leader of a new partition is not one of its replicas.
    #[error("the leader, broker {0}, holds no replica")]
    LeaderNotAssigned(BrokerId),
    /// A broker holds a partition at most once.
    #[error("broker {0} holds a replica twice")]
    ReplicaTwice(BrokerId),
    /// The broker has never registered.
    #[error("broker {0} has not registered")]
    UnknownBroker(BrokerId),
    /// Blocks of producer ids follow each other without a gap.
    #[error("producer id {first} cannot follow producer id {last}")]
    ProducerIdsNotNext {
        /// The first id of the record.
        first: u64,
        /// The last id that is reserved.
        last: u64,
    },
    /// The block of producer ids would pass the greatest one.
    #[error("{count} producer ids do not follow {last}")]
    ProducerIdsUsedUp {
        /// How many ids the record reserves.
        count: u32,
        /// The last id that is reserved.
        last: u64,
    },
    /// This version does not know the topic config.
    #[error("this version has no topic config {0:?}; start the version that wrote it, or a later one")]
    UnknownConfig(Arc<str>),
    /// The topic configs are invalid together.
    #[error(transparent)]
    InvalidConfigs(#[from] TopicConfigError),
}
