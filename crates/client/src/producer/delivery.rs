//! What became of a record: one shared result per batch, and a future for each record.

use std::{
    future::Future,
    mem,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use corduroy_api::Refusal;
use corduroy_batch::{Batch, DecompressLimits};
use corduroy_types::{LeaderEpoch, Offset, Outcome, PartitionIndex, TimestampMs, TopicName};
use parking_lot::Mutex;

use super::error::{SendError, SendErrorKind};
use crate::Record;

/// Where an acknowledged record is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordMeta {
    /// Its topic.
    pub topic: TopicName,
    /// Its partition.
    pub partition: PartitionIndex,
    /// Its offset.
    pub offset: Offset,
    /// Its time: its own, or the broker's where the topic has LogAppendTime.
    pub timestamp: TimestampMs,
    /// The epoch of the leader that appended it.
    pub leader_epoch: LeaderEpoch,
    /// How many replicas held it on stable storage when it was acknowledged.
    pub durable_replicas: u32,
    /// It was in the log already when this acknowledgement was asked for: an earlier answer was lost, and the record is
    /// there once.
    pub duplicate: bool,
}

/// How a batch ended.
#[derive(Debug)]
pub(crate) enum BatchEnd {
    Acked(Acked),
    Failed(Failed),
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Acked {
    pub(crate) base_offset: Offset,
    pub(crate) log_append_time: Option<TimestampMs>,
    pub(crate) leader_epoch: LeaderEpoch,
    pub(crate) durable_replicas: u32,
    pub(crate) duplicate: bool,
}

/// A batch that failed, with the bytes to hand its records back from.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) error: SendError,
    bytes: Bytes,
    records: OnceLock<Vec<Record>>,
}

impl Failed {
    pub(crate) fn new(kind: SendErrorKind, outcome: Outcome, refusal: Refusal, bytes: Bytes) -> Self {
        Self { error: SendError::new(kind, outcome, refusal), bytes, records: OnceLock::new() }
    }

    /// The batch's records, decoded when first asked for.
    pub(crate) fn records(&self, ticket: &Ticket) -> &[Record] {
        self.records.get_or_init(|| decode(&self.bytes, ticket).unwrap_or_default())
    }
}

/// The records of a batch that this producer built.
fn decode(bytes: &Bytes, ticket: &Ticket) -> Option<Vec<Record>> {
    // Only bytes built here come here, so the only limit is what was put in.
    let limits = DecompressLimits::new(u64::from(u32::MAX));
    let records = Batch::parse(bytes.clone()).ok()?.records(limits).ok()?;
    let share = |part: &[u8]| records.buffer().slice_ref(part);
    let mut out = Vec::new();
    for stored in &records {
        let stored = stored.ok()?;
        let mut record = Record::to(&ticket.topic).partition(ticket.partition.0).timestamp(stored.timestamp);
        if let Some(first) = ticket.expected_offset {
            record = record.expect_offset(first.saturating_add(stored.offset_delta.into()));
        }
        if let Some(key) = stored.key {
            record = record.key(share(key));
        }
        if let Some(value) = stored.value {
            record = record.value(share(value));
        }
        for (key, value) in stored.headers {
            record = match value {
                Some(value) => record.header(key.to_owned(), share(value)),
                None => record.null_header(key.to_owned()),
            };
        }
        out.push(record);
    }
    Some(out)
}

/// A batch's place in the world: its result, once there is one, and who waits for it.
#[derive(Debug)]
pub(crate) struct Ticket {
    pub(crate) topic: TopicName,
    pub(crate) partition: PartitionIndex,
    /// The offset without which the batch is not to be appended.
    pub(crate) expected_offset: Option<Offset>,
    end: OnceLock<BatchEnd>,
    waiting: Mutex<Vec<Waker>>,
}

impl Ticket {
    pub(crate) fn new(topic: TopicName, partition: PartitionIndex) -> Self {
        Self { topic, partition, expected_offset: None, end: OnceLock::new(), waiting: Mutex::default() }
    }

