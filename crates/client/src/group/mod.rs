//! Consuming as a member of a group.

mod assignment_task;
mod builder;
mod commits;
mod core;
mod deliver;
mod delivery_tracker;
mod error;
mod heartbeat_task;
mod hook;
mod offsets;
mod start_offsets;
mod window;

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use corduroy_types::{ErrorCode, Offset, PartitionIndex};
use futures_core::Stream;
use tokio::sync::{mpsc, oneshot};

pub use builder::{Assignor, Commit, GroupConsumerBuilder, OnPositionLost};
pub use error::{CloseError, CommitError, GroupConsumeError, PositionLost};
pub use hook::{HookError, Rebalance, RebalanceHook};
pub use offsets::{Offsets, TopicPartition};

pub(crate) use core::Options;
pub(crate) use delivery_tracker::{DeliveryTracker, Signals};

use self::{assignment_task::ConsumerCommand, core::Core, offsets::Part};
use crate::{
    AssignedPartition, Client, ClientError, Event, Message, OffsetSpec, PartitionStatus,
    consumer::{Partition, resolve},
};

/// Reads records as a member of a group: the group's members share the partitions of its topics out, and the group
/// remembers how far it has come in each.
///
/// A `Stream` of messages, in order for each partition. [`Message::done`] says that a message is handled; what is
/// committed is the offset up to which every message is done. So a record is handled at least once, whatever
/// fails: a consumer that ends leaves to the others what it had not finished. Heartbeats go on in the background
/// however long a message takes. A lost connection or a restart of the broker within the session is no error and
/// moves no partition. Dropping any of its futures loses nothing and makes nothing come twice.
///
/// Memory is bounded: fetched records by `buffer_bytes`, bookkeeping by `in_flight_max` messages that were handed out
/// and are not done, at less than 64 bytes each.
///
/// End it with [`close`](Self::close): that commits what is done and leaves the group, so that others go on at once. A
/// program that is ended by a signal has to catch it for that, as below. Dropped without `close`, it commits and leaves
/// in the background, if the runtime goes on for long enough, and an [`Event::NotClosed`] comes if something was not
/// committed yet. A program that just ends leaves what it did since the last commit to be read again, and its partitions
/// unread until its session ends.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let broker = corduroy_testing::Broker::start().await?;
/// # broker.topic("orders", 3).await?;
/// # let client = broker.client();
/// # let producer = client.producer().build().await?;
/// # producer.send(corduroy_client::Record::to("orders").value("1 book")).await?;
/// use std::time::Duration;
///
/// let mut consumer = client.consumer().group("billing").topics(["orders"]).build().await?;
/// loop {
///     let message = tokio::select! {
///         message = consumer.next() => message,
///         _ = tokio::signal::ctrl_c() => None,
///     };
///     let Some(message) = message.transpose()? else { break };
///     println!("{}@{} {:?}", message.partition(), message.offset(), message.value());
///     message.done();
/// #   break;
/// }
/// consumer.close(Duration::from_secs(10)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct GroupConsumer {
    core: Arc<Core>,
    commands: Option<mpsc::UnboundedSender<ConsumerCommand>>,
    /// An error that came behind messages of a batch.
    held_back: Option<GroupConsumeError>,
}

impl GroupConsumer {
    /// What [`run`](Self::run) needs to know.
    pub(crate) fn options(&self) -> &Options {
        &self.core.options
    }

    pub(crate) fn client(&self) -> Client {
        Client { shared: Arc::clone(&self.core.client) }
    }

    pub(crate) fn signals(&self) -> Arc<Signals> {
        Arc::clone(&self.core.signals)
    }

    /// Whether to wait for room in `buffer_bytes`, as long as there are messages to be released.
    pub(crate) fn set_patient(&self, is_patient: bool) {
        self.core.state.lock().reader.set_patient(is_patient);
    }

    fn new(core: Arc<Core>, commands: mpsc::UnboundedSender<ConsumerCommand>) -> Self {
        Self { core, commands: Some(commands), held_back: None }
    }

    /// The next message; `None` when the member is out of the group for good. Nothing is lost when the future is
    /// dropped. It waits while `in_flight_max` messages are not done.
    ///
    /// # Errors
    /// Of a partition that cannot be read, while the others go on, or of the whole consumer, before it ends; see
    /// [`GroupConsumeError`].
    pub async fn next(&mut self) -> Option<Result<Message, GroupConsumeError>> {
        poll_fn(|cx| self.poll_message(cx)).await
    }

    /// Up to `max` messages: waits at most `wait` for the first, and takes with it what is at hand. Empty when the
    /// time is over, or the member is out for good ([`is_ended`](Self::is_ended) says so).
    ///
    /// # Errors
    /// As [`next`](Self::next); messages before it have been returned by the calls before.
    pub async fn next_batch(
        &mut self,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<Message>, GroupConsumeError> {
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
                        self.held_back = Some(error);
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

    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Message, GroupConsumeError>>> {
        match self.held_back.take() {
            Some(error) => Poll::Ready(Some(Err(error))),
            None => self.core.poll_message(cx),
        }
    }

    /// The group.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.core.options.group
    }

    /// The member's id, drawn when it was built.
    #[must_use]
    pub fn member_id(&self) -> &str {
        &self.core.options.member
    }

    /// Every partition that is read now, and how far this consumer is. Those that are being released are left out.
    #[must_use]
    pub fn assignment(&self) -> Vec<AssignedPartition> {
        let state = self.core.state.lock();
        let read = state.slots.values().filter_map(|slot| slot.place);
        read.filter_map(|place| state.reader.partition(place).map(Partition::describe)).collect()
    }

    /// The offset after the last message handed out of a partition; `None` when it is not read here.
    #[must_use]
    pub fn position(&self, topic: &str, partition: u32) -> Option<Offset> {
        let state = self.core.state.lock();
        let (_, _, place) = state.find(topic, partition)?;
        state.reader.partition(place).map(|partition| partition.position)
    }

    /// What is committed in the partitions that the member has, as far as it knows.
    #[must_use]
    pub fn committed(&self) -> Offsets {
        self.core.committed(&commits::Which::All)
    }

    /// How many messages were handed out and are not done.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.core.signals.open_count()
    }

