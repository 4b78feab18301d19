//! One partition's batches before they are sent: the open one, and full ones in order.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use corduroy_batch::{BatchBuilder, BatchError, PushOutcome};
use corduroy_types::{Offset, PartitionIndex, TimestampMs};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{
    delivery::{Delivery, Ticket},
    options::Options,
    topic::TopicState,
};
use crate::record::Source;

/// A batch that has not been sent yet.
#[derive(Debug)]
pub(crate) struct Unsent {
    pub(crate) builder: BatchBuilder,
    pub(crate) ticket: Arc<Ticket>,
    /// What it holds of the producer's buffer.
    pub(crate) held_bytes: u32,
    pub(crate) created: Instant,
}

impl Unsent {
    /// The offset that the next record has to expect to come into the same batch: with a condition the next one in its
    /// order, without one none.
    fn next_expected(&self) -> Option<Offset> {
        self.ticket.expected_offset?.checked_add(self.builder.record_count().into())
    }
}

#[derive(Debug, Default)]
struct Batches {
    open: Option<Unsent>,
    /// Batches that take no more records, oldest first.
    full: VecDeque<Unsent>,
    /// Batches that the background task took and has not finished.
    taken: Vec<Arc<Ticket>>,
    /// Someone waits for the open batch: it leaves without gathering.
    urgent: bool,
    /// Nothing may come in any more.
    closed: bool,
}

/// The records of one partition that the background task has not taken yet.
///
/// Records are accepted under its lock, which makes their order: that of the lock is the order in the partition.
#[derive(Debug)]
pub(crate) struct PartitionQueue {
    /// Its place in the producer's list of queues.
    pub(crate) id: usize,
    pub(crate) topic: Arc<TopicState>,
    pub(crate) partition: PartitionIndex,
    batches: Mutex<Batches>,
    /// It is in the list of queues that the background task looks at next.
    listed: AtomicBool,
}

/// What a push did, in addition to the record's delivery.
pub(crate) struct Pushed {
    pub(crate) delivery: Delivery,
    /// A batch was begun or became full: the background task should look.
    pub(crate) wake: bool,
    /// A batch became full: records without a key go elsewhere.
    pub(crate) filled: bool,
}

/// What the background task gets from a queue.
pub(crate) enum Taken {
    Batch(Unsent),
    /// The open batch may leave at this time.
    NotBefore(Instant),
    Nothing,
}

impl PartitionQueue {
    pub(crate) fn new(id: usize, topic: Arc<TopicState>, partition: PartitionIndex) -> Self {
        Self { id, topic, partition, batches: Mutex::default(), listed: AtomicBool::new(false) }
    }

    /// Accepts a record that holds `held_bytes` of the buffer. `None`: the producer is closed.
    pub(crate) fn push(
        self: &Arc<Self>,
        record: &impl Source,
        timestamp: TimestampMs,
        held_bytes: u32,
        options: &Options,
        max_message_bytes: u32,
    ) -> Option<Result<Pushed, BatchError>> {
        let mut state = self.batches.lock();
        if state.closed {
            return None;
        }
        let room = options.batch_bytes.min(max_message_bytes) as usize;
        let expected = record.expected_offset();
        // The bytes held are an upper bound of the record's size, so a batch is filled to a little less than `room`.
        let full = state.open.as_ref().is_some_and(|open| {
            let no_room = open.builder.encoded_bytes() + held_bytes as usize > room;
            !open.builder.is_empty() && (no_room || open.next_expected() != expected)
        });
        let mut filled = full && state.fill();
        let mut begun = false;
        loop {
            let open = state.open.get_or_insert_with(|| {
                begun = true;
                self.begin(options, max_message_bytes, expected)
            });
            let builder = &mut open.builder;
            match builder.push(timestamp, record.key(), record.value(), record.header_iter()) {
                Ok(PushOutcome::Added) => {
                    open.held_bytes = open.held_bytes.saturating_add(held_bytes);
                    let delivery =
                        Delivery::new(Arc::clone(&open.ticket), builder.record_count() - 1, timestamp);
                    return Some(Ok(Pushed { delivery, wake: begun || filled, filled }));
                }
                // Never with an empty builder, so the second turn decides.
                Ok(PushOutcome::Full) => filled |= state.fill(),
                Err(BatchError::TimestampDelta { .. }) if !builder.is_empty() => filled |= state.fill(),
                Err(error) => {
                    if builder.is_empty() {
                        state.open = None;
                    }
                    return Some(Err(error));
                }
            }
        }
    }

    fn begin(&self, options: &Options, max_message_bytes: u32, expected: Option<Offset>) -> Unsent {
        let ticket = Ticket::new(self.topic.name.clone(), self.partition).expecting(expected);
        Unsent {
            builder: BatchBuilder::new(options.compression, max_message_bytes)
                .allow_uncompressed(options.uncompressed_bytes_max(max_message_bytes)),
            ticket: Arc::new(ticket),
            held_bytes: 0,
            created: Instant::now(),
        }
    }