    /// The same for a batch that is to be appended at this offset only.
    #[must_use]
    pub(crate) fn expecting(self, expected_offset: Option<Offset>) -> Self {
        Self { expected_offset, ..self }
    }

    /// Sets the result, once, and wakes everybody.
    pub(crate) fn finish(&self, end: BatchEnd) {
        // A second result could only come from a fault in the producer; the first one has been delivered already.
        let _ = self.end.set(end);
        let waiting = mem::take(&mut *self.waiting.lock());
        for waker in waiting {
            waker.wake();
        }
    }

    pub(crate) fn end(&self) -> Option<&BatchEnd> {
        self.end.get()
    }

    /// Waits for the result. `slot` remembers which waker is the caller's.
    fn poll_end(&self, cx: &Context<'_>, slot: &mut Option<usize>) -> Poll<&BatchEnd> {
        if let Some(end) = self.end.get() {
            return Poll::Ready(end);
        }
        let mut waiting = self.waiting.lock();
        // `finish` sets the result before it takes this lock, so a waker added after this look is found by it.
        if let Some(end) = self.end.get() {
            return Poll::Ready(end);
        }
        match slot.and_then(|slot| waiting.get_mut(slot)) {
            Some(waker) => waker.clone_from(cx.waker()),
            None => {
                *slot = Some(waiting.len());
                waiting.push(cx.waker().clone());
            }
        }
        Poll::Pending
    }

    /// Resolves when the batch has ended.
    pub(crate) async fn ended(&self) {
        let mut slot = None;
        std::future::poll_fn(|cx| self.poll_end(cx, &mut slot).map(|_| ())).await;
    }

    /// All records of a failed batch, each with its error.
    pub(crate) fn undelivered(&self) -> Vec<(Record, SendError)> {
        match self.end() {
            Some(BatchEnd::Failed(failed)) => {
                failed.records(self).iter().map(|record| (record.clone(), failed.error.clone())).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// What will become of a record that the producer accepted: resolves to its place, or to why it was not delivered.
///
/// Dropping it never cancels the record. It is `'static` and cheap: all records of a batch share one result.
#[derive(Debug)]
#[must_use = "a delivery says whether the record was written; drop it explicitly to rely on `flush` instead"]
pub struct Delivery {
    ticket: Arc<Ticket>,
    index: u32,
    timestamp: TimestampMs,
    slot: Option<usize>,
}

impl Delivery {
    pub(crate) fn new(ticket: Arc<Ticket>, index: u32, timestamp: TimestampMs) -> Self {
        Self { ticket, index, timestamp, slot: None }
    }

    /// The partition that the record goes to.
    #[must_use]
    pub fn partition(&self) -> PartitionIndex {
        self.ticket.partition
    }

    /// The result, if there is one already.
    #[must_use]
    pub fn result(&self) -> Option<Result<RecordMeta, SendError>> {
        self.ticket.end().map(|end| self.read(end))
    }

    fn read(&self, end: &BatchEnd) -> Result<RecordMeta, SendError> {
        match end {
            BatchEnd::Acked(acked) => Ok(RecordMeta {
                topic: self.ticket.topic.clone(),
                partition: self.ticket.partition,
                offset: acked.base_offset.saturating_add(self.index.into()),
                timestamp: acked.log_append_time.unwrap_or(self.timestamp),
                leader_epoch: acked.leader_epoch,
                durable_replicas: acked.durable_replicas,
                duplicate: acked.duplicate,
            }),
            BatchEnd::Failed(failed) => {
                let record = failed.records(&self.ticket).get(self.index as usize).cloned();
                Err(failed.error.clone().with_record(record))
            }
        }
    }
}

impl Future for Delivery {
    type Output = Result<RecordMeta, SendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        match this.ticket.poll_end(cx, &mut this.slot) {
            Poll::Ready(end) => Poll::Ready(this.read(end)),
            Poll::Pending => Poll::Pending,
        }
    }
}
