//! What can be wrong with commands, records and stored bytes.

use corduroy_types::{
    BrokerId, ErrorCode, LeaderEpoch, PartitionIndex, TopicConfigError, TopicId, TopicName,
};

use crate::{Conflict, PARTITIONS_MAX, PARTITIONS_PER_TOPIC_MAX, PRODUCER_IDS_RESERVED_MAX};

/// Why a command was refused. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// A name that belongs to the broker.
    #[error(
        "topic names that begin with \"__\" belong to the broker: {name} can be neither created nor changed"
    )]
    ReservedName {
        /// The name.
        name: TopicName,
    },
    /// The name is taken.
    #[error("topic {name} exists already, with id {topic_id}")]
    TopicExists {
        /// The name.
        name: TopicName,
        /// The id of the topic that has it.
        topic_id: TopicId,
    },
    /// No topic of that name.
    #[error("there is no topic {name}{}", hint(.suggestion.as_ref()))]
    TopicNotFound {
        /// The name.
        name: TopicName,
        /// The topic that was probably meant.
        suggestion: Option<TopicName>,
    },
    /// No topic with that id.
    #[error("there is no topic with id {topic_id}")]
    TopicIdNotFound {
        /// The id.
        topic_id: TopicId,
    },
    /// The topic has no such partition.
    #[error("topic {name} has {partition_count} partitions, so none with index {partition}")]
    PartitionNotFound {
        /// The topic.
        name: TopicName,
        /// The index.
        partition: PartitionIndex,
        /// How many it has.
        partition_count: u32,
    },
    /// An id that is in use; the caller draws another.
    #[error("topic id {topic_id} is in use already; try again with another")]
    TopicIdInUse {
        /// The id.
        topic_id: TopicId,
    },
    /// A number of partitions that no topic can have.
    #[error("a topic cannot have {got} partitions; it has 1 to {PARTITIONS_PER_TOPIC_MAX}")]
    PartitionCount {
        /// The number asked for.
        got: u32,
    },
    /// Fewer partitions than there are.
    #[error("topic {name} has {present} partitions and cannot shrink to {got}; ask for {present} or more")]
    PartitionCountShrinks {
        /// The topic.
        name: TopicName,
        /// How many it has.
        present: u32,
        /// The number asked for.
        got: u32,
    },
    /// The cluster would have too many partitions.
    #[error(
        "{adding} more partitions would make {present} + {adding} in the cluster, which holds at most \
         {PARTITIONS_MAX}; ask for fewer, or delete topics"
    )]
    ClusterFull {
        /// How many there are.
        present: usize,
        /// How many were asked for.
        adding: u32,
    },
    /// More replicas than brokers, or none.
    #[error("{asked} replicas cannot be placed on {brokers} registered brokers; ask for 1 to {brokers}")]
    Replication {
        /// The number asked for.
        asked: u32,
        /// How many brokers are registered.
        brokers: usize,
    },
    /// No broker is registered.
    #[error("no broker is registered yet, so there is none to hold a partition; try again")]
    NoBroker,
    /// A topic config is wrong.
    #[error(transparent)]
    Config(#[from] TopicConfigError),
    /// One key was named twice.
    #[error("topic config {key} is named twice; name it once")]
    ConfigNamedTwice {
        /// The key.
        key: &'static str,
    },
    /// A text that is empty or too long.
    #[error("{what} has {characters} characters; it needs 1 to {max}", max = TEXT_MAX)]
    Text {
        /// What the text was meant to be.
        what: &'static str,
        /// Its length.
        characters: usize,
    },
    /// A text with a character that is not seen or turns the direction of writing.
    #[error("{what} holds the character U+{:04X}, which is not shown; leave it out", u32::from(*character))]
    HiddenCharacter {
        /// What the text was meant to be.
        what: &'static str,
        /// The first such character.
        character: char,
    },
    /// The data belongs to another cluster.
    #[error(
        "this metadata belongs to cluster {present}, not to {got}; use the data directory of cluster {got}"
    )]
    ForeignCluster {
        /// The cluster's identity.
        present: String,
        /// The identity that was given.
        got: String,
    },
    /// The leadership that ended is not the present one.
    #[error(
        "partition {topic_id}/{partition} is at leader epoch {present}, so epoch {got} cannot be resigned; \
         look it up again"
    )]
    OtherLeaderEpoch {
        /// The topic.
        topic_id: TopicId,
        /// The partition.
        partition: PartitionIndex,
        /// The epoch in force.
        present: LeaderEpoch,
        /// The epoch that was named.
        got: LeaderEpoch,
    },
    /// The last leader epoch is used up.
    #[error(
        "partition {topic_id}/{partition} has used its last leader epoch; copy its records to a new topic"
    )]
    EpochsUsedUp {
        /// The topic.
        topic_id: TopicId,
        /// The partition.
        partition: PartitionIndex,
    },
    /// No producer ids, or too many at once.
    #[error("{asked} producer ids cannot be reserved at once; ask for 1 to {PRODUCER_IDS_RESERVED_MAX}")]
    ProducerIdCount {
        /// The number asked for.
        asked: u32,
    },
    /// A broker that has not registered.
    #[error("broker {broker} has not registered; register it first")]
    UnknownBroker {
        /// The broker.
        broker: BrokerId,
    },
    /// All producer ids were handed out.
    #[error("all producer ids are used up; start a new cluster")]
    ProducerIdsUsedUp,
    /// The broker's incarnations are used up.
    #[error("broker {broker} cannot register: all incarnations are used up; start a new cluster")]
    IncarnationsUsedUp {
        /// The broker.
        broker: BrokerId,
    },
}

