//! Consuming records.

mod batch;
mod budget;
mod builder;
mod deliver;
mod error;
mod fetcher;
mod growth;
mod message;
mod reader;
mod state;

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use corduroy_types::{ErrorCode, Offset, PartitionIndex};
use futures_core::Stream;
use tokio::sync::mpsc;

pub use batch::{RecordBatch, RecordBatchIter};
pub use builder::ConsumerBuilder;
pub use error::ConsumeError;
pub use message::Message;
pub use state::{AssignedPartition, PartitionStatus};

pub(crate) use batch::Source;
pub(crate) use builder::{resolve, resolve_each};
pub(crate) use reader::Reader;
pub(crate) use state::Partition;

use crate::{ClientError, OffsetSpec, client::Shared};

/// Reads records of partitions, in order for each partition.
///
/// A `Stream` of messages. It follows its partitions for ever, or ends when each has reached its `until` or an
/// error. A consumer of whole [topics](ConsumerBuilder::topics) without an `until` follows their growth, too: partitions
/// that are added later are read from their start. A lost connection is no error: reading goes on from the position, nothing is skipped and nothing comes
/// twice. Dropping any of its futures loses no record.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let broker = corduroy_testing::Broker::start().await?;
/// # broker.topic("orders", 3).await?;
/// # let client = broker.client();
/// use corduroy_client::OffsetSpec;
///
/// let mut consumer = client.consumer().topics(["orders"]).until(OffsetSpec::End).build().await?;
/// while let Some(message) = consumer.next().await {
///     let message = message?;
///     println!("{}@{} {:?}", message.partition(), message.offset(), message.value());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Consumer {
    client: Arc<Shared>,
    reader: Reader,
    /// Partitions that were added to the topics that are read.
    added: Option<mpsc::Receiver<Vec<Partition>>>,
}

impl Consumer {
    fn start(
        client: Arc<Shared>,
        partitions: Vec<Partition>,
        buffer_bytes: u64,
        added: Option<mpsc::Receiver<Vec<Partition>>>,
    ) -> Self {
        let mut reader = Reader::start(Arc::clone(&client), buffer_bytes);
        reader.add(partitions);
        Self { client, reader, added }
    }

    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Message, ConsumeError>>> {
        self.take_added(cx);
        self.reader.poll_message(cx)
    }

    /// Reads partitions that were added, too.
    fn take_added(&mut self, cx: &mut Context<'_>) {
        while let Some(Poll::Ready(added)) = self.added.as_mut().map(|added| added.poll_recv(cx)) {
            match added {
                Some(partitions) => drop(self.reader.add(partitions)),
                // The task ends before the consumer only with the runtime.
                None => self.added = None,
            }
        }
    }

    /// The next message; `None` when every partition is done or stopped. Nothing is lost when the future is
    /// dropped.
    ///
    /// # Errors
    /// Of a partition that cannot be read; see [`ConsumeError`].
    pub async fn next(&mut self) -> Option<Result<Message, ConsumeError>> {
        poll_fn(|cx| self.poll_message(cx)).await
    }

    /// Up to `max` messages: waits at most `wait` for the first, and takes with it what is at hand. Empty when the
    /// time is over, or every partition is done or stopped ([`is_ended`](Self::is_ended) says so).
    ///
    /// # Errors
    /// Of a partition that cannot be read; messages before it have been returned by the calls before.
    pub async fn next_batch(&mut self, max: usize, wait: Duration) -> Result<Vec<Message>, ConsumeError> {
        let first = match tokio::time::timeout(wait, self.next()).await {
            Ok(Some(first)) => first?,
            Ok(None) | Err(_) => return Ok(Vec::new()),
        };
        let mut messages = vec![first];
        // Nothing is awaited from here on, so nothing can be lost.
        poll_fn(|cx| {
            while messages.len() < max {
                match self.reader.poll_message(cx) {
                    Poll::Ready(Some(Ok(message))) => messages.push(message),
                    Poll::Ready(Some(Err(error))) => {
                        self.reader.message_error = Some(error);
                        break;
                    }
                    Poll::Ready(None) | Poll::Pending => break,
                }
            }
            Poll::Ready(())
        })
        .await;
        Ok(messages)
    }

    /// The next batch of records, whole: the fast way to read. Its records count as handed out.
    ///
    /// # Errors
    /// Of a partition that cannot be read; see [`ConsumeError`].
    pub async fn next_records(&mut self) -> Option<Result<RecordBatch, ConsumeError>> {
        poll_fn(|cx| {
            self.take_added(cx);
            self.reader.poll_records(cx)
        })
        .await
    }

    /// Goes on in a partition from another place. What was fetched of it is dropped.
    ///
    /// # Errors
    /// `INVALID_REQUEST` for a partition that this consumer does not read; otherwise that of looking the place up.
    pub async fn seek(&mut self, topic: &str, partition: u32, to: OffsetSpec) -> Result<(), ClientError> {
        let index = self.find(topic, partition)?;
        let place = [(topic, PartitionIndex(partition), to)];
        let offset = builder::resolve(&self.client, place.into_iter()).await?;
        if let Some(offset) = offset.first() {
            self.reader.seek(index, *offset);
        }
        Ok(())
    }

    /// Stops reading partitions, each at its position, until they are resumed.
    ///
    /// # Errors
    /// `INVALID_REQUEST` for a partition that this consumer does not read; then none is paused.
    pub fn pause<'a>(
        &mut self,
        partitions: impl IntoIterator<Item = (&'a str, u32)>,
    ) -> Result<(), ClientError> {
        self.switch(partitions, PartitionStatus::Reading, PartitionStatus::Paused)
    }

    /// Reads paused partitions on.
    ///
    /// # Errors
    /// `INVALID_REQUEST` for a partition that this consumer does not read; then none is resumed.
    pub fn resume<'a>(
        &mut self,
        partitions: impl IntoIterator<Item = (&'a str, u32)>,
    ) -> Result<(), ClientError> {
        self.switch(partitions, PartitionStatus::Paused, PartitionStatus::Reading)
    }

    /// The offset after the last record handed out of a partition; `None` when this consumer does not read it.
    #[must_use]
    pub fn position(&self, topic: &str, partition: u32) -> Option<Offset> {
        let index = self.find(topic, partition).ok()?;
        self.reader.partition(index).map(|partition| partition.position)
    }

    /// Every partition of this consumer, and how far it is.
    pub fn assignment(&self) -> impl ExactSizeIterator<Item = AssignedPartition> {
        self.reader.partitions().map(Partition::describe)
    }

    /// Whether every partition is done or stopped, so that nothing comes any more unless one is sought.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.reader.is_ended()
    }

    fn find(&self, topic: &str, partition: u32) -> Result<usize, ClientError> {
        self.reader.find(topic, partition).ok_or_else(|| {
            let message = format!("this consumer does not read topic {topic:?} partition {partition}");
            ClientError::new(ErrorCode::InvalidRequest, message)
        })
    }

    fn switch<'a>(
        &mut self,
        partitions: impl IntoIterator<Item = (&'a str, u32)>,
        from: PartitionStatus,
        to: PartitionStatus,
    ) -> Result<(), ClientError> {
        let found = partitions.into_iter().map(|(topic, partition)| self.find(topic, partition));
        let found = found.collect::<Result<Vec<_>, _>>()?;
        self.reader.switch(&found, from, to);
        Ok(())
    }
}

impl Stream for Consumer {
    type Item = Result<Message, ConsumeError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_message(cx)
    }
}
