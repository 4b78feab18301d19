//! What the handles of a producer and its background task share.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use corduroy_api::Refusal;
use corduroy_batch::record_encoded_bytes;
use corduroy_types::{ErrorCode, Outcome, TimestampMs, TopicName};
use parking_lot::{Mutex, RwLock};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, TryAcquireError},
    time::Instant,
};

use super::{
    delivery::{BatchEnd, Delivery, Failed, Ticket},
    error::{FlushError, SendError, SendErrorKind},
    options::Options,
    queue::PartitionQueue,
    queues::QueueList,
    report::BatchReport,
    topic::{TopicQueues, TopicState},
};
use crate::{
    ClientError,
    backoff::Backoff,
    client::Shared,
    record::Source,
    topics::{TopicInfo, topic_name},
};

/// The most lookups of `try_enqueue` whose failures are kept until they are asked for.
const LOOKUPS_MAX: usize = 1024;

#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) client: Arc<Shared>,
    pub(crate) options: Options,
    pub(crate) queues: QueueList,
    topics: RwLock<HashMap<TopicName, Arc<TopicQueues>>>,
    /// Lookups begun by `try_enqueue`: under way, or failed.
    lookups: Mutex<HashMap<TopicName, Option<ClientError>>>,
    /// The bytes of the buffer that are free.
    room: Semaphore,
    closed: AtomicBool,
    aborted: AtomicBool,
    failures: Mutex<Option<FlushError>>,
    /// Where background work runs: `try_enqueue` may be called from any thread.
    runtime: Handle,
}

/// What became of a record that was offered.
pub(crate) enum Offer {
    Accepted(Delivery),
    /// The buffer has no room for this many bytes now.
    NoRoom(u32),
    NoTopic,
    /// The topic has no such partition, as far as is known.
    NoPartition(SendError),
    Refused(SendError),
}

impl Core {
    pub(crate) fn new(client: Arc<Shared>, options: Options) -> Self {
        let room = Semaphore::new(options.buffer_bytes as usize);
        Self {
            client,
            options,
            queues: QueueList::default(),
            topics: RwLock::default(),
            lookups: Mutex::default(),
            room,
            closed: AtomicBool::new(false),
            aborted: AtomicBool::new(false),
            failures: Mutex::default(),
            runtime: Handle::current(),
        }
    }

    /// Takes a record into the buffer, if everything for it is there. `room`: it has its room already.
    #[inline]
    pub(crate) fn offer<S: Source>(&self, record: &S, room: Option<Room<'_>>) -> Offer {
        let topics = self.topics.read();
        let Some(topic) = topics.get(record.topic()) else { return Offer::NoTopic };
        let room = match room {
            Some(room) => room,
            None => {
                let bytes = self.room_for(record);
                match self.room.try_acquire_many(bytes) {
                    Ok(permit) => permit.forget(),
                    Err(TryAcquireError::NoPermits) => return Offer::NoRoom(bytes),
                    Err(TryAcquireError::Closed) => return Offer::Refused(SendError::closed()),
                }
                Room { core: self, bytes }
            }
        };
        if record.expected_offset().is_some() && record.partition().is_none() {
            return Offer::Refused(no_partition_for_condition());
        }
        let timestamp = record.timestamp().unwrap_or_else(now);
        let limit = topic.state.max_message_bytes();
        let pushed = topic.with_queue(record, &self.options, |queue| {
            let pushed = queue.push(record, timestamp, room.bytes, &self.options, limit)?;
            Some(pushed.map(|pushed| {
                if pushed.wake {
                    self.queues.look_at(queue);
                }
                if pushed.filled {
                    topic.state.move_on(queue.partition);
                }
                pushed.delivery
            }))
        });
        match pushed {
            Ok(Some(Ok(delivery))) => {
                room.spend();
                Offer::Accepted(delivery)
            }
            Ok(Some(Err(error))) => Offer::Refused(SendError::batch(&error)),
            Ok(None) => Offer::Refused(SendError::closed()),
            Err(refusal) => Offer::NoPartition(SendError::not_accepted(SendErrorKind::Refused, *refusal)),
        }
    }

