//! One topic as a producer sees it: its queues, and which partition unkeyed records stick to.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use bytes::Bytes;
use corduroy_api::Refusal;
use corduroy_types::{ErrorCode, PartitionIndex, TopicName};
use parking_lot::{Mutex, RwLock};

use super::{options::Options, queue::PartitionQueue, queues::QueueList};
use crate::{backoff::random, record::Source, topics::TopicInfo};

/// What all queues of a topic share.
#[derive(Debug)]
pub(crate) struct TopicState {
    pub(crate) name: TopicName,
    partition_count: AtomicU32,
    max_message_bytes: AtomicU32,
    /// Where records without a key go, before it is reduced to the number of partitions.
    sticky: AtomicU32,
    info: Mutex<Arc<TopicInfo>>,
    /// A lookup is under way.
    pub(crate) refreshing: AtomicBool,
}

impl TopicState {
    fn new(info: Arc<TopicInfo>) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "any 32 bits will do")]
        let sticky = random() as u32;
        Self {
            name: info.name.clone(),
            partition_count: AtomicU32::new(info.partition_count),
            max_message_bytes: AtomicU32::new(info.max_message_bytes),
            sticky: AtomicU32::new(sticky),
            info: Mutex::new(info),
            refreshing: AtomicBool::new(false),
        }
    }

    pub(crate) fn info(&self) -> Arc<TopicInfo> {
        Arc::clone(&self.info.lock())
    }

    /// The topic id as requests carry it.
    pub(crate) fn wire_id(&self) -> Bytes {
        self.info.lock().wire_id()
    }

    /// The most bytes of one batch.
    pub(crate) fn max_message_bytes(&self) -> u32 {
        self.max_message_bytes.load(Ordering::Relaxed)
    }

    fn sticky_partition(&self, count: u32) -> PartitionIndex {
        PartitionIndex(self.sticky.load(Ordering::Relaxed).checked_rem(count).unwrap_or(0))
    }

    /// A batch of `partition` is complete: if records without a key went there, they go to the next one.
    pub(crate) fn move_on(&self, partition: PartitionIndex) {
        let count = self.partition_count.load(Ordering::Relaxed);
        let sticky = self.sticky.load(Ordering::Relaxed);
        if sticky.checked_rem(count) == Some(partition.0) {
            let next = sticky.wrapping_add(1);
            // Losing a race means that another batch has moved it on already.
            let _ = self.sticky.compare_exchange(sticky, next, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

/// A topic and the queues of its partitions.
#[derive(Debug)]
pub(crate) struct TopicQueues {
    pub(crate) state: Arc<TopicState>,
    queues: RwLock<Vec<Arc<PartitionQueue>>>,
}

impl TopicQueues {
    pub(crate) fn new(info: Arc<TopicInfo>, list: &QueueList) -> Self {
        let topic = Self { state: Arc::new(TopicState::new(Arc::clone(&info))), queues: RwLock::default() };
        topic.update(info, list);
        topic
    }

    /// Takes over what a look-up returned. Queues are only ever added: batches in the old ones end by their answers.
    pub(crate) fn update(&self, info: Arc<TopicInfo>, list: &QueueList) {
        let mut queues = self.queues.write();
        for partition in info.partitions().skip(queues.len()) {
            queues.push(list.add(&self.state, partition));
        }
        self.state.partition_count.store(info.partition_count, Ordering::Relaxed);
        self.state.max_message_bytes.store(info.max_message_bytes, Ordering::Relaxed);
        *self.state.info.lock() = info;
    }

    /// Runs `accept` with the queue that a record belongs to.
    #[inline]
    pub(crate) fn with_queue<T>(
        &self,
        record: &impl Source,
        options: &Options,
        accept: impl FnOnce(&Arc<PartitionQueue>) -> T,
    ) -> Result<T, Box<Refusal>> {
        let count = self.state.partition_count.load(Ordering::Relaxed);
        let partition = match (record.partition(), record.key()) {
            (Some(partition), _) => partition,
            (None, Some(key)) => options.partitioner.of_key(self.state.name.as_str(), key, count),
            (None, None) => self.state.sticky_partition(count),
        };
        let queues = self.queues.read();
        match queues.get(partition.0 as usize) {
            Some(queue) if partition.0 < count => Ok(accept(queue)),
            _ => Err(Box::new(self.no_partition(partition, count))),
        }
    }

    #[cold]
    fn no_partition(&self, partition: PartitionIndex, count: u32) -> Refusal {
        let name = self.state.name.as_str();
        Refusal::new(
            ErrorCode::PartitionNotFound,
            format!(
                "topic {name:?} has {count} partitions, counted from 0; there is no partition {partition}"
            ),
        )
    }
}
