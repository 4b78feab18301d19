//! The commands that the metadata can be given, and what they are answered.

use std::sync::Arc;

use corduroy_types::{BrokerId, LeaderEpoch, PartitionIndex, TimestampMs, TopicId, TopicName};

use crate::{Image, MetadataError, Record, RegistrationId, Topic};

/// Something that the cluster is asked to do.
pub trait Command {
    /// The answer to the command, once the records are durable.
    type Answer;

    /// Checks the command against an image and says what is to happen.
    ///
    /// # Errors
    /// [`MetadataError`]: the command is refused, and why.
    fn decide(&self, image: &Image) -> Result<Decision<Self::Answer>, MetadataError>;
}

/// What is to happen: make the records durable, apply them in order, then answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision<A> {
    /// What the command writes to the metadata log; empty where everything is as asked for already.
    pub records: Vec<Record>,
    /// What to answer.
    pub answer: A,
}

/// Gives the cluster its identity at the first start, and its name at any. Answers nothing.
#[derive(Clone, Debug)]
pub struct NameCluster {
    /// The identity: 1 to 255 characters.
    pub cluster_id: Arc<str>,
    /// The name: 1 to 255 characters.
    pub name: Arc<str>,
}

/// A broker starts. Answers the incarnation of this run; each partition it leads gets the next leader epoch.
#[derive(Clone, Debug)]
pub struct RegisterBroker {
    /// Its number.
    pub broker: BrokerId,
    /// Random and new at every start. The same twice is one registration.
    pub registration: RegistrationId,
    /// Where clients reach it, as host:port; `None`: at the address they dialled.
    pub address: Option<Arc<str>>,
    /// The version of its program: 1 to 255 characters.
    pub version: Arc<str>,
    /// The time.
    pub now: TimestampMs,
}

/// Creates a topic. Answers [`CreatedTopic`].
#[derive(Clone, Debug)]
pub struct CreateTopic {
    /// Its name; names that begin with `__` are refused.
    pub name: TopicName,
    /// Its identity: random, never used before.
    pub topic_id: TopicId,
    /// 1 to [`crate::PARTITIONS_PER_TOPIC_MAX`].
    pub partition_count: u32,
    /// At most the number of registered brokers; `None`: that number, but no more than
    /// [`crate::AUTO_REPLICATION_MAX`].
    pub replication: Option<u32>,
    /// The broker's `[topic_defaults]`, as (key, value): stored with the topic, below `configs`.
    pub defaults: Vec<(String, String)>,
    /// What was asked for, as (key, value), each key once.
    pub configs: Vec<(String, String)>,
    /// Whether a topic of that name that exists already is success, whatever its partitions and configs.
    pub if_not_exists: bool,
    /// The time.
    pub now: TimestampMs,
}

/// Creates one of the broker's own topics, whose names begin with `__` so that clients can neither create nor
/// change them. Answers [`CreatedTopic`].
#[derive(Clone, Debug)]
pub struct CreateInternalTopic(
    /// As for any other topic, but for the name.
    pub CreateTopic,
);

/// The answer to [`CreateTopic`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedTopic {
    /// The topic as it is, or as it will be once the records are applied.
    pub topic: Arc<Topic>,
    /// Whether it was there already.
    pub existed: bool,
}

/// Deletes a topic. Answers the topic as it was.
#[derive(Clone, Debug)]
pub struct DeleteTopic {
    /// Its name.
    pub name: TopicName,
}

/// Grows a topic. Answers [`PartitionCounts`]; asking for as many as there are is success.
#[derive(Clone, Debug)]
pub struct AddPartitions {
    /// Its name.
    pub name: TopicName,
    /// The new total: not below the present one, at most [`crate::PARTITIONS_PER_TOPIC_MAX`].
    pub partition_count: u32,
}

/// The answer to [`AddPartitions`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionCounts {
    /// How many there were.
    pub previous: u32,
    /// How many there are.
    pub now: u32,
}

/// Sets and unsets topic configs, all or none. Answers [`AlteredConfigs`].
#[derive(Clone, Debug)]
pub struct AlterTopicConfigs {
    /// The topic's name.
    pub name: TopicName,
    /// (key, value) to set; no key twice, nor in `unset` too.
    pub set: Vec<(String, String)>,
    /// Keys that go back to their defaults.
    pub unset: Vec<String>,
}

/// The answer to [`AlterTopicConfigs`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlteredConfigs {
    /// The topic as it was before.
    pub previous: Arc<Topic>,
    /// Every key named, in the order of the command: first those set, then those unset.
    pub changes: Vec<ConfigChange>,
}

/// One key named by [`AlterTopicConfigs`]. The values are canonical, and equal where nothing changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigChange {
    /// The key.
    pub key: &'static str,
    /// The value in force before.
    pub previous_value: String,
    /// The value in force from now on.
    pub value: String,
}

/// Reserves the next producer ids for a broker to hand out. Answers which.
///
/// They are never reserved again: what a broker has not handed out when it stops is lost.
#[derive(Clone, Copy, Debug)]
pub struct ReserveProducerIds {
    /// The broker; it has registered.
    pub broker: BrokerId,
    /// How many: 1 to [`crate::PRODUCER_IDS_RESERVED_MAX`].
    pub count: u32,
}

/// Gives partitions new leaderships after their leaders resigned, all of them with one change. Answers, in the order
/// asked, each one's new leader epoch, or why it has none; those that have one are not held up by the others.
///
/// A leader whose log was reopened after a failed write or sync never appends again in its epoch; with one
/// replica the same broker leads again, in the next.
#[derive(Clone, Debug)]
pub struct ElectLeaders {
    /// The partitions; of one named twice only the first counts.
    pub elections: Vec<Election>,
}

/// One partition of [`ElectLeaders`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Election {
    /// The partition's topic.
    pub topic_id: TopicId,
    /// Its index.
    pub partition: PartitionIndex,
    /// The leadership that ended: refused where it is not the present one.
    pub resigned_epoch: LeaderEpoch,
}