    /// The bytes that a record holds of the buffer: at most all of it, so that every record fits at some time.
    fn room_for(&self, record: &impl Source) -> u32 {
        let bytes = record_encoded_bytes(record.key(), record.value(), record.header_iter());
        u32::try_from(bytes).unwrap_or(u32::MAX).min(self.options.buffer_bytes)
    }

    /// Waits for room; the caller then owns it.
    pub(crate) async fn wait_for_room(&self, bytes: u32) -> Result<Room<'_>, SendError> {
        match self.room.acquire_many(bytes).await {
            Ok(permit) => {
                permit.forget();
                Ok(Room { core: self, bytes })
            }
            Err(_closed) => Err(SendError::closed()),
        }
    }

    /// Gives room back.
    pub(crate) fn release(&self, bytes: u32) {
        self.room.add_permits(bytes as usize);
    }

    /// Looks a topic up and makes its queues, trying again until `delivery_timeout` while no broker answers.
    pub(crate) async fn find_topic(&self, name: &str) -> Result<(), SendError> {
        let name = topic_name(name).map_err(|error| SendError::lookup(&error))?;
        let deadline = Instant::now() + self.options.delivery_timeout;
        let mut backoff = Backoff::default();
        loop {
            if self.is_closed() {
                return Err(SendError::closed());
            }
            match self.client.topic(&name).await {
                Ok(info) => {
                    self.add_topic(info);
                    return Ok(());
                }
                Err(error) => {
                    let retry_at = Instant::now() + backoff.next();
                    if !error.is_retriable() || retry_at >= deadline {
                        return Err(SendError::lookup(&error));
                    }
                    tokio::time::sleep_until(retry_at).await;
                }
            }
        }
    }

    fn add_topic(&self, info: Arc<TopicInfo>) {
        let mut topics = self.topics.write();
        match topics.get(&info.name) {
            Some(topic) => topic.update(info, &self.queues),
            None => {
                topics.insert(info.name.clone(), Arc::new(TopicQueues::new(info, &self.queues)));
            }
        }
    }

    /// Begins a lookup for a record that cannot wait; what the last one found, if it failed.
    pub(crate) fn find_topic_in_background(self: &Arc<Self>, name: &str) -> SendError {
        let name = match topic_name(name) {
            Ok(name) => name,
            Err(error) => return SendError::lookup(&error),
        };
        let mut lookups = self.lookups.lock();
        match lookups.get(&name) {
            Some(Some(error)) => {
                let error = SendError::lookup(error);
                lookups.remove(&name);
                return error;
            }
            Some(None) => {}
            None => {
                if lookups.len() >= LOOKUPS_MAX {
                    lookups.retain(|_, failed| failed.is_none());
                }
                lookups.insert(name.clone(), None);
                let core = Arc::clone(self);
                let name = name.clone();
                self.runtime.spawn(async move {
                    let found = core.client.topic(&name).await;
                    let mut lookups = core.lookups.lock();
                    match found {
                        Ok(info) => {
                            lookups.remove(&name);
                            core.add_topic(info);
                        }
                        Err(error) => {
                            lookups.insert(name, Some(error));
                        }
                    }
                });
            }
        }
        let refusal = Refusal::new(
            ErrorCode::Unavailable,
            format!("topic {:?} is still being looked up", name.as_str()),
        )
        .with_hint("Try again in a moment, or wait for Producer::prepare before the first record.");
        SendError::not_accepted(SendErrorKind::TopicNotReady, refusal)
    }

    /// Looks a topic up again because of a record for a partition that is not known: it may have been added.
    pub(crate) async fn find_partition(&self, name: &str) {
        let Some(topic) = self.topics.read().get(name).map(|topic| topic.state.name.clone()) else { return };
        match self.client.refresh_topic(&topic).await {
            Ok(info) => self.add_topic(info),
            Err(error) => tracing::debug!(%topic, %error, "topic was not looked up again"),
        }
    }

    /// The same in the background, for a record that cannot wait.
    pub(crate) fn find_partition_in_background(self: &Arc<Self>, name: &str) {
        let topic = self.topics.read().get(name).map(|topic| Arc::clone(&topic.state));
        if let Some(topic) = topic {
            self.refresh(topic);
        }
    }

    /// Looks a topic up again, in the background, unless that is going on already.
    pub(crate) fn refresh_topic(self: &Arc<Self>, queue: &PartitionQueue) {
        self.refresh(Arc::clone(&queue.topic));
    }

    fn refresh(self: &Arc<Self>, topic: Arc<TopicState>) {
        if topic.refreshing.swap(true, Ordering::AcqRel) {
            return;
        }
        let core = Arc::clone(self);
        self.runtime.spawn(async move {
            match core.client.refresh_topic(&topic.name).await {
                Ok(info) => core.add_topic(info),
                Err(error) if error.code() == ErrorCode::TopicNotFound => {
                    // New records look it up for themselves, and end with its error.
                    core.topics.write().remove(&topic.name);
                }
                Err(error) => tracing::debug!(topic = %topic.name, %error, "topic was not looked up again"),
            }
            topic.refreshing.store(false, Ordering::Release);
        });
    }

    /// Ends a batch: its room is free again, and what waits for it gets the result.
    pub(crate) fn finish(&self, queue: &PartitionQueue, batch: &Ended<'_>, end: BatchEnd) {
        let Ended { ticket, record_count, held_bytes } = *batch;
        queue.finished(ticket);
        self.release(held_bytes);
        self.options.on_batch.emit(BatchReport { ticket, record_count, end: &end });
        ticket.finish(end);
    }

    /// Counts a failed batch for the next flush.
    pub(crate) fn count_failure(&self, failed: &Failed, record_count: u32) {
        let mut failures = self.failures.lock();
        let sum = failures.get_or_insert_with(|| FlushError {
            failed_count: 0,
            unknown_count: 0,
            first: failed.error.clone(),
        });
        sum.failed_count += u64::from(record_count);
        if failed.error.outcome() == Outcome::Unknown {
            sum.unknown_count += u64::from(record_count);
        }
    }

    /// The failures since this was last asked.
    pub(crate) fn take_failures(&self) -> Option<FlushError> {
        self.failures.lock().take()
    }

    /// Lets nothing more in; returns the tickets of all that is not finished.
    pub(crate) fn close(&self) -> Vec<Arc<Ticket>> {
        self.closed.store(true, Ordering::Release);
        self.room.close();
        self.queues.close()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Gives up on everything that is not finished.
    pub(crate) fn abort(&self) {
        self.aborted.store(true, Ordering::Release);
        self.queues.wake.notify_one();
    }

    pub(crate) fn is_aborted(&self) -> bool {
        self.aborted.load(Ordering::Acquire)
    }
}

/// What is needed of a batch to end it.
pub(crate) struct Ended<'a> {
    pub(crate) ticket: &'a Arc<Ticket>,
    pub(crate) record_count: u32,
    pub(crate) held_bytes: u32,
}

/// Room in the buffer that a record will take; given back when it is not taken after all.
pub(crate) struct Room<'a> {
    core: &'a Core,
    bytes: u32,
}

impl Room<'_> {
    /// The record takes it: the end of the record gives it back.
    fn spend(self) {
        std::mem::forget(self);
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        self.core.release(self.bytes);
    }
}

#[cold]
fn no_partition_for_condition() -> SendError {
    let message = "expected offset without a partition: every partition has offsets of its own";
    let refusal = Refusal::new(ErrorCode::InvalidRequest, message).with_hint("Name the partition, too.");
    SendError::not_accepted(SendErrorKind::Refused, refusal)
}

/// The client's clock.
fn now() -> TimestampMs {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    TimestampMs(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
