//! What the background task knows of one partition: batches in flight, batches to be sent again.

use std::{collections::VecDeque, sync::Arc};

use tokio::time::Instant;

use super::{queue::PartitionQueue, seal::Sealed};
use crate::backoff::Backoff;

/// A batch that was given to the stream and has no answer.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) correlation_id: u64,
    pub(crate) sealed: Sealed,
}

/// One partition's batches between queue and answer.
///
/// Order: batches leave in the order of their sequence. After a refusal that a retry may cure, nothing more leaves
/// until everything in flight has its answer; then what was refused leaves again in order, except what was overtaken
/// by a batch that was, or may have been, written.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) queue: Arc<PartitionQueue>,
    pub(crate) in_flight: VecDeque<Flight>,
    retry: VecDeque<Sealed>,
    /// A batch waits to be sent again until nothing is in flight.
    recovering: bool,
    /// The greatest sequence that was, or may have been, written.
    written_up_to: Option<u64>,
    next_sequence: u64,
    pub(crate) not_before: Option<Instant>,
    backoff: Backoff,
    /// It is in the list of lanes that may have something to send.
    pub(crate) runnable: bool,
}

impl Lane {
    pub(crate) fn new(queue: Arc<PartitionQueue>) -> Self {
        Self {
            queue,
            in_flight: VecDeque::new(),
            retry: VecDeque::new(),
            recovering: false,
            written_up_to: None,
            next_sequence: 0,
            not_before: None,
            backoff: Backoff::default(),
            runnable: false,
        }
    }

    pub(crate) fn next_sequence(&mut self) -> u64 {
        self.next_sequence += 1;
        self.next_sequence
    }

    /// Whether a batch may leave now.
    pub(crate) fn may_send(&self, now: Instant, max_in_flight: usize) -> bool {
        !self.recovering && self.in_flight.len() < max_in_flight && self.not_before.is_none_or(|at| at <= now)
    }

    /// The next batch that has to be sent again.
    pub(crate) fn take_retry(&mut self) -> Option<Sealed> {
        self.retry.pop_front()
    }

    /// Takes a batch out of flight.
    pub(crate) fn land(&mut self, correlation_id: u64) -> Option<Sealed> {
        let index = self.in_flight.iter().position(|flight| flight.correlation_id == correlation_id)?;
        self.in_flight.remove(index).map(|flight| flight.sealed)
    }

    /// Notes that a batch was written, or may have been.
    pub(crate) fn written(&mut self, sequence: u64) {
        self.written_up_to = self.written_up_to.max(Some(sequence));
        self.backoff.reset();
    }

    /// Keeps a batch to be sent again.
    pub(crate) fn retry_later(&mut self, sealed: Sealed) {
        self.recovering = true;
        let index = self.retry.partition_point(|other| other.sequence < sealed.sequence);
        self.retry.insert(index, sealed);
    }

    /// Once nothing is in flight: lets batches leave again, after a wait if `wait`; returns those that may not,
    /// because a later one was written.
    pub(crate) fn recover(&mut self, now: Instant, wait: bool) -> Vec<Sealed> {
        if !self.recovering || !self.in_flight.is_empty() {
            return Vec::new();
        }
        self.recovering = false;
        let overtaken = self.retry.partition_point(|sealed| Some(sealed.sequence) < self.written_up_to);
        let overtaken = self.retry.drain(..overtaken).collect();
        self.not_before = (wait && !self.retry.is_empty()).then(|| now + self.backoff.next());
        overtaken
    }

    /// Takes the batches to be sent again that were created at `before` or earlier.
    pub(crate) fn take_older_retries(&mut self, before: Instant) -> Vec<Sealed> {
        let old = self.retry.iter().take_while(|sealed| sealed.created <= before).count();
        self.retry.drain(..old).collect()
    }

    /// Takes the flights created at `before` or earlier: their answers come too late.
    pub(crate) fn take_older_flights(&mut self, before: Instant) -> Vec<Flight> {
        let old = self.in_flight.iter().take_while(|flight| flight.sealed.created <= before).count();
        self.in_flight.drain(..old).collect()
    }

    /// Whether nothing is left to do.
    pub(crate) fn is_empty(&self) -> bool {
        self.in_flight.is_empty() && self.retry.is_empty() && self.queue.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use corduroy_types::{Outcome, PartitionIndex, TopicName};

    use crate::{
        producer::{delivery::Ticket, queues::QueueList, topic::TopicQueues},
        topics::TopicInfo,
    };

    fn lane() -> Lane {
        let info = TopicInfo {
            name: TopicName::new("t").unwrap(),
            id: None,
            partition_count: 1,
            max_message_bytes: 1000,
            learned_at: Instant::now(),
        };
        let list = QueueList::default();
        let _topic = TopicQueues::new(Arc::new(info), &list);
        Lane::new(list.all().remove(0))
    }

    fn sealed(sequence: u64) -> Sealed {
        Sealed {
            bytes: Bytes::new(),
            ticket: Arc::new(Ticket::new(TopicName::new("t").unwrap(), PartitionIndex(0))),
            record_count: 1,
            held_bytes: 0,
            created: Instant::now(),
            sequence,
            outcome: Outcome::NotWritten,
        }
    }

    /// Every combination of answers to four batches in flight, in every order: what is written afterwards, retries
    /// included, is in the order of acceptance, and everything else was handed back.
    #[test]
    fn whatever_is_refused_the_log_keeps_the_order_of_acceptance() {
        for refused in 0_u32..16 {
            for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1], [1, 3, 0, 2]] {
                let mut lane = lane();
                for correlation_id in 0..4 {
                    let sealed = sealed(lane.next_sequence());
                    lane.in_flight.push_back(Flight { correlation_id, sealed });
                }
                let mut log: Vec<u64> = (0..4).filter(|n| refused & (1 << n) == 0).map(|n| n + 1).collect();
                let mut back = Vec::new();
                for n in order {
                    assert!(lane.may_send(Instant::now(), 100) || refused != 0);
                    let batch = lane.land(n).unwrap();
                    if refused & (1 << n) == 0 {
                        lane.written(batch.sequence);
                    } else {
                        lane.retry_later(batch);
                        assert!(!lane.may_send(Instant::now(), 100), "nothing may pass a refused batch");
                    }
                    back.extend(lane.recover(Instant::now(), false).into_iter().map(|b| b.sequence));
                }
                while let Some(again) = lane.take_retry() {
                    log.push(again.sequence);
                }
                assert!(log.is_sorted(), "refused {refused:04b}: {log:?}");
                let mut all: Vec<_> = log.iter().chain(&back).copied().collect();
                all.sort_unstable();
                assert_eq!(all, [1, 2, 3, 4], "refused {refused:04b}");
                assert!(lane.is_empty());
            }
        }
    }
}
