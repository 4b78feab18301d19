//! Group records as bytes: protobuf keys and values, versioned by their field tags.
//!
//! A tag's meaning never changes and a tag is never used again. Equal keys are equal bytes, as compaction needs.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use corduroy_types::{LeaderEpoch, Offset, PartitionIndex, TimestampMs, TopicId, TopicName};
use prost::Message;

use crate::{
    Assignor, Committed, Current, GroupEpoch, GroupName, GroupState, InstanceId, MemberEpoch, MemberId,
    MemberSpec, Pattern, Record, Subscription, TopicPartition,
};

/// Stored bytes that are no group record of this version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A kind of record, or a field of one, that this version does not know.
    #[error("the group record was written by a newer version; start that version, or a later one")]
    NewerVersion,
    /// Bytes that no version wrote.
    #[error("the group record is damaged: {0}")]
    Damaged(String),
}

#[derive(Clone, PartialEq, Message)]
struct Key {
    #[prost(enumeration = "Kind", tag = "1")]
    kind: i32,
    #[prost(string, tag = "2")]
    group: String,
    #[prost(string, tag = "3")]
    member: String,
    #[prost(bytes = "bytes", tag = "4")]
    topic_id: Bytes,
    #[prost(uint32, tag = "5")]
    partition: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
enum Kind {
    Unknown = 0,
    Group = 1,
    Member = 2,
    Target = 3,
    Current = 4,
    Committed = 5,
}

#[derive(Clone, PartialEq, Message)]
struct StoredGroup {
    #[prost(uint32, tag = "1")]
    epoch: u32,
    #[prost(string, tag = "2")]
    assignor: String,
    #[prost(sint64, optional, tag = "3")]
    empty_since_ms: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct StoredMember {
    #[prost(string, optional, tag = "1")]
    instance: Option<String>,
    #[prost(string, tag = "2")]
    client_id: String,
    #[prost(string, tag = "3")]
    client_address: String,
    #[prost(string, repeated, tag = "4")]
    topics: Vec<String>,
    #[prost(string, optional, tag = "5")]
    pattern: Option<String>,
    #[prost(uint32, tag = "6")]
    session_timeout_ms: u32,
    #[prost(uint32, tag = "7")]
    rebalance_timeout_ms: u32,
    #[prost(sint64, tag = "8")]
    joined_at_ms: i64,
}

/// Partitions of one topic; `since` has one entry for each of them, or none at all in a target.
#[derive(Clone, PartialEq, Message)]
struct StoredPartitions {
    #[prost(bytes = "bytes", tag = "1")]
    topic_id: Bytes,
    #[prost(uint32, repeated, tag = "2")]
    partitions: Vec<u32>,
    #[prost(uint32, repeated, tag = "3")]
    since: Vec<u32>,
}

#[derive(Clone, PartialEq, Message)]
struct StoredTarget {
    #[prost(message, repeated, tag = "1")]
    partitions: Vec<StoredPartitions>,
}

#[derive(Clone, PartialEq, Message)]
struct StoredCurrent {
    #[prost(uint32, tag = "1")]
    epoch: u32,
    #[prost(message, repeated, tag = "2")]
    assigned: Vec<StoredPartitions>,
    #[prost(message, repeated, tag = "3")]
    revoking: Vec<StoredPartitions>,
}

#[derive(Clone, PartialEq, Message)]
struct StoredCommitted {
    #[prost(uint64, tag = "1")]
    offset: u64,
    #[prost(uint32, optional, tag = "2")]
    leader_epoch: Option<u32>,
    #[prost(string, tag = "3")]
    metadata: String,
    #[prost(sint64, tag = "4")]
    committed_at_ms: i64,
}

impl Record {
    /// The bytes to store: key, and value or tombstone.
    pub fn encode(&self) -> (Bytes, Option<Bytes>) {
        let (kind, member, partition, value) = match self {
            Self::Group { value, .. } => (Kind::Group, None, None, value.as_ref().map(encode_group)),
            Self::Member { member, value, .. } => {
                (Kind::Member, Some(member), None, value.as_ref().map(encode_member))
            }
            Self::Target { member, value, .. } => {
                let stored = |target| StoredTarget { partitions: by_topic(target) }.encode_to_vec();
                (Kind::Target, Some(member), None, value.as_ref().map(stored))
            }
            Self::Current { member, value, .. } => {
                (Kind::Current, Some(member), None, value.as_ref().map(encode_current))
            }
            Self::Committed { partition, value, .. } => {
                (Kind::Committed, None, Some(partition), value.as_ref().map(encode_committed))
            }
        };
        let key = Key {
            kind: kind.into(),
            group: self.group().to_string(),
            member: member.map(ToString::to_string).unwrap_or_default(),
            topic_id: partition.map(|at| id_bytes(at.topic_id)).unwrap_or_default(),
            partition: partition.map_or(0, |at| at.partition.0),
        };
        (key.encode_to_vec().into(), value.map(Bytes::from))
    }

