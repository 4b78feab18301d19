//! What a record changed in the image, for those who act on it.

use std::sync::Arc;

use corduroy_types::{BrokerId, LeaderEpoch, PartitionIndex, TopicId};

use crate::{Broker, Cluster, Topic};

/// One change of the image. Topics are as they are after the change; a deleted one as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delta {
    /// The cluster has this identity and name.
    ClusterNamed(Cluster),
    /// A broker started.
    BrokerRegistered(Broker),
    /// A topic came to be.
    TopicCreated(Arc<Topic>),
    /// A topic is gone.
    TopicDeleted(Arc<Topic>),
    /// A topic grew: the partitions from index `first` on are new.
    PartitionsAdded {
        /// The topic.
        topic: Arc<Topic>,
        /// The index of the first new partition.
        first: PartitionIndex,
    },
    /// A topic's configs changed.
    ConfigsChanged(Arc<Topic>),
    /// A partition has a new leadership.
    LeaderEpochRaised {
        /// The partition's topic.
        topic_id: TopicId,
        /// Its index.
        partition: PartitionIndex,
        /// Who leads.
        leader: BrokerId,
        /// The number of the leadership.
        leader_epoch: LeaderEpoch,
    },
}
