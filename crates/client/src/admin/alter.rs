//! Changing and deleting topics and their records.

use corduroy_api::{Refusal, topic_id_from_wire, v1};
use corduroy_types::{Offset, PartitionIndex, TopicId};
use v1::admin_client::AdminClient;

use super::{Admin, DamagedRange, change, item_error, offset, same_count};
use crate::ClientError;

change! {
    /// The deletion of topics; awaiting it sends it. Made by [`Admin::delete_topics`].
    DeleteTopics, v1::DeleteTopicsRequest, control: AdminClient::delete_topics -> v1::DeleteTopicsResponse,
    Result<Vec<Result<DeletedTopic, ClientError>>, ClientError>
}

change! {
    /// The growth of a topic; awaiting it sends it. Made by [`Admin::add_partitions`].
    AddPartitions, v1::AddPartitionsRequest, control: AdminClient::add_partitions -> v1::AddPartitionsResponse,
    Result<AddedPartitions, ClientError>
}

change! {
    /// A change of topic configs, all or none; awaiting it sends it. Made by [`Admin::alter_topic_configs`].
    AlterTopicConfigs, v1::AlterTopicConfigsRequest, control: AdminClient::alter_topic_configs -> v1::AlterTopicConfigsResponse,
    Result<Vec<ConfigChange>, ClientError>
}

change! {
    /// The deletion of records; awaiting it sends it. Made by [`Admin::delete_records`].
    DeleteRecords, v1::DeleteRecordsRequest, control: AdminClient::delete_records -> v1::DeleteRecordsResponse,
    Result<Vec<Result<DeletedRecords, ClientError>>, ClientError>
}

change! {
    /// The giving up of records that cannot be read; awaiting it sends it. Made by [`Admin::recover_partition`].
    RecoverPartition, v1::RecoverPartitionRequest, control: AdminClient::recover_partition -> v1::RecoverPartitionResponse,
    Result<Vec<DamagedRange>, ClientError>
}

/// A topic that was deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletedTopic {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: Option<TopicId>,
    /// Bytes of all its segments.
    pub stored_bytes: u64,
    /// Records that could be read, over all partitions: counted where compaction has left offsets without one.
    pub record_count: u64,
}

/// How a topic grew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddedPartitions {
    /// How many partitions it had.
    pub previous_partition_count: u32,
    /// How many it has.
    pub partition_count: u32,
}

/// What became of one topic config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigChange {
    /// Its key.
    pub key: String,
    /// The value before.
    pub previous_value: String,
    /// The value after.
    pub value: String,
    /// What it will do, where that can be foreseen; else empty.
    pub effect: String,
}

/// What became of one partition's log start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeletedRecords {
    /// Which partition.
    pub partition: PartitionIndex,
    /// The first offset that can be read afterwards.
    pub log_start: Offset,
    /// How many offsets it moved by. Where compaction has left offsets without a record, fewer records were deleted.
    pub deleted_offset_count: u64,
}

impl Admin {
    /// Deletes topics and all their records, each with its own result, in the order given.
    ///
    /// # Errors
    /// Of the whole call when it got no answer: whether topics are gone is then unknown. Of an item:
    /// `TOPIC_NOT_FOUND`, or `INVALID_REQUEST` for the broker's own topics.
    pub fn delete_topics<T: AsRef<str>>(&self, names: impl IntoIterator<Item = T>) -> DeleteTopics {
        let names = names.into_iter().map(|name| name.as_ref().to_owned()).collect();
        DeleteTopics {
            client: self.client.clone(),
            request: v1::DeleteTopicsRequest { names, validate_only: false },
        }
    }

    /// Grows a topic to `partition_count` partitions in all. Keys then map to other partitions than before.
    ///
    /// # Errors
    /// `TOPIC_NOT_FOUND`; `INVALID_PARTITION_COUNT` when it is not more than there are.
    pub fn add_partitions(&self, topic: impl Into<String>, partition_count: u32) -> AddPartitions {
        AddPartitions {
            client: self.client.clone(),
            request: v1::AddPartitionsRequest { topic: topic.into(), partition_count, validate_only: false },
        }
    }

    /// Sets and unsets configs of a topic, all or none.
    ///
    /// # Errors
    /// `TOPIC_NOT_FOUND`; `UNKNOWN_CONFIG_KEY` with the nearest key as its hint; `INVALID_CONFIG_VALUE`.
    pub fn alter_topic_configs(&self, topic: impl Into<String>) -> AlterTopicConfigs {
        AlterTopicConfigs {
            client: self.client.clone(),
            request: v1::AlterTopicConfigsRequest {
                topic: topic.into(),
                ..v1::AlterTopicConfigsRequest::default()
            },
        }
    }

