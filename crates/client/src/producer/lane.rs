//! What the background task knows of one partition: batches in flight, batches to be sent again.

use std::{collections::VecDeque, sync::Arc};

use corduroy_batch::ProducerFields;
use corduroy_types::Outcome;
use tokio::time::Instant;

use super::{numbering::Numbering, queue::PartitionQueue, seal::Sealed};
use crate::backoff::Backoff;

/// A batch that was given to the stream and has no answer.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) correlation_id: u64,
    pub(crate) sealed: Sealed,
}

/// Numbers that no batch will be sent with any more: a batch failed for good, so those behind it need other ones.
#[derive(Debug, Clone, Copy)]
struct Gap {
    /// The first place without a batch.
    place: u64,
    /// The numbers that came free.
    free: ProducerFields,
    /// They are of no use: the partition has forgotten the epoch.
    next_epoch: bool,
}

/// What is to be sent again.
#[derive(Debug)]
pub(crate) enum Again {
    Send(Sealed),
    /// Something is, and has to wait; so has everything behind it.
    NotYet,
    Nothing,
}

/// One partition's batches between queue and answer.
///
/// Order: batches leave in the order of their places. After a refusal that a retry may cure, nothing more leaves until
/// everything in flight has its answer; then what was refused leaves again in order, with the same bytes. The partition
/// takes numbered batches in the order of their numbers only; of those without numbers, what was overtaken by a batch
/// that was, or may have been, written does not leave again.
///
/// A numbered batch that failed for good leaves a gap. Nothing behind it was written, since the partition would not take
/// it: so what is behind is numbered again, once nothing is in flight. Where one of those may still be on its way from
/// an earlier attempt, that happens in the next epoch, so that the partition refuses what arrives late.
///
/// What was accepted behind a batch that expects an offset is written only if that batch is: when it fails, everything
/// behind it is handed back. The partition takes numbered batches in order, so these can be in flight behind it; a batch
/// without numbers leaves only when no condition is open.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) queue: Arc<PartitionQueue>,
    pub(crate) in_flight: VecDeque<Flight>,
    retry: VecDeque<Sealed>,
    /// A batch waits to be sent again until nothing is in flight.
    recovering: bool,
    /// The greatest place that was, or may have been, written.
    written_up_to: Option<u64>,
    next_place: u64,
    /// `None` until the producer has an id, and when this partition has used it up.
    pub(crate) numbering: Option<Numbering>,
    /// The id whose epochs are used up here.
    pub(crate) used_up: Option<i64>,
    gap: Option<Gap>,
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
            next_place: 0,
            numbering: None,
            used_up: None,
            gap: None,
            not_before: None,
            backoff: Backoff::default(),
            runnable: false,
        }
    }

    pub(crate) fn next_place(&mut self) -> u64 {
        self.next_place += 1;
        self.next_place
    }

    /// Whether a batch may leave now.
    pub(crate) fn may_send(&self, now: Instant, max_in_flight: usize) -> bool {
        !self.recovering && self.in_flight.len() < max_in_flight && self.not_before.is_none_or(|at| at <= now)
    }

    /// The next batch that has to be sent again.
    pub(crate) fn take_again(&mut self) -> Again {
        if let Some(gap) = self.gap
            && self.retry.front().is_none_or(|next| next.place >= gap.place)
            && (!self.in_flight.is_empty() || !self.close_gap(gap))
        {
            return Again::NotYet;
        }
        self.retry.pop_front().map_or(Again::Nothing, Again::Send)
    }

    /// Numbers everything behind a gap again; nothing is in flight. False when that takes another id.
    fn close_gap(&mut self, gap: Gap) -> bool {
        let Some(mut numbering) = self.numbering else { return false };
        if gap.next_epoch || self.retry.iter().any(|sealed| sealed.outcome == Outcome::Unknown) {
            match numbering.next_epoch() {
                Some(next) => numbering = next,
                None => {
                    self.leave_id();
                    self.gap = Some(Gap { next_epoch: true, ..gap });
                    return false;
                }
            }
        } else {
            numbering.back_to(gap.free);
        }
        for sealed in &mut self.retry {
            sealed.renumber(numbering.fields());
            numbering.advance(sealed.record_count);
        }
        self.numbering = Some(numbering);
        self.gap = None;
        true
    }

    /// A batch failed for good and is certainly not written: those behind it need other numbers. `next_epoch`: the
    /// partition does not know its epoch (any more).
    pub(crate) fn note_gap(&mut self, sealed: &Sealed, next_epoch: bool) {
        if !sealed.is_numbered() {
            return;
        }
        let new = Gap { place: sealed.place, free: sealed.producer, next_epoch };
        self.gap = Some(match self.gap {
            Some(old) if old.place < new.place => Gap { next_epoch: old.next_epoch || next_epoch, ..old },
            Some(old) => Gap { next_epoch: old.next_epoch || next_epoch, ..new },
            None => new,
        });
    }

    /// Whether the partition refuses what is at a place because something before it has not been written yet.
    pub(crate) fn is_behind_pending(&self, place: u64) -> bool {
        let mut pending = self.in_flight.iter().map(|flight| &flight.sealed).chain(&self.retry);
        pending.any(|sealed| sealed.place < place) || self.gap.is_some_and(|gap| gap.place < place)
    }

    /// Takes everything that was sealed, in its order, each with what became of its last attempt, and begins a new epoch:
    /// from its first batch on the partition refuses what may still be on its way.
    pub(crate) fn surrender(&mut self) -> Vec<(Sealed, Outcome)> {
        let flights = self.in_flight.drain(..).map(|flight| (flight.sealed, Outcome::Unknown));
        let retries = self.retry.drain(..).map(|sealed| (sealed, Outcome::NotWritten));
        let mut all: Vec<_> = flights.chain(retries).collect();
        all.sort_by_key(|(sealed, _)| sealed.place);
        self.recovering = false;
        self.gap = None;
        match self.numbering.and_then(Numbering::next_epoch) {
            Some(next) => self.numbering = Some(next),
            None => self.leave_id(),
        }
        all
    }

    /// Numbers nothing more with the present id.
    pub(crate) fn leave_id(&mut self) {
        if let Some(numbering) = self.numbering.take() {
            self.used_up = Some(numbering.id());
        }
    }

    /// The first batch created at `before` or earlier that may have been written.
    pub(crate) fn first_overdue_in_doubt(&self, before: Instant) -> Option<u64> {
        let flights = self.in_flight.iter().map(|flight| &flight.sealed);
        let retries = self.retry.iter().filter(|sealed| sealed.outcome == Outcome::Unknown);
        flights.chain(retries).filter(|sealed| sealed.created <= before).map(|sealed| sealed.place).min()
    }

    /// Takes a batch out of flight.
    pub(crate) fn land(&mut self, correlation_id: u64) -> Option<Sealed> {
        let index = self.in_flight.iter().position(|flight| flight.correlation_id == correlation_id)?;
        self.in_flight.remove(index).map(|flight| flight.sealed)
    }

    /// Notes that a batch was written, or may have been.
    pub(crate) fn written(&mut self, place: u64) {
        self.written_up_to = self.written_up_to.max(Some(place));
        self.backoff.reset();
    }

    /// Keeps a batch to be sent again.
    pub(crate) fn retry_later(&mut self, sealed: Sealed) {
        self.recovering = true;
        let index = self.retry.partition_point(|other| other.place < sealed.place);
        self.retry.insert(index, sealed);
    }

    /// Once nothing is in flight: lets batches leave again, after a wait if `wait`; returns those that may not,
    /// because a later one was written and the partition would not refuse them for it.
    pub(crate) fn recover(&mut self, now: Instant, wait: bool) -> Vec<Sealed> {
        if !self.recovering || !self.in_flight.is_empty() {
            return Vec::new();
        }
        self.recovering = false;
        let is_overtaken = |sealed: &Sealed| !sealed.is_numbered() && Some(sealed.place) < self.written_up_to;
        let overtaken = self.retry.partition_point(is_overtaken);
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

    /// Takes what was sealed behind a place: what has no answer yet, and what was to be sent again.
    pub(crate) fn take_behind(&mut self, place: u64) -> (Vec<Flight>, Vec<Sealed>) {
        let (behind, before) =
            std::mem::take(&mut self.in_flight).into_iter().partition(|flight| flight.sealed.place > place);
        self.in_flight = before;
        let first = self.retry.partition_point(|sealed| sealed.place <= place);
        (behind.into(), self.retry.drain(first..).collect())
    }

    /// Whether a batch that expects an offset is sealed and has not ended.
    pub(crate) fn has_open_condition(&self) -> bool {
        let mut pending = self.in_flight.iter().map(|flight| &flight.sealed).chain(&self.retry);
        pending.any(Sealed::is_conditional)
    }

    /// Whether nothing is left to do.
    pub(crate) fn is_empty(&self) -> bool {
        self.in_flight.is_empty() && self.retry.is_empty() && self.queue.is_empty()
    }
}

#[cfg(test)]
#[path = "lane_tests.rs"]
mod tests;
