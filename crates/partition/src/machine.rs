//! The state machine: led here, or not.

use corduroy_types::{Acks, BrokerId, LeaderEpoch, Offset};

use crate::{
    Action, Event, Invariant, LogEnds, MonotonicMs, NotLeading, PartitionCursors, Refusal, UnknownReason,
    leader::Leader, replicas::Replicas, waiters::Waiter,
};

/// One partition on one broker.
///
/// It has one owner at a time, who calls [`Partition::step`] in the order in which things happened to the
/// partition's log.
#[derive(Debug)]
pub struct Partition {
    own: BrokerId,
    role: Role,
    /// The greatest epoch ever led here: none at or below it is led again (rule R3).
    last_epoch: Option<LeaderEpoch>,
    cursors: PartitionCursors,
}

#[derive(Debug)]
enum Role {
    Leading(Leader),
    Idle(NotLeading),
}

impl Partition {
    /// A partition on the broker `own` that nobody leads yet.
    pub fn new(own: BrokerId) -> Self {
        Self {
            own,
            role: Role::Idle(NotLeading::NotYet),
            last_epoch: None,
            cursors: PartitionCursors::default(),
        }
    }

    /// Takes in what happened at `now` and adds what is to be done to `out`.
    ///
    /// Every [`Event::Appended`] and [`Event::Duplicate`] is answered exactly once, by this step or a later one. Waits that are over
    /// at `now` end in every step, after what the event itself acknowledges. An event that breaks an [`Invariant`], such
    /// as a log end that goes back, ends the leadership with [`NotLeading::Contradiction`], after an
    /// [`Action::Contradiction`] that names it.
    pub fn step(&mut self, now: MonotonicMs, event: Event, out: &mut Vec<Action>) {
        let before = self.cursors;
        if let Err(invariant) = self.handle(event, out).and_then(|()| self.check(before)) {
            out.push(Action::Contradiction(invariant));
            self.end(NotLeading::Contradiction, out);
        }
        if let Role::Leading(leader) = &mut self.role {
            leader.expire(now, out);
        }
    }

    /// Whether a produce may be appended now; `named` is the leader epoch that the request names, if any.
    /// Returns the epoch to stamp and to append in.
    ///
    /// # Errors
    /// [`Refusal`]: nothing may be appended, so the outcome is *not written*.
    pub fn check_produce(&self, named: Option<LeaderEpoch>) -> Result<LeaderEpoch, Refusal> {
        self.check_epoch(named)
    }

    /// What may be read now; `named` is the leader epoch that the request names, if any (KIP-320).
    ///
    /// Where the leadership has ended and no other broker leads, as after a failed write, what was below the high
    /// watermark stays readable.
    ///
    /// # Errors
    /// [`Refusal`]: the partition was never led here, is led elsewhere or gone, or is not at that epoch.
    pub fn check_read(&self, named: Option<LeaderEpoch>) -> Result<PartitionCursors, Refusal> {
        let ended_elsewhere = match &self.role {
            Role::Leading(_) => None,
            Role::Idle(reason) => match reason {
                NotLeading::NotYet | NotLeading::TopicDeleted | NotLeading::Superseded => Some(*reason),
                NotLeading::StorageFailed | NotLeading::ShuttingDown | NotLeading::Contradiction => None,
            },
        };
        match (ended_elsewhere, self.last_epoch) {
            (Some(reason), _) => Err(Refusal::NotLeading(reason)),
            (None, None) => Err(Refusal::NotLeading(NotLeading::NotYet)),
            (None, Some(last)) => at_epoch(named, last).map(|_| self.cursors),
        }
    }

    /// The greatest epoch that was ever led here.
    pub const fn last_epoch(&self) -> Option<LeaderEpoch> {
        self.last_epoch
    }

    /// The epoch in which the partition is led here now.
    pub const fn epoch(&self) -> Option<LeaderEpoch> {
        match &self.role {
            Role::Leading(leader) => Some(leader.epoch),
            Role::Idle(_) => None,
        }
    }

    /// The cursors; those of the last leadership where there is none now, and all 0 before the first.
    pub const fn cursors(&self) -> PartitionCursors {
        self.cursors
    }

    /// How many appends wait for their answer.
    pub fn waiting(&self) -> usize {
        match &self.role {
            Role::Leading(leader) => leader.waiting(),
            Role::Idle(_) => 0,
        }
    }

    /// By when a step is due, for an append's deadline; `None` while nothing waits. May be too
    /// early, never too late.
    pub fn next_deadline(&self) -> Option<MonotonicMs> {
        match &self.role {
            Role::Leading(leader) => leader.next_deadline(),
            Role::Idle(_) => None,
        }
    }

    fn check_epoch(&self, named: Option<LeaderEpoch>) -> Result<LeaderEpoch, Refusal> {
        let current = match &self.role {
            Role::Leading(leader) => leader.epoch,
            Role::Idle(reason) => return Err(Refusal::NotLeading(*reason)),
        };
        at_epoch(named, current)
    }

