//! One leadership: from its beginning until it ends, in one epoch.

use corduroy_types::{Acks, LeaderEpoch, Offset};

use crate::{
    Acknowledged, Action, Invariant, MonotonicMs, NotLeading, PartitionCursors, RequestId, UnknownReason,
    replicas::Replicas,
    waiters::{Waiter, Waiters},
};

/// The state of a leadership.
#[derive(Debug)]
pub(crate) struct Leader {
    pub(crate) epoch: LeaderEpoch,
    replicas: Replicas,
    waiters: Waiters,
}

impl Leader {
    pub(crate) fn new(epoch: LeaderEpoch, replicas: Replicas) -> Self {
        Self { epoch, replicas, waiters: Waiters::default() }
    }

    /// The log took a batch.
    pub(crate) fn appended(
        &mut self,
        cursors: &mut PartitionCursors,
        request: RequestId,
        (base, end): (Offset, Offset),
        acks: Acks,
        deadline: MonotonicMs,
    ) -> Result<(), Invariant> {
        if base != cursors.log_end() || end <= base {
            return Err(Invariant::AppendAtLogEnd);
        }
        *cursors = cursors.with_log_end(end).ok_or(Invariant::CursorsInOrder)?;
        self.waiters.push(acks, Waiter { request, base, end, deadline });
        Ok(())
    }

    /// The log has a batch already that somebody asks to append.
    pub(crate) fn duplicate(
        &mut self,
        cursors: &mut PartitionCursors,
        waiter: Waiter,
        acks: Acks,
        out: &mut Vec<Action>,
    ) -> Result<(), Invariant> {
        if waiter.end <= waiter.base || waiter.end > cursors.log_end() {
            return Err(Invariant::DuplicateBelowLogEnd);
        }
        self.waiters.insert(acks, waiter);
        self.advance(cursors, out)
    }

    /// The log's own ends moved.
    pub(crate) fn counted(
        &mut self,
        cursors: &mut PartitionCursors,
        counted: Offset,
        durable: Offset,
        out: &mut Vec<Action>,
    ) -> Result<(), Invariant> {
        if counted > cursors.log_end() || durable > cursors.log_end() {
            return Err(Invariant::CountedBelowLogEnd);
        }
        self.replicas.report_own(counted, durable);
        self.advance(cursors, out)
    }

    /// Raises the high watermark to what a majority holds, then answers every append that this acknowledges.
    pub(crate) fn advance(
        &mut self,
        cursors: &mut PartitionCursors,
        out: &mut Vec<Action>,
    ) -> Result<(), Invariant> {
        if let Some(end) = self.replicas.quorum_end()
            && end > cursors.high_watermark()
        {
            *cursors = cursors.with_high_watermark(end).ok_or(Invariant::CursorsInOrder)?;
            out.push(Action::HighWatermark(end));
        }
        for acks in Waiters::LEVELS {
            let Some(end) = self.replicas.acknowledged_end(acks, cursors.high_watermark()) else { continue };
            while let Some(waiter) = self.waiters.pop_up_to(acks, end) {
                let result = Ok(Acknowledged {
                    base: waiter.base,
                    end: waiter.end,
                    epoch: self.epoch,
                    durable_replicas: self.replicas.durable_count(waiter.end),
                });
                out.push(Action::Answer { request: waiter.request, result });
            }
        }
        Ok(())
    }

    /// Ends the waits whose deadline has come.
    pub(crate) fn expire(&mut self, now: MonotonicMs, out: &mut Vec<Action>) {
        self.waiters.expire(now, |waiter| {
            out.push(Action::Answer { request: waiter.request, result: Err(UnknownReason::TimedOut) });
        });
    }

    /// Ends the leadership: whatever still waits is unknown from here on, whoever raises a later watermark
    /// (rule R13).
    pub(crate) fn end(mut self, reason: NotLeading, out: &mut Vec<Action>) {
        let result = Err(UnknownReason::LeadershipEnded(reason));
        out.extend(self.waiters.drain().map(|waiter| Action::Answer { request: waiter.request, result }));
        out.push(Action::LeadershipEnded { epoch: self.epoch, reason });
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiters.len()
    }

    pub(crate) fn next_deadline(&self) -> Option<MonotonicMs> {
        self.waiters.next_deadline()
    }
}
