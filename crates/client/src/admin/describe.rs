//! Listing and describing topics.

use corduroy_api::{Refusal, topic_id_from_wire, v1};
use corduroy_types::{BrokerId, LeaderEpoch, Offset, PartitionIndex, TimestampMs, TopicId, TopicName};
use v1::admin_client::AdminClient;

use super::{Admin, leader_epoch, offset, same_count};
use crate::{ClientError, client::Repeat, topics::topic_name};

/// One line of a list of topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSummary {
    /// Its name.
    pub name: TopicName,
    /// Its id.
    pub id: Option<TopicId>,
    /// How many partitions it has.
    pub partition_count: u32,
    /// On how many brokers each is kept.
    pub replication: u32,
    /// Whether it is one of the broker's own.
    pub internal: bool,
    /// Bytes of all its segments on the broker that answered.
    pub stored_bytes: u64,
    /// Records that can be read, over all partitions: counted where compaction has left offsets without one.
    pub record_count: u64,
}

/// All about a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicDescription {
    /// Its name.
    pub name: TopicName,
    /// Its id.
    pub id: Option<TopicId>,
    /// Whether it is one of the broker's own.
    pub internal: bool,
    /// On how many brokers each partition is kept.
    pub replication: u32,
    /// When it was created.
    pub created_at: TimestampMs,
    /// Its partitions, in order.
    pub partitions: Vec<PartitionDescription>,
    /// Every config key, set or not, ordered by key.
    pub configs: Vec<TopicConfig>,
}

/// All about a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionDescription {
    /// Which partition.
    pub partition: PartitionIndex,
    /// The broker that leads it.
    pub leader: BrokerId,
    /// The number of its leadership.
    pub leader_epoch: LeaderEpoch,
    /// The brokers that keep it.
    pub replicas: Vec<BrokerId>,
    /// Those of them that keep up.
    pub in_sync_replicas: Vec<BrokerId>,
    /// The first offset that can be read.
    pub log_start: Offset,
    /// The end of what can be read, exclusive.
    pub high_watermark: Offset,
    /// The end of the leader's log, exclusive.
    pub log_end: Offset,
    /// How many segments it has.
    pub segment_count: u32,
    /// Bytes of its segments.
    pub stored_bytes: u64,
    /// Records that can be read: counted where compaction has left offsets without one.
    pub record_count: u64,
    /// What keeps retention by time from going on, if a record of the future does.
    pub retention_block: Option<RetentionBlock>,
    /// Why it cannot be written or read as it should, if so.
    pub error: Option<ClientError>,
}

/// A segment that retention by time keeps, with all behind it, because a record in it has a timestamp in the future.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionBlock {
    /// The offset at which it begins.
    pub segment_start: Offset,
    /// Its greatest timestamp.
    pub newest: TimestampMs,
    /// When it expires.
    pub until: TimestampMs,
}

/// One topic config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicConfig {
    /// Kafka's dotted name, like `retention.ms`.
    pub key: String,
    /// Its value as people write it: `7d`, `256MiB`.
    pub value: String,
    /// What it is where no one sets it.
    pub default_value: String,
    /// Where the value comes from.
    pub source: ConfigSource,
}

/// Where a topic config's value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigSource {
    /// Built in.
    Default,
    /// The broker's defaults when the topic was created, or the topic's own config since.
    Topic,
}

impl Admin {
    /// Lists topics, ordered by name, without the broker's own.
    ///
    /// # Errors
    /// `UNAVAILABLE`, `TIMED_OUT`, `STARTING`: retry later.
    pub async fn list_topics(&self) -> Result<Vec<TopicSummary>, ClientError> {
        self.list(false).await
    }

    /// Lists topics, ordered by name, and the broker's own with them.
    ///
    /// # Errors
    /// As [`Admin::list_topics`].
    pub async fn list_all_topics(&self) -> Result<Vec<TopicSummary>, ClientError> {
        self.list(true).await
    }

    async fn list(&self, include_internal: bool) -> Result<Vec<TopicSummary>, ClientError> {
        let answer = self
            .client
            .shared
            .control(Repeat::Reads, |channel| async move {
                AdminClient::new(channel).list_topics(v1::ListTopicsRequest { include_internal }).await
            })
            .await?;
        answer.topics.into_iter().map(read_summary).collect()
    }

