//! Metadata records as bytes: protobuf, versioned by its field tags.
//!
//! A tag's meaning never changes and a tag is never used again. A later version adds kinds of records and
//! fields; bytes that use one are refused by this version rather than half understood.

use std::sync::Arc;

use bytes::Bytes;
use corduroy_types::{BrokerId, LeaderEpoch, PartitionIndex, TimestampMs, TopicId, TopicName};
use prost::Message;

use crate::{Assignment, DecodeError, Incarnation, Record, RegistrationId};

#[derive(Clone, PartialEq, Message)]
struct StoredRecord {
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5, 6, 7, 8")]
    kind: Option<Kind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Kind {
    #[prost(message, tag = "1")]
    ClusterNamed(ClusterNamed),
    #[prost(message, tag = "2")]
    BrokerRegistered(BrokerRegistered),
    #[prost(message, tag = "3")]
    TopicCreated(TopicCreated),
    #[prost(message, tag = "4")]
    TopicDeleted(TopicDeleted),
    #[prost(message, tag = "5")]
    PartitionsAdded(PartitionsAdded),
    #[prost(message, tag = "6")]
    ConfigsAltered(ConfigsAltered),
    #[prost(message, tag = "7")]
    LeaderElected(LeaderElected),
    #[prost(message, tag = "8")]
    ProducerIdsReserved(ProducerIdsReserved),
}

#[derive(Clone, PartialEq, Message)]
struct ClusterNamed {
    #[prost(string, tag = "1")]
    cluster_id: String,
    #[prost(string, tag = "2")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct BrokerRegistered {
    #[prost(uint32, tag = "1")]
    broker: u32,
    #[prost(uint64, tag = "2")]
    incarnation: u64,
    #[prost(bytes = "bytes", tag = "3")]
    registration: Bytes,
    #[prost(string, optional, tag = "4")]
    address: Option<String>,
    #[prost(string, tag = "5")]
    version: String,
    #[prost(sint64, tag = "6")]
    registered_at_ms: i64,
}

#[derive(Clone, PartialEq, Message)]
struct StoredAssignment {
    #[prost(uint32, repeated, tag = "1")]
    replicas: Vec<u32>,
    #[prost(uint32, tag = "2")]
    leader: u32,
}

#[derive(Clone, PartialEq, Message)]
struct ConfigEntry {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct TopicCreated {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(bytes = "bytes", tag = "2")]
    topic_id: Bytes,
    #[prost(sint64, tag = "3")]
    created_at_ms: i64,
    #[prost(message, repeated, tag = "4")]
    partitions: Vec<StoredAssignment>,
    #[prost(message, repeated, tag = "5")]
    configs: Vec<ConfigEntry>,
}

#[derive(Clone, PartialEq, Message)]
struct TopicDeleted {
    #[prost(bytes = "bytes", tag = "1")]
    topic_id: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct PartitionsAdded {
    #[prost(bytes = "bytes", tag = "1")]
    topic_id: Bytes,
    #[prost(uint32, tag = "2")]
    first: u32,
    #[prost(message, repeated, tag = "3")]
    partitions: Vec<StoredAssignment>,
}

#[derive(Clone, PartialEq, Message)]
struct ConfigsAltered {
    #[prost(bytes = "bytes", tag = "1")]
    topic_id: Bytes,
    #[prost(message, repeated, tag = "2")]
    set: Vec<ConfigEntry>,
    #[prost(string, repeated, tag = "3")]
    unset: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct LeaderElected {
    #[prost(bytes = "bytes", tag = "1")]
    topic_id: Bytes,
    #[prost(uint32, tag = "2")]
    partition: u32,
    #[prost(uint32, tag = "3")]
    leader: u32,
    #[prost(uint32, tag = "4")]
    leader_epoch: u32,
}

#[derive(Clone, PartialEq, Message)]
struct ProducerIdsReserved {
    #[prost(uint32, tag = "1")]
    broker: u32,
    #[prost(uint64, tag = "2")]
    first: u64,
    #[prost(uint32, tag = "3")]
    count: u32,
}

impl Record {
    /// The bytes to store.
    pub fn encode(&self) -> Bytes {
        StoredRecord { kind: Some(self.into()) }.encode_to_vec().into()
    }