    /// Whether the member is out of the group for good, so that nothing comes any more.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        let state = self.core.state.lock();
        state.closing && state.errors.is_empty() && self.held_back.is_none()
    }

    /// Stops reading partitions, each at its position, until they are resumed. The member keeps them.
    ///
    /// # Errors
    /// `INVALID_REQUEST` for a partition that is not read here; then none is paused.
    pub fn pause<'a>(&self, partitions: impl IntoIterator<Item = (&'a str, u32)>) -> Result<(), ClientError> {
        self.switch(partitions, PartitionStatus::Reading, PartitionStatus::Paused)
    }

    /// Reads paused partitions on.
    ///
    /// # Errors
    /// `INVALID_REQUEST` for a partition that is not read here; then none is resumed.
    pub fn resume<'a>(
        &self,
        partitions: impl IntoIterator<Item = (&'a str, u32)>,
    ) -> Result<(), ClientError> {
        self.switch(partitions, PartitionStatus::Paused, PartitionStatus::Reading)
    }

    fn switch<'a>(
        &self,
        partitions: impl IntoIterator<Item = (&'a str, u32)>,
        from: PartitionStatus,
        to: PartitionStatus,
    ) -> Result<(), ClientError> {
        let mut state = self.core.state.lock();
        let place = |(topic, partition)| {
            let found = state.find(topic, partition).map(|(_, _, place)| place);
            found.ok_or_else(|| not_read(topic, partition))
        };
        let places = partitions.into_iter().map(place).collect::<Result<Vec<_>, _>>()?;
        state.reader.switch(&places, from, to);
        drop(state);
        self.core.signals.notify_all();
        Ok(())
    }

    /// Goes on in a partition from another place, which is what is committed next. Messages of it that were handed
    /// out before count no more.
    ///
    /// # Errors
    /// `INVALID_REQUEST` for a partition that is not read here, also when it was taken away meanwhile; otherwise
    /// that of looking the place up.
    pub async fn seek(&self, topic: &str, partition: u32, to: OffsetSpec) -> Result<(), ClientError> {
        let part = self.part(topic, partition)?;
        let found = resolve(&self.core.client, [(topic, PartitionIndex(partition), to)].into_iter()).await?;
        let mut state = self.core.state.lock();
        match (state.slots.get(&part).and_then(|slot| slot.place), found.first()) {
            (Some(_), Some(offset)) => state.seek(&part, *offset, &self.core.signals),
            _ => return Err(not_read(topic, partition)),
        }
        drop(state);
        self.core.signals.notify_all();
        Ok(())
    }

    fn part(&self, topic: &str, partition: u32) -> Result<Part, ClientError> {
        let state = self.core.state.lock();
        let found = state.find(topic, partition).map(|(part, _, _)| part.clone());
        found.ok_or_else(|| not_read(topic, partition))
    }

    /// Commits what is done now, in every partition that the member has, and returns what is committed there then. It
    /// is durable when this returns. Passing failures are tried again within the client's request time-out. A commit
    /// that was begun goes on when the future is dropped.
    ///
    /// # Errors
    /// [`CommitError`]; `INVALID_REQUEST` with [`Commit::Never`].
    pub async fn commit(&self) -> Result<Offsets, CommitError> {
        self.core.commit_done().await
    }

    /// Commits these offsets, each the one of the next record to read; it is durable when this returns. What is
    /// below them counts as done.
    ///
    /// # Errors
    /// [`CommitError`]: `PARTITION_NOT_ASSIGNED` for partitions that the member does not have.
    pub async fn commit_offsets(&self, offsets: &Offsets) -> Result<(), CommitError> {
        self.core.commit_these(offsets).await
    }

    /// Stops reading, waits at most `within` for messages that were handed out to be done, commits, and leaves the
    /// group, so that others go on at once. Commit and leaving get at least a second. A static member's partitions
    /// are kept for its return until its session ends. With [`Commit::Manual`] nothing is committed that was not.
    ///
    /// # Errors
    /// [`CloseError`] says what did not end as it should. The consumer is closed nevertheless.
    pub async fn close(mut self, within: Duration) -> Result<Offsets, CloseError> {
        let (answer, closed) = oneshot::channel();
        if let Some(commands) = self.commands.take() {
            let _ = commands.send(ConsumerCommand::Close { within, answer });
        }
        match closed.await {
            Ok(closed) => closed,
            // The member was out already.
            Err(_) => Ok(self.committed()),
        }
    }
}

fn not_read(topic: &str, partition: u32) -> ClientError {
    let message = format!("this consumer does not read topic {topic:?} partition {partition} now");
    ClientError::new(ErrorCode::InvalidRequest, message)
}

impl Drop for GroupConsumer {
    fn drop(&mut self) {
        let Some(commands) = self.commands.take() else { return };
        let uncommitted_count = self.core.uncommitted_count();
        if uncommitted_count > 0 {
            let group = Arc::clone(&self.core.options.group);
            self.core.client.events.emit(Event::NotClosed { group, uncommitted_count });
        }
        let _ = commands.send(ConsumerCommand::Abandon);
    }
}

impl Stream for GroupConsumer {
    type Item = Result<Message, GroupConsumeError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_message(cx)
    }
}
