//! Finding offsets.

use corduroy_api::v1;
use corduroy_types::{LeaderEpoch, Offset, PartitionIndex, TimestampMs, TopicName};
use v1::fetch_client::FetchClient;

use super::{Admin, item_error, leader_epoch, offset, same_count};
use crate::{
    ClientError,
    client::{Repeat, Shared},
    topics::topic_name,
};

/// A place in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OffsetSpec {
    /// The first offset that can be read.
    Start,
    /// The high watermark: behind the last record that can be read.
    End,
    /// That very offset.
    Offset(Offset),
    /// The first record whose timestamp is this one or later; the end where there is none.
    Time(TimestampMs),
    /// This many offsets before the end, but not before the start.
    BeforeEnd(u64),
    /// The record with the greatest timestamp; the end where there is none.
    MaxTimestamp,
}

impl OffsetSpec {
    pub(crate) fn to_wire(self) -> v1::OffsetSpec {
        use v1::offset_spec::Spec;
        let spec = match self {
            Self::Start => Spec::Start(true),
            Self::End => Spec::End(true),
            Self::Offset(offset) => Spec::Offset(offset.get()),
            Self::Time(time) => Spec::AtTimeMs(time.0),
            Self::BeforeEnd(count) => Spec::BeforeEnd(count),
            Self::MaxTimestamp => Spec::MaxTimestamp(true),
        };
        v1::OffsetSpec { spec: Some(spec) }
    }
}

/// An offset that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedOffset {
    /// Which topic.
    pub topic: TopicName,
    /// Which partition.
    pub partition: PartitionIndex,
    /// The offset that the place has.
    pub offset: Offset,
    /// The record's timestamp, where a time was asked for and a record was found.
    pub timestamp: Option<TimestampMs>,
    /// The partition's leader epoch.
    pub leader_epoch: LeaderEpoch,
}

impl Admin {
    /// Finds the offsets of places in partitions, each with its own result, in the order given.
    ///
    /// # Errors
    /// Of the whole call when it got no answer. Of an item: `TOPIC_NOT_FOUND`, `PARTITION_NOT_FOUND`.
    pub async fn list_offsets<T: AsRef<str>>(
        &self,
        places: impl IntoIterator<Item = (T, PartitionIndex, OffsetSpec)>,
    ) -> Result<Vec<Result<ListedOffset, ClientError>>, ClientError> {
        let places = places
            .into_iter()
            .map(|(topic, partition, spec)| v1::ListOffsetsPartition {
                topic: topic.as_ref().to_owned(),
                partition: partition.0,
                spec: Some(spec.to_wire()),
            })
            .collect();
        self.client.shared.list_offsets(places).await
    }
}

impl Shared {
    /// Looks offsets up; an empty list asks no one.
    pub(crate) async fn list_offsets(
        &self,
        partitions: Vec<v1::ListOffsetsPartition>,
    ) -> Result<Vec<Result<ListedOffset, ClientError>>, ClientError> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let answer = self
            .control(Repeat::Reads, |channel| {
                let request = v1::ListOffsetsRequest { partitions: partitions.clone() };
                async move { FetchClient::new(channel).list_offsets(request).await }
            })
            .await?;
        Ok(same_count(partitions.len(), answer.offsets)?.into_iter().map(read_listed).collect())
    }
}

fn read_listed(listed: v1::ListedOffset) -> Result<ListedOffset, ClientError> {
    let v1::ListedOffset { topic, partition, error, offset: found, timestamp_ms, leader_epoch: epoch } =
        listed;
    item_error(error)?;
    Ok(ListedOffset {
        topic: topic_name(&topic)?,
        partition: PartitionIndex(partition),
        offset: offset("offset", found)?,
        timestamp: timestamp_ms.map(TimestampMs),
        leader_epoch: leader_epoch(epoch)?,
    })
}
