//! What the client remembers of topics: id, partitions, size limit.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use corduroy_api::{Refusal, topic_id_from_wire, v1};
use corduroy_types::{ErrorCode, MIB, PartitionIndex, TopicId, TopicName, nearest, parse_byte_size};
use parking_lot::RwLock;
use tokio::time::Instant;
use v1::admin_client::AdminClient;

use crate::{
    ClientError,
    client::{Repeat, Shared},
};

/// After this long a topic is looked up again, to notice partitions that were added (Kafka:
/// `metadata.max.age.ms`).
pub(crate) const TOPIC_AGE_MAX: Duration = Duration::from_mins(5);

/// What a broker uses where it does not say (Kafka's default).
const MAX_MESSAGE_BYTES_DEFAULT: u64 = MIB;

/// What was learned about a topic.
#[derive(Debug, Clone)]
pub(crate) struct TopicInfo {
    pub(crate) name: TopicName,
    pub(crate) id: Option<TopicId>,
    pub(crate) partition_count: u32,
    /// The most bytes of one record batch.
    pub(crate) max_message_bytes: u32,
    pub(crate) learned_at: Instant,
}

impl TopicInfo {
    /// The id as requests carry it.
    pub(crate) fn wire_id(&self) -> Bytes {
        self.id.map_or_else(Bytes::new, |id| Bytes::copy_from_slice(&id.to_bytes()))
    }

    /// All partitions of the topic.
    pub(crate) fn partitions(&self) -> impl Iterator<Item = PartitionIndex> {
        (0..self.partition_count).map(PartitionIndex)
    }
}

/// Topics that were looked up.
#[derive(Debug, Default)]
pub(crate) struct TopicCache {
    topics: RwLock<HashMap<TopicName, Arc<TopicInfo>>>,
}

impl Shared {
    /// A topic from the cache, while it is fresh, or from the broker.
    pub(crate) async fn topic(&self, name: &TopicName) -> Result<Arc<TopicInfo>, ClientError> {
        let known = self.topics.topics.read().get(name).cloned();
        match known {
            Some(info) if info.learned_at.elapsed() < TOPIC_AGE_MAX => Ok(info),
            _ => self.refresh_topic(name).await,
        }
    }

    /// A topic from the broker.
    pub(crate) async fn refresh_topic(&self, name: &TopicName) -> Result<Arc<TopicInfo>, ClientError> {
        let learned_at = Instant::now();
        let answer = self
            .control(Repeat::Reads, |channel| {
                let request = v1::DescribeTopicsRequest { names: vec![name.to_string()] };
                async move { AdminClient::new(channel).describe_topics(request).await }
            })
            .await?;
        let described = answer.topics.into_iter().next();
        let Some(described) = described else {
            return Err(ClientError::unexpected("the broker described no topic where it was asked for one"));
        };
        match described.error {
            None => {
                let info = Arc::new(read_info(name.clone(), &described, learned_at)?);
                self.topics.topics.write().insert(name.clone(), Arc::clone(&info));
                Ok(info)
            }
            Some(error) => {
                self.topics.topics.write().remove(name);
                Err(self.with_suggestion(name, error.into()).await)
            }
        }
    }

    /// Adds the nearest existing name to the hint of an unknown topic.
    pub(crate) async fn with_suggestion(&self, name: &TopicName, refusal: Refusal) -> ClientError {
        if refusal.code != ErrorCode::TopicNotFound || refusal.hint.contains("did you mean") {
            return refusal.into();
        }
        let list = self.control(Repeat::Reads, |channel| async move {
            AdminClient::new(channel).list_topics(v1::ListTopicsRequest { include_internal: false }).await
        });
        // The lookup has failed already; without the list it fails with a plainer hint.
        let names = list.await.map(|answer| answer.topics).unwrap_or_default();
        match nearest(name.as_str(), names.iter().map(|topic| topic.name.as_str())) {
            Some(near) => {
                let hint = format!("did you mean {near:?}? {}", refusal.hint);
                refusal.with_hint(hint).into()
            }
            None => refusal.into(),
        }
    }
}

fn read_info(
    name: TopicName,
    described: &v1::DescribedTopic,
    learned_at: Instant,
) -> Result<TopicInfo, ClientError> {
    let partition_count = u32::try_from(described.partitions.len()).unwrap_or(u32::MAX);
    if partition_count == 0 {
        return Err(ClientError::unexpected(format!("the broker described topic {name} without partitions")));
    }
    let limit = described
        .configs
        .iter()
        .find(|config| config.key == "max.message.bytes")
        .and_then(|config| parse_byte_size(&config.value).ok())
        .unwrap_or(MAX_MESSAGE_BYTES_DEFAULT);
    Ok(TopicInfo {
        name,
        id: topic_id_from_wire(&described.topic_id).map_err(Refusal::from)?,
        partition_count,
        max_message_bytes: u32::try_from(limit).unwrap_or(u32::MAX),
        learned_at,
    })
}

/// Reads a name that a user gave.
pub(crate) fn topic_name(name: &str) -> Result<TopicName, ClientError> {
    TopicName::new(name).map_err(|e| ClientError::new(ErrorCode::InvalidTopicName, e.to_string()))
}
