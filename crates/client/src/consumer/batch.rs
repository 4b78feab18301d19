//! Fetched batches: shared by the messages in them, or handed out whole.

use std::sync::Arc;

use corduroy_api::Refusal;
use corduroy_batch::{self as batch, Batch, BatchError, Records};
use corduroy_types::{ErrorCode, Offset, PartitionIndex, TopicName};

use super::{ConsumeError, budget::Held};

/// A partition of a topic, as fetched batches name it.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Source {
    pub(crate) topic: TopicName,
    pub(crate) partition: PartitionIndex,
}

/// One fetched batch, checked and decompressed.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) source: Arc<Source>,
    pub(crate) batch: Batch,
    pub(crate) records: Records,
    pub(crate) high_watermark: Offset,
    /// Keeps the bytes counted while anybody has them. Shared by the batches of one answer.
    pub(crate) _held: Arc<Held>,
}

/// The refusal that stands for fetched bytes that are no valid batch.
pub(crate) fn damaged(error: &BatchError) -> Refusal {
    Refusal::new(ErrorCode::Corrupt, format!("a fetched batch is not valid: {error}"))
        .with_hint("Read it again; if it repeats, check the broker's disk with `logctl log verify`.")
}

/// Records of one partition, in one piece: the fast way to read.
///
/// Holds the bytes of one batch; iterating borrows from it and allocates nothing.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let broker = corduroy_testing::Broker::start().await?;
/// # broker.topic("orders", 1).await?;
/// # let consumer = broker.client().consumer().topics(["orders"]);
/// # let mut consumer = consumer.until(corduroy_client::OffsetSpec::End).build().await?;
/// while let Some(batch) = consumer.next_records().await.transpose()? {
///     for record in &batch {
///         let record = record?;
///         println!("{} {:?}", record.offset, record.value);
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct RecordBatch {
    pub(crate) fetched: Arc<Fetched>,
    pub(crate) from: Offset,
    pub(crate) until: Option<Offset>,
}

impl RecordBatch {
    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &TopicName {
        &self.fetched.source.topic
    }

    /// The partition.
    #[must_use]
    pub fn partition(&self) -> PartitionIndex {
        self.fetched.source.partition
    }

    /// The end of what could be read when it was fetched, exclusive.
    #[must_use]
    pub fn high_watermark(&self) -> Offset {
        self.fetched.high_watermark
    }

    /// The batch as stored, with its header. It may begin before the first record of [`iter`](Self::iter), and end
    /// behind the last.
    #[must_use]
    pub fn batch(&self) -> &Batch {
        &self.fetched.batch
    }

    /// All records of the batch, decompressed; those outside the range that was asked for as well.
    #[must_use]
    pub fn records(&self) -> &Records {
        &self.fetched.records
    }

    /// The offset behind the last record.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        let end = self.fetched.batch.header().next_offset();
        self.until.map_or(end, |until| end.min(until))
    }

    /// The records that were asked for and not yet handed out, in order.
    #[must_use]
    pub fn iter(&self) -> RecordBatchIter<'_> {
        RecordBatchIter { batch: self, records: self.fetched.records.iter() }
    }
}

impl<'a> IntoIterator for &'a RecordBatch {
    type Item = Result<batch::RecordRef<'a>, ConsumeError>;
    type IntoIter = RecordBatchIter<'a>;
    fn into_iter(self) -> RecordBatchIter<'a> {
        self.iter()
    }
}

/// Iterates the records of a [`RecordBatch`]; after an error it ends.
#[derive(Debug, Clone)]
pub struct RecordBatchIter<'a> {
    batch: &'a RecordBatch,
    records: batch::RecordIter<'a>,
}

impl<'a> Iterator for RecordBatchIter<'a> {
    type Item = Result<batch::RecordRef<'a>, ConsumeError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.records.next()? {
                Ok(record) if record.offset < self.batch.from => {}
                Ok(record) if self.batch.until.is_some_and(|until| record.offset >= until) => return None,
                Ok(record) => return Some(Ok(record)),
                Err(error) => {
                    let source = &self.batch.fetched.source;
                    return Some(Err(ConsumeError::new(
                        source.topic.clone(),
                        source.partition,
                        self.batch.batch().header().base_offset,
                        damaged(&error),
                    )));
                }
            }
        }
    }
}
