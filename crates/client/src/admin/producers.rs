//! The idempotent producers that partitions remember.

use corduroy_api::v1;
use corduroy_types::{Offset, PartitionIndex, TimestampMs};
use v1::admin_client::AdminClient;

use super::{Admin, offset};
use crate::{ClientError, client::Repeat, topics::topic_name};

/// What a partition remembers of idempotent producers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionProducers {
    /// Which partition.
    pub partition: PartitionIndex,
    /// How many producers it remembers.
    pub producer_count: u32,
    /// The last to write first; at most 100.
    pub producers: Vec<RememberedProducer>,
    /// Why they are not known, if so: `NOT_LEADER` where another broker leads the partition.
    pub error: Option<ClientError>,
}

/// What a partition remembers of one idempotent producer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RememberedProducer {
    /// Its id.
    pub id: i64,
    /// Its newest epoch.
    pub epoch: u32,
    /// The sequence of its last record.
    pub last_sequence: u32,
    /// The offset of its last record.
    pub last_offset: Offset,
    /// The greatest timestamp of its last batch.
    pub last_timestamp: TimestampMs,
}

impl Admin {
    /// The idempotent producers that the partitions of a topic remember.
    ///
    /// # Errors
    /// `TOPIC_NOT_FOUND`, with the nearest name as its hint; or as [`Admin::list_topics`].
    pub async fn list_producers(
        &self,
        topic: impl AsRef<str>,
    ) -> Result<Vec<PartitionProducers>, ClientError> {
        let name = topic_name(topic.as_ref())?;
        let listed = self.client.shared.control(Repeat::Reads, |channel| {
            let request = v1::ListProducersRequest { topic: name.to_string() };
            async move { AdminClient::new(channel).list_producers(request).await }
        });
        let partitions = listed.await?.partitions;
        partitions.into_iter().map(read_partition).collect()
    }
}

fn read_partition(listed: v1::PartitionProducers) -> Result<PartitionProducers, ClientError> {
    let v1::PartitionProducers { partition, producer_count, producers, error } = listed;
    let producers = producers.into_iter().map(read_producer).collect::<Result<_, _>>()?;
    let error = super::item_error(error).err();
    Ok(PartitionProducers { partition: PartitionIndex(partition), producer_count, producers, error })
}

fn read_producer(remembered: v1::RememberedProducer) -> Result<RememberedProducer, ClientError> {
    let v1::RememberedProducer { producer_id, producer_epoch, last_sequence, last_offset, last_timestamp_ms } =
        remembered;
    Ok(RememberedProducer {
        id: producer_id,
        epoch: producer_epoch,
        last_sequence,
        last_offset: offset("last_offset", last_offset)?,
        last_timestamp: TimestampMs(last_timestamp_ms),
    })
}