    /// Reads bytes that [`Record::encode`] wrote.
    ///
    /// # Errors
    /// [`DecodeError`]: the broker must not go on, since the image would lack a fact.
    pub fn decode(bytes: &Bytes) -> Result<Self, DecodeError> {
        let stored = StoredRecord::decode(bytes.clone()).map_err(|error| damaged(&error))?;
        // Unknown fields are skipped by the decoder, and the encoding is canonical: what does not come back
        // unchanged holds something this version does not know.
        if stored.encoded_len() != bytes.len() || stored.encode_to_vec() != bytes[..] {
            return Err(DecodeError::NewerVersion);
        }
        stored.kind.ok_or(DecodeError::NewerVersion)?.try_into()
    }
}

impl From<&Record> for Kind {
    fn from(record: &Record) -> Self {
        match record {
            Record::ClusterNamed { cluster_id, name } => {
                Self::ClusterNamed(ClusterNamed { cluster_id: text(cluster_id), name: text(name) })
            }
            Record::BrokerRegistered {
                broker,
                incarnation,
                registration,
                address,
                version,
                registered_at,
            } => Self::BrokerRegistered(BrokerRegistered {
                broker: broker.0,
                incarnation: incarnation.0,
                registration: Bytes::copy_from_slice(&registration.0),
                address: address.as_deref().map(text),
                version: text(version),
                registered_at_ms: registered_at.0,
            }),
            Record::TopicCreated { name, topic_id, created_at, partitions, configs } => {
                Self::TopicCreated(TopicCreated {
                    name: text(name.as_str()),
                    topic_id: id_bytes(*topic_id),
                    created_at_ms: created_at.0,
                    partitions: stored_assignments(partitions),
                    configs: stored_entries(configs),
                })
            }
            Record::TopicDeleted { topic_id } => {
                Self::TopicDeleted(TopicDeleted { topic_id: id_bytes(*topic_id) })
            }
            Record::PartitionsAdded { topic_id, first, partitions } => {
                Self::PartitionsAdded(PartitionsAdded {
                    topic_id: id_bytes(*topic_id),
                    first: first.0,
                    partitions: stored_assignments(partitions),
                })
            }
            Record::ConfigsAltered { topic_id, set, unset } => Self::ConfigsAltered(ConfigsAltered {
                topic_id: id_bytes(*topic_id),
                set: stored_entries(set),
                unset: unset.iter().map(|key| text(key)).collect(),
            }),
            Record::LeaderElected { topic_id, partition, leader, leader_epoch } => {
                Self::LeaderElected(LeaderElected {
                    topic_id: id_bytes(*topic_id),
                    partition: partition.0,
                    leader: leader.0,
                    leader_epoch: leader_epoch.get(),
                })
            }
            Record::ProducerIdsReserved { broker, first, count } => {
                Self::ProducerIdsReserved(ProducerIdsReserved {
                    broker: broker.0,
                    first: *first,
                    count: *count,
                })
            }
        }
    }
}

impl TryFrom<Kind> for Record {
    type Error = DecodeError;

    fn try_from(kind: Kind) -> Result<Self, DecodeError> {
        Ok(match kind {
            Kind::ClusterNamed(ClusterNamed { cluster_id, name }) => {
                Self::ClusterNamed { cluster_id: cluster_id.into(), name: name.into() }
            }
            Kind::BrokerRegistered(stored) => Self::BrokerRegistered {
                broker: BrokerId(stored.broker),
                incarnation: Incarnation(stored.incarnation),
                registration: RegistrationId(sixteen(&stored.registration)?),
                address: stored.address.map(Arc::from),
                version: stored.version.into(),
                registered_at: TimestampMs(stored.registered_at_ms),
            },
            Kind::TopicCreated(stored) => Self::TopicCreated {
                name: TopicName::new(&stored.name).map_err(|error| damaged(&error))?,
                topic_id: topic_id(&stored.topic_id)?,
                created_at: TimestampMs(stored.created_at_ms),
                partitions: assignments(stored.partitions),
                configs: entries(stored.configs),
            },
            Kind::TopicDeleted(stored) => Self::TopicDeleted { topic_id: topic_id(&stored.topic_id)? },
            Kind::PartitionsAdded(stored) => Self::PartitionsAdded {
                topic_id: topic_id(&stored.topic_id)?,
                first: PartitionIndex(stored.first),
                partitions: assignments(stored.partitions),
            },
            Kind::ConfigsAltered(stored) => Self::ConfigsAltered {
                topic_id: topic_id(&stored.topic_id)?,
                set: entries(stored.set),
                unset: stored.unset.into_iter().map(Arc::from).collect(),
            },
            Kind::LeaderElected(stored) => Self::LeaderElected {
                topic_id: topic_id(&stored.topic_id)?,
                partition: PartitionIndex(stored.partition),
                leader: BrokerId(stored.leader),
                leader_epoch: LeaderEpoch::new(stored.leader_epoch)
                    .ok_or_else(|| damaged(&format_args!("leader epoch {}", stored.leader_epoch)))?,
            },
            Kind::ProducerIdsReserved(ProducerIdsReserved { broker, first, count }) => {
                Self::ProducerIdsReserved { broker: BrokerId(broker), first, count }
            }
        })
    }
}

fn damaged(what: &dyn std::fmt::Display) -> DecodeError {
    DecodeError::Damaged(what.to_string())
}

fn text(text: &str) -> String {
    text.to_owned()
}

fn id_bytes(id: TopicId) -> Bytes {
    Bytes::copy_from_slice(&id.to_bytes())
}

fn sixteen(bytes: &Bytes) -> Result<[u8; 16], DecodeError> {
    bytes[..].try_into().map_err(|_| damaged(&format_args!("an id of {} bytes, not 16", bytes.len())))
}

fn topic_id(bytes: &Bytes) -> Result<TopicId, DecodeError> {
    sixteen(bytes).map(TopicId::from_bytes)
}

fn stored_assignments(assignments: &[Assignment]) -> Vec<StoredAssignment> {
    let stored = |assignment: &Assignment| StoredAssignment {
        replicas: assignment.replicas.iter().map(|broker| broker.0).collect(),
        leader: assignment.leader.0,
    };
    assignments.iter().map(stored).collect()
}

fn assignments(stored: Vec<StoredAssignment>) -> Vec<Assignment> {
    let assignment = |stored: StoredAssignment| Assignment {
        replicas: stored.replicas.into_iter().map(BrokerId).collect(),
        leader: BrokerId(stored.leader),
    };
    stored.into_iter().map(assignment).collect()
}

fn stored_entries(entries: &[(Arc<str>, Arc<str>)]) -> Vec<ConfigEntry> {
    entries.iter().map(|(key, value)| ConfigEntry { key: text(key), value: text(value) }).collect()
}

fn entries(stored: Vec<ConfigEntry>) -> Vec<(Arc<str>, Arc<str>)> {
    stored.into_iter().map(|entry| (entry.key.into(), entry.value.into())).collect()
}

#[cfg(test)]
#[path = "stored_tests.rs"]
mod tests;