    fn handle(&mut self, event: Event, out: &mut Vec<Action>) -> Result<(), Invariant> {
        match event {
            Event::Lead { epoch, replicas, log } => {
                if self.last_epoch.is_some_and(|last| epoch <= last) {
                    return Ok(());
                }
                self.end(NotLeading::Superseded, out);
                self.lead(epoch, &replicas, log, out)
            }
            Event::Appended { request, epoch, base, end, acks, deadline } => match &mut self.role {
                Role::Leading(leader) if leader.epoch == epoch => {
                    let appended = leader.appended(&mut self.cursors, request, (base, end), acks, deadline);
                    if appended.is_err() {
                        out.push(unknown(request, NotLeading::Contradiction));
                    }
                    appended
                }
                Role::Leading(_) => {
                    out.push(unknown(request, NotLeading::Superseded));
                    Ok(())
                }
                Role::Idle(reason) => {
                    out.push(unknown(request, *reason));
                    Ok(())
                }
            },
            Event::Duplicate { request, epoch, base, end, acks, deadline } => {
                let waiter = Waiter { request, base, end, deadline };
                self.duplicate(epoch, waiter, acks, out)
            }
            Event::Counted { epoch, counted_end, durable_end } => {
                self.counted(epoch, counted_end, durable_end, out)
            }
            Event::LogStartRaised { log_start } => {
                let log_start = log_start.max(self.cursors.log_start());
                self.cursors = self.cursors.with_log_start(log_start).ok_or(Invariant::CursorsInOrder)?;
                Ok(())
            }
            Event::LogFailed { epoch, durable_end } => {
                // What the failed round did make durable counts; the rest of what waits never will.
                self.counted(epoch, durable_end, durable_end, out)?;
                if self.epoch() == Some(epoch) {
                    self.end(NotLeading::StorageFailed, out);
                }
                Ok(())
            }
            Event::Stop { reason } => {
                self.end(reason, out);
                self.role = Role::Idle(reason);
                Ok(())
            }
            Event::LogSeen { epoch, log_start, log_end } => {
                let agrees = self.cursors.log_start() == log_start && self.cursors.log_end() == log_end;
                if self.epoch() == Some(epoch) && !agrees { Err(Invariant::LogAgrees) } else { Ok(()) }
            }
            Event::Tick => Ok(()),
        }
    }

    /// Checks what must hold between events while the partition is led; `before` are the cursors before the event.
    fn check(&self, before: PartitionCursors) -> Result<(), Invariant> {
        let Role::Leading(leader) = &self.role else { return Ok(()) };
        if self.last_epoch != Some(leader.epoch) {
            return Err(Invariant::GreatestEpochLeads);
        }
        // A leadership may begin below it, where the disk has lost what could be seen: that is reported by itself.
        let shrank = self.cursors.log_end() < before.high_watermark();
        if self.cursors.high_watermark() < before.high_watermark() && !shrank {
            return Err(Invariant::HighWatermarkGrows);
        }
        Ok(())
    }

    fn duplicate(
        &mut self,
        epoch: LeaderEpoch,
        waiter: Waiter,
        acks: Acks,
        out: &mut Vec<Action>,
    ) -> Result<(), Invariant> {
        match &mut self.role {
            Role::Leading(leader) if leader.epoch == epoch => {
                let request = waiter.request;
                let waits = leader.duplicate(&mut self.cursors, waiter, acks, out);
                if waits.is_err() {
                    out.push(unknown(request, NotLeading::Contradiction));
                }
                waits
            }
            Role::Leading(_) => {
                out.push(unknown(waiter.request, NotLeading::Superseded));
                Ok(())
            }
            Role::Idle(reason) => {
                out.push(unknown(waiter.request, *reason));
                Ok(())
            }
        }
    }

    fn lead(
        &mut self,
        epoch: LeaderEpoch,
        replicas: &[BrokerId],
        log: LogEnds,
        out: &mut Vec<Action>,
    ) -> Result<(), Invariant> {
        self.last_epoch = Some(epoch);
        self.role = Role::Idle(NotLeading::Contradiction); // until everything below has been found right
        let LogEnds { log_start, log_end, counted_end, durable_end } = log;
        let before = self.cursors.high_watermark();
        let kept = before.min(log_end).max(log_start);
        let replicas = Replicas::new(self.own, replicas, counted_end, durable_end)
            .ok_or(Invariant::LeaderInReplicaSet)?;
        if counted_end.max(durable_end) > log_end {
            return Err(Invariant::CountedBelowLogEnd);
        }
        self.cursors = PartitionCursors::new(log_start, kept, log_end).ok_or(Invariant::CursorsInOrder)?;
        if log_end < before {
            out.push(Action::VisibleRecordsLost { from: log_end, to: before });
        }
        if kept > before {
            out.push(Action::HighWatermark(kept));
        }
        let mut leader = Leader::new(epoch, replicas);
        leader.advance(&mut self.cursors, out)?;
        self.role = Role::Leading(leader);
        Ok(())
    }

    fn counted(
        &mut self,
        epoch: LeaderEpoch,
        counted: Offset,
        durable: Offset,
        out: &mut Vec<Action>,
    ) -> Result<(), Invariant> {
        match &mut self.role {
            Role::Leading(leader) if leader.epoch == epoch => {
                leader.counted(&mut self.cursors, counted, durable, out)
            }
            _ => Ok(()),
        }
    }

    /// Ends the leadership, if there is one.
    fn end(&mut self, reason: NotLeading, out: &mut Vec<Action>) {
        if let Role::Leading(_) = &self.role
            && let Role::Leading(leader) = std::mem::replace(&mut self.role, Role::Idle(reason))
        {
            leader.end(reason, out);
        }
    }
}

/// An older epoch has not seen a change of leader, a newer one knows of one that this broker has not heard of (KIP-320).
fn at_epoch(named: Option<LeaderEpoch>, current: LeaderEpoch) -> Result<LeaderEpoch, Refusal> {
    match named {
        Some(named) if named < current => Err(Refusal::Fenced { named, current }),
        Some(named) if named > current => Err(Refusal::UnknownEpoch { named, current }),
        _ => Ok(current),
    }
}

fn unknown(request: crate::RequestId, reason: NotLeading) -> Action {
    Action::Answer { request, result: Err(UnknownReason::LeadershipEnded(reason)) }
}