pub(crate) const TEXT_MAX: usize = 255;

impl MetadataError {
    /// The code under which it reaches a client.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::ReservedName { .. } => ErrorCode::InvalidTopicName,
            Self::TopicExists { .. } => ErrorCode::TopicExists,
            Self::TopicNotFound { .. } | Self::TopicIdNotFound { .. } => ErrorCode::TopicNotFound,
            Self::PartitionNotFound { .. } => ErrorCode::PartitionNotFound,
            Self::PartitionCount { .. } | Self::PartitionCountShrinks { .. } | Self::ClusterFull { .. } => {
                ErrorCode::InvalidPartitionCount
            }
            Self::Replication { .. } => ErrorCode::InvalidReplication,
            Self::NoBroker | Self::UnknownBroker { .. } => ErrorCode::Starting,
            Self::Config(error) => error.code(),
            Self::ConfigNamedTwice { .. }
            | Self::Text { .. }
            | Self::HiddenCharacter { .. }
            | Self::ForeignCluster { .. }
            | Self::ProducerIdCount { .. } => ErrorCode::InvalidRequest,
            Self::OtherLeaderEpoch { present, got, .. } => {
                if got.get() < present.get() {
                    ErrorCode::FencedLeaderEpoch
                } else {
                    ErrorCode::UnknownLeaderEpoch
                }
            }
            Self::TopicIdInUse { .. }
            | Self::EpochsUsedUp { .. }
            | Self::IncarnationsUsedUp { .. }
            | Self::ProducerIdsUsedUp => ErrorCode::Internal,
        }
    }
}

fn hint(suggestion: Option<&TopicName>) -> String {
    suggestion.map(|name| format!("; did you mean {name}?")).unwrap_or_default()
}

/// A record that cannot follow the records before it: the metadata log is damaged or was mixed up.
///
/// The image is unchanged. The broker must not go on: whatever it decided next would be built on a wrong
/// image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a \"{kind}\" record cannot follow what came before: {conflict}")]
pub struct ApplyError {
    /// The kind of record.
    pub kind: &'static str,
    /// What it contradicts.
    pub conflict: Conflict,
}

/// Stored bytes that are no metadata record of this version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A kind of record, or a field of one, that this version does not know.
    #[error("the metadata record was written by a newer version; start that version, or a later one")]
    NewerVersion,
    /// Bytes that no version wrote.
    #[error("the metadata record is damaged: {0}; restore the metadata log from another copy")]
    Damaged(String),
}
