//! One leadership: from its beginning until it ends, in one epoch.

use corduroy_types::{Acks, BrokerId, EpochHistory, Incarnation, LeaderEpoch, Offset};

use crate::{
    Ack, Acknowledged, Action, Hello, Invariant, LogView, MonotonicMs, NotLeading, PartitionCursors,
    RequestId, ResignReason, UnknownReason, Welcome, agree,
    replicas::Replicas,
    sessions::{Sendable, Sessions},
    waiters::{Waiter, Waiters},
};

/// The state of a leadership.
#[derive(Debug)]
pub(crate) struct Leader {
    pub(crate) epoch: LeaderEpoch,
    replicas: Replicas,
    history: EpochHistory,
    sessions: Sessions,
    waiters: Waiters,
    /// A quorum holds the epoch's entry.
    is_activated: bool,
    /// Why another leader was asked for, once it was.
    resigned: Option<ResignReason>,
    transfer: Option<Transfer>,
}

/// The leadership is being handed on.
#[derive(Clone, Copy, Debug)]
struct Transfer {
    target: BrokerId,
    deadline: MonotonicMs,
}

impl Leader {
    pub(crate) fn new(epoch: LeaderEpoch, replicas: Replicas, history: EpochHistory) -> Self {
        Self {
            epoch,
            replicas,
            history,
            sessions: Sessions::default(),
            waiters: Waiters::default(),
            is_activated: false,
            resigned: None,
            transfer: None,
        }
    }

    /// Why no produce is taken now, if so.
    pub(crate) fn refuses_produce(&self) -> Option<NotLeading> {
        match (self.transfer, self.resigned) {
            (Some(_), _) | (None, Some(ResignReason::Transfer(_))) => Some(NotLeading::Transferring),
            (None, Some(_)) => Some(NotLeading::Resigned),
            (None, None) => None,
        }
    }

    pub(crate) fn is_activated(&self) -> bool {
        self.is_activated
    }

    pub(crate) fn replicas(&self) -> &Replicas {
        &self.replicas
    }

    pub(crate) fn set_min_in_sync(&mut self, min_in_sync: u32) {
        self.replicas.set_min_in_sync(min_in_sync);
    }