    /// Takes the next batch that may leave now. `idle`: nothing of this partition is in flight.
    pub(crate) fn take(&self, now: Instant, idle: bool, linger: Duration) -> Taken {
        let mut state = self.batches.lock();
        let next = match (state.full.pop_front(), &state.open) {
            (Some(full), _) => Some(full),
            (None, None) => None,
            (None, Some(open)) => {
                let leaves_at = open.created + linger;
                let leaves =
                    state.urgent || state.closed || if linger.is_zero() { idle } else { leaves_at <= now };
                if !leaves && !linger.is_zero() {
                    return Taken::NotBefore(leaves_at);
                }
                if leaves { state.take_open() } else { None }
            }
        };
        match next {
            Some(batch) => {
                state.note_taken(std::slice::from_ref(&batch));
                Taken::Batch(batch)
            }
            None => Taken::Nothing,
        }
    }

    /// A batch that was taken has its result.
    pub(crate) fn finished(&self, ticket: &Arc<Ticket>) {
        self.batches.lock().taken.retain(|taken| !Arc::ptr_eq(taken, ticket));
    }

    /// Lets the open batch leave without gathering; returns the tickets of all that is not finished.
    pub(crate) fn hurry(&self) -> Vec<Arc<Ticket>> {
        let mut state = self.batches.lock();
        state.urgent = state.open.is_some();
        state.tickets()
    }

    /// Lets nothing more in; returns the tickets of all that is not finished.
    pub(crate) fn close(&self) -> Vec<Arc<Ticket>> {
        let mut state = self.batches.lock();
        state.closed = true;
        state.tickets()
    }

    /// Takes the batches created at `before` or earlier, oldest first. Until each has its result, `hurry` says so.
    pub(crate) fn take_older(&self, before: Instant) -> Vec<Unsent> {
        let mut state = self.batches.lock();
        let old = state.full.iter().take_while(|batch| batch.created <= before).count();
        let mut taken: Vec<_> = state.full.drain(..old).collect();
        if state.full.is_empty() && state.open.as_ref().is_some_and(|open| open.created <= before) {
            taken.extend(state.take_open());
        }
        state.note_taken(&taken);
        taken
    }

    /// Takes everything, and lets nothing more in. Until each has its result, `hurry` says so.
    pub(crate) fn abort(&self) -> Vec<Unsent> {
        let mut state = self.batches.lock();
        state.closed = true;
        let mut taken: Vec<_> = state.full.drain(..).collect();
        taken.extend(state.take_open());
        state.note_taken(&taken);
        taken
    }

    /// The tickets of batches that were taken and have no result.
    pub(crate) fn unfinished(&self) -> Vec<Arc<Ticket>> {
        self.batches.lock().taken.clone()
    }

    /// Whether nothing waits here.
    pub(crate) fn is_empty(&self) -> bool {
        let state = self.batches.lock();
        state.full.is_empty() && state.open.is_none()
    }

    /// Whether the caller is the one to put it on the list of queues to look at.
    pub(crate) fn list(&self) -> bool {
        !self.listed.swap(true, Ordering::AcqRel)
    }

    /// It was taken off the list.
    pub(crate) fn unlist(&self) {
        self.listed.store(false, Ordering::Release);
    }
}

impl Batches {
    /// They are not waiting any more, and not finished either: a flush that begins now has to wait for them.
    fn note_taken(&mut self, batches: &[Unsent]) {
        self.taken.extend(batches.iter().map(|batch| Arc::clone(&batch.ticket)));
    }

    fn take_open(&mut self) -> Option<Unsent> {
        self.urgent = false;
        self.open.take()
    }

    fn tickets(&self) -> Vec<Arc<Ticket>> {
        let waiting = self.full.iter().chain(&self.open).map(|batch| &batch.ticket);
        self.taken.iter().chain(waiting).map(Arc::clone).collect()
    }

    /// Ends the open batch; false when there was none.
    fn fill(&mut self) -> bool {
        match self.take_open() {
            Some(open) => {
                self.full.push_back(open);
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use corduroy_types::TopicName;

    use super::*;
    use crate::{
        Client, Record,
        producer::{queues::QueueList, topic::TopicQueues},
        topics::TopicInfo,
    };

    #[tokio::test]
    async fn a_batch_that_was_taken_in_any_way_is_waited_for_until_it_has_its_result() {
        let info = TopicInfo {
            name: TopicName::new("t").unwrap(),
            id: None,
            partition_count: 1,
            max_message_bytes: 1000,
            learned_at: Instant::now(),
        };
        let list = QueueList::default();
        let _topic = TopicQueues::new(Arc::new(info), &list);
        let queue = list.all().remove(0);
        let options = Client::builder("http://127.0.0.1:1").connect_lazy().unwrap().producer().into_options();
        type Take = fn(&PartitionQueue) -> Vec<Unsent>;
        let takes: [Take; 3] = [
            |queue| match queue.take(Instant::now(), true, Duration::ZERO) {
                Taken::Batch(batch) => vec![batch],
                Taken::NotBefore(_) | Taken::Nothing => vec![],
            },
            |queue| queue.take_older(Instant::now()),
            |queue| queue.abort(),
        ];
        for take in takes {
            let record = Record::to("t").value("v");
            let pushed = queue.push(&record, TimestampMs(1), 100, &options, 1000).unwrap().unwrap();
            drop(pushed.delivery);
            let taken = take(&queue);
            let [batch] = taken.as_slice() else { panic!("one batch was taken, not {}", taken.len()) };
            let waited_for = queue.hurry();
            assert!(waited_for.iter().any(|ticket| Arc::ptr_eq(ticket, &batch.ticket)));
            queue.finished(&batch.ticket);
            assert!(queue.hurry().is_empty());
        }
    }
}
