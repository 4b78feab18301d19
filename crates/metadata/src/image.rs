//! The image: everything the metadata records have said so far.

use std::{collections::BTreeMap, sync::Arc};

use corduroy_types::{BrokerId, TimestampMs, TopicId, TopicName};

use crate::{Command, Decision, Incarnation, MetadataError, Topic};

/// What a broker process calls itself when it registers: random, and another one after every start.
///
/// It makes a registration that is sent twice count once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RegistrationId(pub [u8; 16]);

/// The cluster's identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Given once, at the first start; never changes.
    pub id: Arc<str>,
    /// The operator's name for it.
    pub name: Arc<str>,
}

/// A registered broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// Its number.
    pub id: BrokerId,
    /// Its current run.
    pub incarnation: Incarnation,
    /// The id this run registered under.
    pub registration: RegistrationId,
    /// Where clients reach it, as host:port; `None`: at whatever address they dialled.
    pub address: Option<Arc<str>>,
    /// The version of its program.
    pub version: Arc<str>,
    /// When it registered.
    pub registered_at: TimestampMs,
}

/// The state of the cluster after a number of records.
///
/// Cloning costs a few reference counts: an image is published by cloning it, applying to the clone, and
/// exchanging the two.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    pub(crate) cluster: Option<Cluster>,
    pub(crate) brokers: Arc<BTreeMap<BrokerId, Broker>>,
    pub(crate) topics: Arc<BTreeMap<TopicId, Arc<Topic>>>,
    pub(crate) names: Arc<BTreeMap<TopicName, TopicId>>,
    pub(crate) partition_count: usize,
    pub(crate) last_incarnation: Incarnation,
    pub(crate) last_producer_id: u64,
}

impl Image {
    /// Checks a command against this image. Changes nothing: apply the decision's records once they are
    /// durable.
    ///
    /// # Errors
    /// [`MetadataError`]: the command is refused, and why.
    pub fn decide<C: Command>(&self, command: &C) -> Result<Decision<C::Answer>, MetadataError> {
        command.decide(self)
    }

    /// The cluster's identity; `None` before it has been named.
    pub const fn cluster(&self) -> Option<&Cluster> {
        self.cluster.as_ref()
    }

    /// The registered brokers, in the order of their ids.
    pub fn brokers(&self) -> impl ExactSizeIterator<Item = &Broker> {
        self.brokers.values()
    }

    /// The broker with this id.
    pub fn broker(&self, id: BrokerId) -> Option<&Broker> {
        self.brokers.get(&id)
    }

    /// The topics, in the order of their names.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.names.values().filter_map(|id| self.topics.get(id))
    }

    /// The topic of this name.
    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.topics.get(self.names.get(name)?)
    }

    /// The topic with this id.
    pub fn topic_by_id(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.topics.get(&id)
    }

    /// How many topics there are.
    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    /// The greatest producer id that was ever reserved; 0 before the first.
    pub const fn last_producer_id(&self) -> u64 {
        self.last_producer_id
    }

    /// How many partitions all topics have together.
    pub const fn partition_count(&self) -> usize {
        self.partition_count
    }
}