    /// Raises the log start of partitions: records below the offset given for each can no longer be read. Each
    /// partition has its own result, in the order given.
    ///
    /// # Errors
    /// `TOPIC_NOT_FOUND`. Of an item: `PARTITION_NOT_FOUND`, `OFFSET_OUT_OF_RANGE` above the high watermark.
    pub fn delete_records(
        &self,
        topic: impl Into<String>,
        before: impl IntoIterator<Item = (PartitionIndex, Offset)>,
    ) -> DeleteRecords {
        let partitions = before
            .into_iter()
            .map(|(partition, offset)| v1::DeleteRecordsPartition {
                partition: partition.0,
                before_offset: offset.get(),
            })
            .collect();
        DeleteRecords {
            client: self.client.clone(),
            request: v1::DeleteRecordsRequest { topic: topic.into(), partitions, validate_only: false },
        }
    }

    /// Gives up the records of a partition that cannot be read because stored bytes are damaged: those are lost for
    /// good, all others keep their offsets, and reads pass over the gap. Returns what was given up, as far as damage
    /// is known; with [`RecoverPartition::validate_only`] what would be.
    ///
    /// # Errors
    /// `TOPIC_NOT_FOUND`, `PARTITION_NOT_FOUND`; `STORAGE_FAILED`: check the disk, then try again.
    pub fn recover_partition(&self, topic: impl Into<String>, partition: PartitionIndex) -> RecoverPartition {
        let (topic, partition) = (topic.into(), partition.0);
        RecoverPartition {
            client: self.client.clone(),
            request: v1::RecoverPartitionRequest { topic, partition, validate_only: false },
        }
    }
}

impl RecoverPartition {
    async fn send(self) -> Result<Vec<DamagedRange>, ClientError> {
        let v1::RecoverPartitionResponse { given_up } = self.call().await?;
        Ok(given_up.into_iter().map(super::cluster::damaged_range).collect())
    }
}

impl DeleteTopics {
    async fn send(self) -> Result<Vec<Result<DeletedTopic, ClientError>>, ClientError> {
        let answer = self.call().await?;
        let topics = same_count(self.request.names.len(), answer.topics)?;
        Ok(topics.into_iter().map(read_deleted).collect())
    }
}

impl AddPartitions {
    async fn send(self) -> Result<AddedPartitions, ClientError> {
        let v1::AddPartitionsResponse { previous_partition_count, partition_count } = self.call().await?;
        Ok(AddedPartitions { previous_partition_count, partition_count })
    }
}

impl AlterTopicConfigs {
    /// Sets a config: Kafka's dotted key, and the value as people write it, like `("retention.ms", "7d")`.
    pub fn set(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.request.set.push(v1::ConfigEntry { key: key.into(), value: value.into() });
        self
    }

    /// Puts a config back to its default.
    pub fn unset(mut self, key: impl Into<String>) -> Self {
        self.request.unset.push(key.into());
        self
    }

    async fn send(self) -> Result<Vec<ConfigChange>, ClientError> {
        let read = |change: v1::ConfigChange| {
            let v1::ConfigChange { key, previous_value, value, effect } = change;
            ConfigChange { key, previous_value, value, effect }
        };
        Ok(self.call().await?.changes.into_iter().map(read).collect())
    }
}

impl DeleteRecords {
    async fn send(self) -> Result<Vec<Result<DeletedRecords, ClientError>>, ClientError> {
        let answer = self.call().await?;
        let partitions = same_count(self.request.partitions.len(), answer.partitions)?;
        Ok(partitions.into_iter().map(read_deleted_records).collect())
    }
}

fn read_deleted(deleted: v1::DeletedTopic) -> Result<DeletedTopic, ClientError> {
    let v1::DeletedTopic { error, name, topic_id, stored_bytes, record_count } = deleted;
    item_error(error)?;
    let id = topic_id_from_wire(&topic_id).map_err(Refusal::from)?;
    Ok(DeletedTopic { name, id, stored_bytes, record_count })
}

fn read_deleted_records(deleted: v1::DeletedRecords) -> Result<DeletedRecords, ClientError> {
    let v1::DeletedRecords { partition, error, log_start, deleted_offset_count } = deleted;
    item_error(error)?;
    Ok(DeletedRecords {
        partition: PartitionIndex(partition),
        log_start: offset("log start", log_start)?,
        deleted_offset_count,
    })
}
