//! Between the wire and the coordinator's words.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use corduroy_api::{Refusal, topic_id_from_wire, topic_name_from_wire, v1};
use corduroy_group::{
    Assignor, GroupActivity, GroupName, InstanceId, InvalidName, Join, MemberId, NAME_BYTES_MAX, Pattern,
    Subscription, TopicPartition,
};
use corduroy_types::{ErrorCode, PartitionIndex, TopicId, hidden_character};

use super::super::lookup;
use crate::engine::Engine;

pub(super) fn invalid(text: impl std::fmt::Display) -> Refusal {
    Refusal::new(ErrorCode::InvalidRequest, text.to_string())
}

pub(super) fn group_name(name: &str) -> Result<GroupName, Refusal> {
    GroupName::new(name).map_err(|error: InvalidName| invalid(error))
}

pub(super) fn member_id(member: &str) -> Result<MemberId, Refusal> {
    MemberId::new(member).map_err(|error: InvalidName| invalid(error))
}

/// What a member says of itself when it joins from `client_address`.
pub(super) fn join(join: v1::JoinGroup, client_address: &str) -> Result<Join, Refusal> {
    let v1::JoinGroup {
        subscription: wanted,
        instance,
        client_id,
        assignor,
        session_timeout_ms,
        rebalance_timeout_ms,
        again,
    } = join;
    if client_id.len() > NAME_BYTES_MAX {
        let got = client_id.len();
        return Err(invalid(format!("a client_id has at most {NAME_BYTES_MAX} bytes, this one has {got}")));
    }
    check_shown("client_id", &client_id)?;
    let instance = (!instance.is_empty()).then(|| InstanceId::new(&instance)).transpose();
    let assignor = (!assignor.is_empty()).then(|| assignor.parse::<Assignor>()).transpose();
    Ok(Join {
        instance: instance.map_err(invalid)?,
        again,
        client_id: client_id.into(),
        client_address: client_address.into(),
        subscription: subscription(wanted.unwrap_or_default())?,
        assignor: assignor.map_err(invalid)?,
        session_timeout_ms: (session_timeout_ms > 0).then_some(session_timeout_ms),
        rebalance_timeout_ms: (rebalance_timeout_ms > 0).then_some(rebalance_timeout_ms),
    })
}

/// Refuses a text that is shown elsewhere and holds a character that is not seen.
fn check_shown(what: &str, text: &str) -> Result<(), Refusal> {
    match hidden_character(text) {
        Some(character) => Err(invalid(format!(
            "a {what} must not hold the character U+{:04X}, which is not shown",
            u32::from(character)
        ))),
        None => Ok(()),
    }
}

pub(super) fn subscription(wanted: v1::Subscription) -> Result<Subscription, Refusal> {
    let v1::Subscription { topics, pattern } = wanted;
    let mut names = BTreeSet::new();
    for topic in topics {
        let name = topic_name_from_wire(&topic)?;
        if name.is_internal() {
            let text = format!("topic {name} belongs to the broker: groups cannot subscribe to it");
            return Err(Refusal::new(ErrorCode::InvalidTopicName, text));
        }
        names.insert(name);
    }
    check_shown("pattern", &pattern)?;
    let pattern = (!pattern.is_empty()).then(|| Pattern::new(&pattern)).transpose().map_err(invalid)?;
    Ok(Subscription { topics: names, pattern })
}

pub(super) fn subscription_to_wire(subscription: &Subscription) -> v1::Subscription {
    v1::Subscription {
        topics: subscription.topics.iter().map(ToString::to_string).collect(),
        pattern: subscription.pattern.as_ref().map(|pattern| pattern.as_str().to_owned()).unwrap_or_default(),
    }
}

/// One partition that exists, by the topic's name and, where it is given, its id.
pub(super) fn partition(
    engine: &Engine,
    topic: &str,
    topic_id: &bytes::Bytes,
    partition: u32,
) -> Result<TopicPartition, Refusal> {
    let topic = lookup::topic(engine, topic, topic_id)?;
    let partition = lookup::partition(&topic, partition)?;
    Ok(TopicPartition { topic_id: topic.id(), partition })
}

/// What a member says it has. What is of topics that are gone is gone with them.
pub(super) fn owned(
    engine: &Engine,
    topics: Vec<v1::TopicPartitions>,
) -> Result<BTreeSet<TopicPartition>, Refusal> {
    let known = engine.replicas().topics();
    let mut owned = BTreeSet::new();
    for v1::TopicPartitions { topic, topic_id, partitions } in topics {
        let topic = match topic_id_from_wire(&topic_id)? {
            Some(id) => known.by_id(id),
            None => known.get(&topic_name_from_wire(&topic)?),
        };
        // No more than there are, whatever is claimed.
        let Some((id, count)) = topic.map(|topic| (topic.id(), topic.partition_count())) else { continue };
        let there = partitions.into_iter().filter(|index| *index < count);
        let at = |index| TopicPartition { topic_id: id, partition: PartitionIndex(index) };
        owned.extend(there.map(at));
    }
    Ok(owned)
}

/// Partitions by topic, ordered by the topics' names; those of topics that are gone are left out.
pub(super) fn topic_partitions<'a>(
    engine: &Engine,
    partitions: impl IntoIterator<Item = &'a TopicPartition>,
) -> Vec<v1::TopicPartitions> {
    let topics = engine.replicas().topics();
    let mut by_topic: BTreeMap<TopicId, Vec<u32>> = BTreeMap::new();
    for at in partitions {
        by_topic.entry(at.topic_id).or_default().push(at.partition.0);
    }
    let mut all: Vec<_> = by_topic
        .into_iter()
        .filter_map(|(id, partitions)| {
            let topic = topics.by_id(id)?.name().to_string();
            Some(v1::TopicPartitions { topic, topic_id: id_to_wire(id), partitions })
        })
        .collect();
    all.sort_by(|a, b| a.topic.cmp(&b.topic));
    all
}

pub(super) fn id_to_wire(id: TopicId) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(&id.to_bytes())
}

pub(super) fn state_to_wire(activity: GroupActivity) -> v1::GroupState {
    match activity {
        GroupActivity::Empty => v1::GroupState::Empty,
        GroupActivity::Stable => v1::GroupState::Stable,
        GroupActivity::Rebalancing => v1::GroupState::Rebalancing,
    }
}

pub(super) fn metadata(metadata: String) -> Arc<str> {
    metadata.into()
}
