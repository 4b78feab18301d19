//! From names on the wire to topics and replicas here.

use std::sync::Arc;

use bytes::Bytes;
use corduroy_api::{Refusal, topic_id_from_wire, topic_name_from_wire};
use corduroy_types::{ErrorCode, PartitionIndex, nearest};

use crate::engine::{Engine, Replica, Topic, partition_not_found};

/// Finds a topic by name, and checks that it is the one the caller knew.
pub(super) fn topic(engine: &Engine, name: &str, topic_id: &Bytes) -> Result<Topic, Refusal> {
    let name = topic_name_from_wire(name)?;
    let topic = engine.replicas().topics().get(&name).ok_or_else(|| not_found(engine, name.as_str()))?;
    match topic_id_from_wire(topic_id)? {
        Some(id) if id != topic.id() => Err(Refusal::new(
            ErrorCode::TopicIdMismatch,
            format!("topic {name} has id {}, the request names {id}", topic.id()),
        )),
        _ => Ok(topic),
    }
}

/// `TOPIC_NOT_FOUND`, with the nearest name there is.
pub(super) fn not_found(engine: &Engine, name: &str) -> Refusal {
    let topics = engine.replicas().topics();
    let names: Vec<_> = topics.of_users().map(|topic| topic.name().clone()).collect();
    let hint = match nearest(name, names.iter().map(|name| name.as_str())) {
        Some(near) => format!("did you mean {near:?}?"),
        None => format!("create it: logctl topic create {name}"),
    };
    Refusal::new(ErrorCode::TopicNotFound, format!("topic {name:?} does not exist")).with_hint(hint)
}

/// Finds a topic that clients may change, which the broker's own ones are not.
pub(super) fn writable_topic(engine: &Engine, name: &str, topic_id: &Bytes) -> Result<Topic, Refusal> {
    let topic = topic(engine, name, topic_id)?;
    if topic.name().is_internal() {
        let text =
            format!("topic {name} belongs to the broker: clients can neither write nor delete its records");
        return Err(Refusal::new(ErrorCode::InvalidTopicName, text));
    }
    Ok(topic)
}

/// Checks that a topic has a partition. Any broker may lead it.
pub(super) fn partition(topic: &Topic, partition: u32) -> Result<PartitionIndex, Refusal> {
    let index = PartitionIndex(partition);
    topic.partition(index).map(|_| index).ok_or_else(|| partition_not_found(topic, index))
}

/// Finds a partition that this broker leads.
pub(super) fn replica(engine: &Engine, topic: &Topic, partition: u32) -> Result<Arc<Replica>, Refusal> {
    engine.replicas().leading_replica(topic, PartitionIndex(partition))
}