    /// Describes topics, each with its own result, in the order given.
    ///
    /// # Errors
    /// Of the whole call when it got no answer. Of an item: `TOPIC_NOT_FOUND`, with the nearest name as its hint.
    pub async fn describe_topics<T: AsRef<str>>(
        &self,
        names: impl IntoIterator<Item = T>,
    ) -> Result<Vec<Result<TopicDescription, ClientError>>, ClientError> {
        let names: Vec<String> = names.into_iter().map(|name| name.as_ref().to_owned()).collect();
        let answer = self
            .client
            .shared
            .control(Repeat::Reads, |channel| {
                let request = v1::DescribeTopicsRequest { names: names.clone() };
                async move { AdminClient::new(channel).describe_topics(request).await }
            })
            .await?;
        let mut items = Vec::with_capacity(names.len());
        for (name, described) in names.iter().zip(same_count(names.len(), answer.topics)?) {
            items.push(match (&described.error, topic_name(name)) {
                (Some(error), Ok(name)) => {
                    Err(self.client.shared.with_suggestion(&name, error.clone().into()).await)
                }
                (Some(error), Err(_)) => Err(Refusal::from(error.clone()).into()),
                (None, _) => read_described(described),
            });
        }
        Ok(items)
    }

    /// Describes one topic.
    ///
    /// # Errors
    /// `TOPIC_NOT_FOUND`, with the nearest name as its hint; or as [`Admin::list_topics`].
    pub async fn describe_topic(&self, name: impl AsRef<str>) -> Result<TopicDescription, ClientError> {
        let items = self.describe_topics([name.as_ref()]).await?;
        items.into_iter().next().unwrap_or_else(|| Err(ClientError::unexpected("no topic was described")))
    }
}

fn read_summary(summary: v1::TopicSummary) -> Result<TopicSummary, ClientError> {
    let v1::TopicSummary {
        name,
        topic_id,
        partition_count,
        replication,
        internal,
        stored_bytes,
        record_count,
    } = summary;
    let id = topic_id_from_wire(&topic_id).map_err(Refusal::from)?;
    let name = topic_name(&name)?;
    Ok(TopicSummary { name, id, partition_count, replication, internal, stored_bytes, record_count })
}

fn read_described(described: v1::DescribedTopic) -> Result<TopicDescription, ClientError> {
    let v1::DescribedTopic {
        error: _,
        name,
        topic_id,
        internal,
        replication,
        created_at_ms,
        partitions,
        configs,
    } = described;
    Ok(TopicDescription {
        name: topic_name(&name)?,
        id: topic_id_from_wire(&topic_id).map_err(Refusal::from)?,
        internal,
        replication,
        created_at: TimestampMs(created_at_ms),
        partitions: partitions.into_iter().map(read_partition).collect::<Result<_, _>>()?,
        configs: read_configs(configs),
    })
}

fn read_partition(described: v1::DescribedPartition) -> Result<PartitionDescription, ClientError> {
    let v1::DescribedPartition {
        partition,
        leader,
        leader_epoch: epoch,
        replicas,
        in_sync_replicas,
        log_start,
        high_watermark,
        log_end,
        segment_count,
        stored_bytes,
        error,
        record_count,
        retention_block,
    } = described;
    Ok(PartitionDescription {
        partition: PartitionIndex(partition),
        leader: BrokerId(leader),
        leader_epoch: leader_epoch(epoch)?,
        replicas: replicas.into_iter().map(BrokerId).collect(),
        in_sync_replicas: in_sync_replicas.into_iter().map(BrokerId).collect(),
        log_start: offset("log start", log_start)?,
        high_watermark: offset("high watermark", high_watermark)?,
        log_end: offset("log end", log_end)?,
        segment_count,
        stored_bytes,
        record_count,
        retention_block: retention_block.map(read_block).transpose()?,
        error: error.map(|error| Refusal::from(error).into()),
    })
}

fn read_block(block: v1::RetentionBlock) -> Result<RetentionBlock, ClientError> {
    let v1::RetentionBlock { segment_start, timestamp_ms, until_ms } = block;
    Ok(RetentionBlock {
        segment_start: offset("segment start", segment_start)?,
        newest: TimestampMs(timestamp_ms),
        until: TimestampMs(until_ms),
    })
}

pub(super) fn read_configs(configs: Vec<v1::TopicConfig>) -> Vec<TopicConfig> {
    let read = |config: v1::TopicConfig| {
        let source = match config.source() {
            v1::ConfigSource::Topic => ConfigSource::Topic,
            v1::ConfigSource::Default | v1::ConfigSource::Unspecified => ConfigSource::Default,
        };
        let v1::TopicConfig { key, value, default_value, source: _ } = config;
        TopicConfig { key, value, default_value, source }
    };
    configs.into_iter().map(read).collect()
}
