//! The records of the metadata log: what happened, in order.

use std::sync::Arc;

use corduroy_types::{BrokerId, LeaderEpoch, PartitionIndex, TimestampMs, TopicId, TopicName};

use crate::{Incarnation, RegistrationId};

/// Who holds a new partition, and who leads it first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The brokers that hold it, without repetition.
    pub replicas: Arc<[BrokerId]>,
    /// One of them.
    pub leader: BrokerId,
}

/// One fact of the metadata log. [`Record::encode`] gives the bytes that are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// The cluster got its identity, or another name.
    ClusterNamed {
        /// The identity; the same in every such record of one log.
        cluster_id: Arc<str>,
        /// The name from now on.
        name: Arc<str>,
    },
    /// A broker started. The leader epoch of every partition it leads is one higher from here on: a restarted
    /// leader never resumes its epoch (replication rule R3).
    BrokerRegistered {
        /// The broker.
        broker: BrokerId,
        /// This run of it.
        incarnation: Incarnation,
        /// The id that the run registered under.
        registration: RegistrationId,
        /// Where clients reach it, as host:port; `None`: at the address they dialled.
        address: Option<Arc<str>>,
        /// The version of its program.
        version: Arc<str>,
        /// When.
        registered_at: TimestampMs,
    },
    /// A topic came to be. Its partitions begin at leader epoch 1.
    TopicCreated {
        /// Its name.
        name: TopicName,
        /// Its identity.
        topic_id: TopicId,
        /// When.
        created_at: TimestampMs,
        /// Its partitions, in the order of their indexes.
        partitions: Vec<Assignment>,
        /// The configs it sets itself, as (key, canonical value), ordered by key.
        configs: Vec<(Arc<str>, Arc<str>)>,
    },
    /// A topic and everything in it is gone.
    TopicDeleted {
        /// Which.
        topic_id: TopicId,
    },
    /// A topic grew.
    PartitionsAdded {
        /// Which.
        topic_id: TopicId,
        /// The index of the first new partition: the number of partitions before.
        first: PartitionIndex,
        /// The new partitions, in the order of their indexes.
        partitions: Vec<Assignment>,
    },
    /// A topic's own configs changed.
    ConfigsAltered {
        /// Which.
        topic_id: TopicId,
        /// The configs set, as (key, canonical value), ordered by key.
        set: Vec<(Arc<str>, Arc<str>)>,
        /// The keys that went back to their defaults, ordered.
        unset: Vec<Arc<str>>,
    },
    /// A partition has a new leadership.
    LeaderElected {
        /// Its topic.
        topic_id: TopicId,
        /// Its index.
        partition: PartitionIndex,
        /// Who leads.
        leader: BrokerId,
        /// The number of the leadership: greater than any before.
        leader_epoch: LeaderEpoch,
    },
    /// A broker may hand out these producer ids. They follow those that were reserved before.
    ProducerIdsReserved {
        /// The broker.
        broker: BrokerId,
        /// The first one: 1 or more.
        first: u64,
        /// How many.
        count: u32,
    },
}

impl Record {
    /// The topic that it is about; `None` where it is about none, or about every topic that a broker leads.
    pub const fn topic_id(&self) -> Option<TopicId> {
        match self {
            Self::TopicCreated { topic_id, .. }
            | Self::TopicDeleted { topic_id }
            | Self::PartitionsAdded { topic_id, .. }
            | Self::ConfigsAltered { topic_id, .. }
            | Self::LeaderElected { topic_id, .. } => Some(*topic_id),
            Self::ClusterNamed { .. } | Self::BrokerRegistered { .. } | Self::ProducerIdsReserved { .. } => {
                None
            }
        }
    }

    /// The kind of record in words, for errors and logs.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::ClusterNamed { .. } => "cluster named",
            Self::BrokerRegistered { .. } => "broker registered",
            Self::TopicCreated { .. } => "topic created",
            Self::TopicDeleted { .. } => "topic deleted",
            Self::PartitionsAdded { .. } => "partitions added",
            Self::ConfigsAltered { .. } => "configs altered",
            Self::LeaderElected { .. } => "leader elected",
            Self::ProducerIdsReserved { .. } => "producer ids reserved",
        }
    }
}