    /// Reads what [`Record::encode`] wrote.
    ///
    /// # Errors
    /// [`DecodeError`]: the coordinator must not go on with this partition of `__groups`, since it would lack
    /// a fact.
    pub fn decode(key: &[u8], value: Option<&[u8]>) -> Result<Self, DecodeError> {
        let key: Key = canonical(key)?;
        let group = GroupName::stored(&key.group).map_err(|error| damaged(&error))?;
        let member = || MemberId::stored(&key.member).map_err(|error| damaged(&error));
        Ok(match Kind::try_from(key.kind).map_err(|_| DecodeError::NewerVersion)? {
            Kind::Unknown => return Err(DecodeError::NewerVersion),
            Kind::Group => Self::Group { group, value: value.map(decode_group).transpose()? },
            Kind::Member => {
                Self::Member { group, member: member()?, value: value.map(decode_member).transpose()? }
            }
            Kind::Target => {
                Self::Target { group, member: member()?, value: value.map(decode_target).transpose()? }
            }
            Kind::Current => {
                Self::Current { group, member: member()?, value: value.map(decode_current).transpose()? }
            }
            Kind::Committed => {
                let partition = TopicPartition {
                    topic_id: topic_id(&key.topic_id)?,
                    partition: PartitionIndex(key.partition),
                };
                Self::Committed { group, partition, value: value.map(decode_committed).transpose()? }
            }
        })
    }
}

/// Reads a message and refuses what would not be written again as it was: unknown fields are skipped by the
/// decoder, so what does not come back unchanged holds something that this version does not know.
fn canonical<M: Message + Default>(bytes: &[u8]) -> Result<M, DecodeError> {
    let message = M::decode(bytes).map_err(|error| damaged(&error))?;
    if message.encoded_len() != bytes.len() || message.encode_to_vec() != bytes {
        return Err(DecodeError::NewerVersion);
    }
    Ok(message)
}

fn damaged(what: &dyn std::fmt::Display) -> DecodeError {
    DecodeError::Damaged(what.to_string())
}

fn encode_group(state: &GroupState) -> Vec<u8> {
    let GroupState { epoch, assignor, empty_since } = state;
    StoredGroup {
        epoch: epoch.0,
        assignor: assignor.to_string(),
        empty_since_ms: empty_since.map(|since| since.0),
    }
    .encode_to_vec()
}

fn decode_group(bytes: &[u8]) -> Result<GroupState, DecodeError> {
    let stored: StoredGroup = canonical(bytes)?;
    let assignor: Assignor = stored.assignor.parse().map_err(|_| DecodeError::NewerVersion)?;
    let empty_since = stored.empty_since_ms.map(TimestampMs);
    Ok(GroupState { epoch: GroupEpoch(stored.epoch), assignor, empty_since })
}

fn encode_member(spec: &MemberSpec) -> Vec<u8> {
    StoredMember {
        instance: spec.instance.as_ref().map(ToString::to_string),
        client_id: spec.client_id.to_string(),
        client_address: spec.client_address.to_string(),
        topics: spec.subscription.topics.iter().map(ToString::to_string).collect(),
        pattern: spec.subscription.pattern.as_ref().map(|pattern| pattern.as_str().to_owned()),
        session_timeout_ms: spec.session_timeout_ms,
        rebalance_timeout_ms: spec.rebalance_timeout_ms,
        joined_at_ms: spec.joined_at.0,
    }
    .encode_to_vec()
}

fn decode_member(bytes: &[u8]) -> Result<MemberSpec, DecodeError> {
    let stored: StoredMember = canonical(bytes)?;
    let instance = stored.instance.as_deref().map(InstanceId::stored).transpose();
    let topics = stored.topics.iter().map(|name| TopicName::new(name)).collect::<Result<_, _>>();
    let pattern = stored.pattern.as_deref().map(Pattern::new).transpose();
    Ok(MemberSpec {
        instance: instance.map_err(|error| damaged(&error))?,
        client_id: stored.client_id.into(),
        client_address: stored.client_address.into(),
        subscription: Subscription {
            topics: topics.map_err(|error| damaged(&error))?,
            pattern: pattern.map_err(|error| damaged(&error))?,
        },
        session_timeout_ms: stored.session_timeout_ms,
        rebalance_timeout_ms: stored.rebalance_timeout_ms,
        joined_at: TimestampMs(stored.joined_at_ms),
    })
}

fn decode_target(bytes: &[u8]) -> Result<BTreeSet<TopicPartition>, DecodeError> {
    let stored: StoredTarget = canonical(bytes)?;
    let mut target = BTreeSet::new();
    for StoredPartitions { topic_id: id, partitions, .. } in stored.partitions {
        let topic_id = topic_id(&id)?;
        target.extend(partitions.into_iter().map(|index| at(topic_id, index)));
    }
    Ok(target)
}

fn encode_current(current: &Current) -> Vec<u8> {
    StoredCurrent {
        epoch: current.epoch.0,
        assigned: by_topic_since(&current.assigned),
        revoking: by_topic_since(&current.revoking),
    }
    .encode_to_vec()
}

fn decode_current(bytes: &[u8]) -> Result<Current, DecodeError> {
    let stored: StoredCurrent = canonical(bytes)?;
    Ok(Current {
        epoch: MemberEpoch(stored.epoch),
        assigned: partitions_since(stored.assigned)?,
        revoking: partitions_since(stored.revoking)?,
    })
}

fn encode_committed(committed: &Committed) -> Vec<u8> {
    StoredCommitted {
        offset: committed.offset.get(),
        leader_epoch: committed.leader_epoch.map(LeaderEpoch::get),
        metadata: committed.metadata.to_string(),
        committed_at_ms: committed.committed_at.0,
    }
    .encode_to_vec()
}

fn decode_committed(bytes: &[u8]) -> Result<Committed, DecodeError> {
    let stored: StoredCommitted = canonical(bytes)?;
    let no_epoch = |epoch: u32| damaged(&format_args!("leader epoch {epoch}"));
    Ok(Committed {
        offset: Offset::try_from(stored.offset).map_err(|error| damaged(&error))?,
        leader_epoch: stored
            .leader_epoch
            .map(|epoch| LeaderEpoch::new(epoch).ok_or_else(|| no_epoch(epoch)))
            .transpose()?,
        metadata: stored.metadata.into(),
        committed_at: TimestampMs(stored.committed_at_ms),
    })
}

fn at(topic_id: TopicId, index: u32) -> TopicPartition {
    TopicPartition { topic_id, partition: PartitionIndex(index) }
}

fn id_bytes(id: TopicId) -> Bytes {
    Bytes::copy_from_slice(&id.to_bytes())
}

fn topic_id(bytes: &Bytes) -> Result<TopicId, DecodeError> {
    let sixteen = bytes[..].try_into();
    sixteen
        .map(TopicId::from_bytes)
        .map_err(|_| damaged(&format_args!("an id of {} bytes, not 16", bytes.len())))
}

fn by_topic(partitions: &BTreeSet<TopicPartition>) -> Vec<StoredPartitions> {
    let mut topics: BTreeMap<TopicId, StoredPartitions> = BTreeMap::new();
    for at in partitions {
        let stored = topics.entry(at.topic_id).or_default();
        stored.partitions.push(at.partition.0);
    }
    with_ids(topics)
}

fn by_topic_since(partitions: &BTreeMap<TopicPartition, MemberEpoch>) -> Vec<StoredPartitions> {
    let mut topics: BTreeMap<TopicId, StoredPartitions> = BTreeMap::new();
    for (at, since) in partitions {
        let stored = topics.entry(at.topic_id).or_default();
        stored.partitions.push(at.partition.0);
        stored.since.push(since.0);
    }
    with_ids(topics)
}

fn with_ids(topics: BTreeMap<TopicId, StoredPartitions>) -> Vec<StoredPartitions> {
    topics.into_iter().map(|(id, stored)| StoredPartitions { topic_id: id_bytes(id), ..stored }).collect()
}

fn partitions_since(
    stored: Vec<StoredPartitions>,
) -> Result<BTreeMap<TopicPartition, MemberEpoch>, DecodeError> {
    let mut all = BTreeMap::new();
    for StoredPartitions { topic_id: id, partitions, since } in stored {
        let topic_id = topic_id(&id)?;
        if partitions.len() != since.len() {
            return Err(damaged(&format_args!(
                "{} partitions since {} epochs",
                partitions.len(),
                since.len()
            )));
        }
        let since = since.into_iter().map(MemberEpoch);
        all.extend(partitions.into_iter().map(|index| at(topic_id, index)).zip(since));
    }
    Ok(all)
}
