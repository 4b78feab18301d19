//! Consuming records.

mod batch;
mod budget;
mod builder;
mod deliver;
mod error;
mod fetcher;
mod message;
mod state;

use std::{
    collections::VecDeque,
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

use self::{
    batch::Fetched,
    budget::Budget,
    fetcher::{Chunk, ChunkKind, FetchFrom, Fetcher, Plan},
    state::Partition,
};
use crate::{ClientError, OffsetSpec, client::Shared};

/// Reads records of partitions, in order for each partition.
///
/// A `Stream` of messages. It follows its partitions for ever, or ends when each has reached its `until` or an
/// error. A lost connection is no error: reading goes on from the position, nothing is skipped and nothing comes
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
    partitions: Vec<Partition>,
    plans: mpsc::UnboundedSender<Plan>,
    chunks: mpsc::UnboundedReceiver<Chunk>,
    budget: Arc<Budget>,
    generation: u64,
    /// Chunks of this generation that have not been looked at.
    backlog: VecDeque<Chunk>,
    /// Batches of the chunk being handed out.
    batches: VecDeque<Arc<Fetched>>,
    /// Where its partition goes on behind them.
    batches_of: Option<(usize, Offset)>,
    /// Messages of the batch being handed out, and what ends it early.
    messages: VecDeque<Message>,
    message_error: Option<ConsumeError>,
    current: Option<(usize, Arc<Fetched>)>,
}

impl Consumer {
    fn start(client: Arc<Shared>, partitions: Vec<Partition>, buffer_bytes: u64) -> Self {
        let (plans, plan_receiver) = mpsc::unbounded_channel();
        let (chunk_sender, chunks) = mpsc::unbounded_channel();
        let budget = Budget::new(buffer_bytes);
        let fetcher = Fetcher::new(Arc::clone(&client), plan_receiver, chunk_sender, Arc::clone(&budget));
        tokio::spawn(fetcher.run());
        let mut consumer = Self {
            client,
            partitions,
            plans,
            chunks,
            budget,
            generation: 0,
            backlog: VecDeque::new(),
            batches: VecDeque::new(),
            batches_of: None,
            messages: VecDeque::new(),
            message_error: None,
            current: None,
        };
        consumer.plan();
        consumer
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
    /// time is over, or every partition is done or stopped ([`is_ended`](Self::is_ended) tells).
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
                match self.poll_message(cx) {
                    Poll::Ready(Some(Ok(message))) => messages.push(message),
                    Poll::Ready(Some(Err(error))) => {
                        self.message_error = Some(error);
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
        poll_fn(|cx| self.poll_records(cx)).await
    }

    /// Goes on in a partition from another place. What was fetched of it is dropped.
    ///
    /// # Errors
    /// `INVALID_REQUEST` for a partition that this consumer does not read; otherwise that of looking the place up.
    pub async fn seek(&mut self, topic: &str, partition: u32, to: OffsetSpec) -> Result<(), ClientError> {
        let index = self.find(topic, partition)?;
        let place = [(topic, PartitionIndex(partition), to)];
        let offset = builder::resolve(&self.client, place.into_iter()).await?;
        self.discard(index);
        if let (Some(partition), Some(offset)) = (self.partitions.get_mut(index), offset.first()) {
            partition.place(*offset);
        }
        self.plan();
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
        self.partitions.get(index).map(|partition| partition.position)
    }

    /// Every partition of this consumer, and how far it is.
    pub fn assignment(&self) -> impl ExactSizeIterator<Item = AssignedPartition> {
        self.partitions.iter().map(Partition::describe)
    }

    /// Whether every partition is done or stopped, so that nothing comes any more unless one is sought.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        let over = |partition: &Partition| {
            matches!(partition.status, PartitionStatus::Done | PartitionStatus::Stopped)
        };
        self.messages.is_empty() && self.message_error.is_none() && self.partitions.iter().all(over)
    }

    fn find(&self, topic: &str, partition: u32) -> Result<usize, ClientError> {
        let place = self
            .partitions
            .iter()
            .position(|p| p.source.topic.as_str() == topic && p.source.partition.0 == partition);
        place.ok_or_else(|| {
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
        for index in found {
            let Some(partition) = self.partitions.get_mut(index).filter(|p| p.status == from) else {
                continue;
            };
            partition.status = to;
            let position = partition.position;
            partition.place(position);
            self.discard(index);
        }
        self.plan();
        Ok(())
    }

    /// Drops what is here of a partition.
    fn discard(&mut self, index: usize) {
        self.drain();
        self.backlog.retain(|chunk| chunk.index != index);
        if self.batches_of.is_some_and(|(of, _)| of == index) {
            self.batches.clear();
            self.batches_of = None;
        }
        if self.current.as_ref().is_some_and(|(of, _)| *of == index) {
            self.current = None;
            self.messages.clear();
            self.message_error = None;
        }
        if let Some(partition) = self.partitions.get_mut(index) {
            partition.fetched_to = partition.position;
        }
    }

    /// Looks at everything that has come.
    fn drain(&mut self) {
        while let Ok(chunk) = self.chunks.try_recv() {
            self.accept(chunk);
        }
    }

    /// Notes what a chunk tells, and keeps it.
    fn accept(&mut self, chunk: Chunk) {
        if chunk.generation != self.generation {
            return;
        }
        let Some(partition) = self.partitions.get_mut(chunk.index) else { return };
        partition.high_watermark = chunk.high_watermark.or(partition.high_watermark);
        match &chunk.kind {
            ChunkKind::Records { next, .. } => partition.fetched_to = partition.fetched_to.max(*next),
            ChunkKind::Failed { .. } | ChunkKind::Done => partition.fetching = false,
        }
        self.backlog.push_back(chunk);
    }

    /// Tells the background task to go on from behind what is here.
    fn plan(&mut self) {
        self.drain();
        self.generation += 1;
        for chunk in &mut self.backlog {
            chunk.generation = self.generation;
        }
        let from = |(index, partition): (usize, &Partition)| FetchFrom {
            index,
            source: Arc::clone(&partition.source),
            topic_id: partition.topic_id.clone(),
            position: partition.fetched_to,
            until: partition.until,
        };
        let partitions = self
            .partitions
            .iter()
            .enumerate()
            .filter(|(_, partition)| partition.fetching)
            .map(from)
            .collect();
        // The task ends only when the consumer does, or with the runtime.
        let _ = self.plans.send(Plan { generation: self.generation, partitions });
    }
}

impl Stream for Consumer {
    type Item = Result<Message, ConsumeError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_message(cx)
    }
}