    /// Another replica set counts from here on (rule V6).
    pub(crate) fn set_replicas(
        &mut self,
        ids: &[BrokerId],
        cursors: &mut PartitionCursors,
        out: &mut Vec<Action>,
    ) -> Result<(), Invariant> {
        if !self.replicas.set_members(ids) {
            return Err(Invariant::ReplicaNamedOnce);
        }
        self.advance(cursors, out)
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

    /// The log has a batch already that a producer sends again.
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

    /// A follower opens its stream, in this epoch.
    pub(crate) fn hello(
        &mut self,
        from: BrokerId,
        hello: &Hello,
        cursors: &PartitionCursors,
        own: Incarnation,
        out: &mut Vec<Action>,
    ) {
        // What another stream, or another run, of it has said counts no more (rule R5).
        self.replicas.forget(from);
        let theirs = LogView { log_start: hello.log_start, log_end: hello.log_end, history: &hello.history };
        let ours =
            LogView { log_start: cursors.log_start(), log_end: cursors.log_end(), history: &self.history };
        let agreement = agree(theirs, ours);
        self.sessions.open(from, hello, &agreement, cursors.log_end());
        let welcome = Welcome {
            epoch: self.epoch,
            incarnation: own,
            log_start: cursors.log_start(),
            log_end: cursors.log_end(),
            history: self.history.clone(),
        };
        out.push(Action::SendWelcome { to: from, welcome });
    }

    /// A follower says what it holds. What it says of another epoch or run of it is dropped.
    pub(crate) fn acked(
        &mut self,
        from: BrokerId,
        ack: &Ack,
        cursors: &mut PartitionCursors,
        out: &mut Vec<Action>,
    ) -> Result<(), Invariant> {
        if ack.epoch != self.epoch || !self.sessions.is_of(from, ack.incarnation) {
            return Ok(());
        }
        if ack.counted_end > cursors.log_end() {
            return Err(Invariant::AckBelowLogEnd);
        }
        if let Some(incarnation) = self.sessions.acknowledged(from, ack) {
            out.push(Action::ReplicaClean { replica: from, incarnation });
        }
        if ack.held_epoch == Some(self.epoch) {
            self.replicas.report(from, ack.counted_end, ack.durable_end);
        }
        self.advance(cursors, out)?;
        self.finish_transfer(cursors, out);
        Ok(())
    }

    pub(crate) fn pushed(&mut self, to: BrokerId, end: Offset, bytes: u64) {
        self.sessions.pushed(to, end, bytes);
    }

    /// A follower has disconnected. What it acknowledged goes on counting until it
    /// opens a stream again.
    pub(crate) fn disconnected(&mut self, peer: BrokerId) {
        self.sessions.close(peer);
    }

    /// Raises the high watermark to what a majority holds, then answers every append that this acknowledges.
    pub(crate) fn advance(
        &mut self,
        cursors: &mut PartitionCursors,
        out: &mut Vec<Action>,
    ) -> Result<(), Invariant> {
        if let Some(end) = self.replicas.quorum_end() {
            if !self.is_activated {
                self.is_activated = true;
                out.push(Action::Activated { epoch: self.epoch });
            }
            if end > cursors.high_watermark() {
                *cursors = cursors.with_high_watermark(end).ok_or(Invariant::CursorsInOrder)?;
                out.push(Action::HighWatermark(end));
            }
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

    /// What time, and whatever happened before, leads to: who keeps up, which waits are over, what is sent next.
    pub(crate) fn settle(
        &mut self,
        now: MonotonicMs,
        cursors: &mut PartitionCursors,
        out: &mut Vec<Action>,
    ) -> Result<(), Invariant> {
        if self.replicas.note_lag(now, cursors.log_end(), cursors.high_watermark()) {
            out.push(Action::InSync(self.replicas.in_sync()));
            // One that left holds up `acks=all` no more.
            self.advance(cursors, out)?;
        }
        if self.transfer.is_some_and(|transfer| transfer.deadline <= now) {
            self.transfer = None;
        }
        self.waiters.expire(now, |waiter| {
            out.push(Action::Answer { request: waiter.request, result: Err(UnknownReason::TimedOut) });
        });
        for peer in self.sessions.below(cursors.log_start()) {
            self.sessions.close(peer);
            out.push(Action::CloseStream { peer });
        }
        let has = Sendable {
            epoch: self.epoch,
            high_watermark: cursors.high_watermark(),
            log_start: cursors.log_start(),
            log_end: cursors.log_end(),
            history: &self.history,
        };
        self.sessions.pump(has, out);
        Ok(())
    }

    /// Begins to hand the leadership to a replica: refused produces are not written, and may be sent to it soon.
    pub(crate) fn transfer(
        &mut self,
        target: BrokerId,
        deadline: MonotonicMs,
        cursors: &PartitionCursors,
        out: &mut Vec<Action>,
    ) {
        if self.resigned.is_none() && self.replicas.contains(target) {
            self.transfer = Some(Transfer { target, deadline });
            self.finish_transfer(cursors, out);
        }
    }

    fn finish_transfer(&mut self, cursors: &PartitionCursors, out: &mut Vec<Action>) {
        let Some(transfer) = self.transfer else { return };
        if self.replicas.counted_end(transfer.target) == Some(cursors.log_end()) {
            self.transfer = None;
            self.resign(ResignReason::Transfer(transfer.target), out);
        }
    }

    /// Asks for another leader, once. Produces are refused from here on.
    pub(crate) fn resign(&mut self, reason: ResignReason, out: &mut Vec<Action>) {
        if self.resigned.is_none() {
            self.resigned = Some(reason);
            out.push(Action::Resign { epoch: self.epoch, reason });
        }
    }

    /// Ends the leadership: whatever still waits is unknown from here on, even if a later leadership commits it
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
        let transfer = self.transfer.map(|transfer| transfer.deadline);
        let lag = self.replicas.next_lag_deadline();
        [self.waiters.next_deadline(), transfer, lag].into_iter().flatten().min()
    }
}
