//! The state machine of one replica: it leads, it follows, it is fenced, or none of these.

use corduroy_types::{BrokerId, Incarnation, LeaderEpoch, Offset};

use crate::{
    Action, Event, Invariant, LogState, MonotonicMs, NotLeading, PartitionCursors, Refusal, UnknownReason,
    fencing::{Fenced, Promising},
    follower::Follower,
    leader::Leader,
    replicas::Replicas,
};

/// One partition on one broker.
///
/// It has one owner at a time, who calls [`Partition::step`] in the order in which things happened to the
/// partition's log.
#[derive(Debug)]
pub struct Partition {
    pub(crate) own: BrokerId,
    /// Which run of the log this is.
    pub(crate) incarnation: Incarnation,
    /// It may have lost data (rule R14).
    pub(crate) suspect: bool,
    /// Nothing of an older epoch is accepted (rule R1). Durable, but for an epoch that is being promised.
    pub(crate) promised: Option<LeaderEpoch>,
    pub(crate) role: Role,
    /// The greatest epoch ever led here: none at or below it is led again (rule R3).
    last_epoch: Option<LeaderEpoch>,
    pub(crate) cursors: PartitionCursors,
    min_in_sync: u32,
}

#[derive(Debug)]
pub(crate) enum Role {
    Idle(NotLeading),
    /// A promise is being made durable.
    Promising(Promising),
    /// It has promised and reported; who leads is not known.
    Fenced(Box<Fenced>),
    Following(Box<Follower>),
    Leading(Box<Leader>),
}

impl Partition {
    /// A partition on the broker `own` that is not led yet.
    pub fn new(own: BrokerId) -> Self {
        Self::restored(own, Incarnation::default(), None, false)
    }

    /// A partition as a start finds it: which run of its log this is, what was promised before, and whether it may have lost data.
    pub fn restored(
        own: BrokerId,
        incarnation: Incarnation,
        promised: Option<LeaderEpoch>,
        suspect: bool,
    ) -> Self {
        Self {
            own,
            incarnation,
            suspect,
            promised,
            role: Role::Idle(NotLeading::NotYet),
            last_epoch: None,
            cursors: PartitionCursors::default(),
            min_in_sync: 0,
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
        let stepped =
            self.handle(event, out).and_then(|()| self.check(before)).and_then(|()| match &mut self.role {
                Role::Leading(leader) => leader.settle(now, &mut self.cursors, out),
                _ => Ok(()),
            });
        if let Err(invariant) = stepped {
            out.push(Action::Contradiction(invariant));
            self.end(NotLeading::Contradiction, out);
        }
    }

    /// Whether a produce may be appended now; `named` is the leader epoch that the request names, if any.
    /// Returns the epoch to stamp and to append in.
    ///
    /// # Errors
    /// [`Refusal`]: nothing may be appended, so the outcome is *not written*.
    pub fn check_produce(&self, named: Option<LeaderEpoch>) -> Result<LeaderEpoch, Refusal> {
        let leader = self.leader()?;
        match leader.refuses_produce() {
            Some(reason) => Err(Refusal::NotLeading(reason)),
            None => at_epoch(named, leader.epoch),
        }
    }

    /// What may be read now; `named` is the leader epoch that the request names, if any (KIP-320).
    ///
    /// Where the leadership has ended and no other broker leads, as after a failed write, what was below the high
    /// watermark stays readable.
    ///
    /// # Errors
    /// [`Refusal`]: the partition was never led here, is led elsewhere or gone, or is not at that epoch.
    pub fn check_read(&self, named: Option<LeaderEpoch>) -> Result<PartitionCursors, Refusal> {
        let ended_elsewhere = match self.not_leading() {
            None => None,
            Some(reason) => match reason {
                NotLeading::NotYet
                | NotLeading::TopicDeleted
                | NotLeading::Superseded
                | NotLeading::Following
                | NotLeading::Quarantined => Some(reason),
                NotLeading::StorageFailed
                | NotLeading::ShuttingDown
                | NotLeading::Transferring
                | NotLeading::Resigned
                | NotLeading::Contradiction => None,
            },
        };
        match (ended_elsewhere, self.last_epoch) {
            (Some(reason), _) => Err(Refusal::NotLeading(reason)),
            (None, None) => Err(Refusal::NotLeading(NotLeading::NotYet)),
            (None, Some(last)) => at_epoch(named, last).map(|_| self.cursors),
        }
    }

    /// Whether the end of what is committed is known here (KIP-207): a leader knows it once a quorum holds its epoch's entry.
    ///
    /// # Errors
    /// [`Refusal`]: it is not led here, or not activated yet; ask again.
    pub fn check_end(&self) -> Result<PartitionCursors, Refusal> {
        match self.leader()?.is_activated() {
            true => Ok(self.cursors),
            false => Err(Refusal::NotActivated),
        }
    }

    /// Whether a quorum was heard from within the lease, so that what is read here is not out of date (rule R18). `heard_at` says for a
    /// broker when the last round trip to it that has come back was sent.
    ///
    /// # Errors
    /// [`Refusal`]: it is not led here, or the lease is over.
    pub fn check_lease(
        &self,
        now: MonotonicMs,
        lease_ms: u64,
        heard_at: impl Fn(BrokerId) -> Option<MonotonicMs>,
    ) -> Result<(), Refusal> {
        let replicas = self.leader()?.replicas();
        let is_recent = |id| heard_at(id).is_some_and(|at| at.0.saturating_add(lease_ms) > now.0);
        let is_fresh = replicas.others(is_recent) + replicas.own_count() >= replicas.quorum();
        if is_fresh { Ok(()) } else { Err(Refusal::LeaseExpired) }
    }

    /// Whether this run of the log may lead in `epoch`, for which `incarnation` was appointed (rule R3). Then make the epoch's entry
    /// durable, behind a log that is durable up to its end, and step with [`Event::Lead`].
    pub fn may_lead(&self, epoch: LeaderEpoch, incarnation: Incarnation) -> bool {
        let is_kept = self.promised.is_none_or(|promised| promised <= epoch);
        self.incarnation == incarnation && is_kept && self.last_epoch.is_none_or(|last| last < epoch)
    }

    /// The greatest epoch that was ever led here.
    pub const fn last_epoch(&self) -> Option<LeaderEpoch> {
        self.last_epoch
    }

    /// The greatest epoch that is promised here, or about to be.
    pub const fn promised(&self) -> Option<LeaderEpoch> {
        self.promised
    }

    /// The epoch in which the partition is led here now.
    pub fn epoch(&self) -> Option<LeaderEpoch> {
        self.leader().ok().map(|leader| leader.epoch)
    }

    /// The epoch in which the log is written now, leading or following.
    pub fn current_epoch(&self) -> Option<LeaderEpoch> {
        match &self.role {
            Role::Leading(leader) => Some(leader.epoch),
            Role::Following(follower) => Some(follower.epoch),
            Role::Idle(_) | Role::Promising(_) | Role::Fenced(_) => None,
        }
    }

    /// The cursors; those of the last leadership where there is none now, and all 0 before the first.
    pub const fn cursors(&self) -> PartitionCursors {
        self.cursors
    }

    /// How many appends wait for their answer.
    pub fn waiting(&self) -> usize {
        self.leader().map_or(0, Leader::waiting)
    }

    /// By when a step is due, for an append's deadline or a follower that lags; `None` while nothing waits. May be too
    /// early, never too late.
    pub fn next_deadline(&self) -> Option<MonotonicMs> {
        self.leader().ok().and_then(Leader::next_deadline)
    }

    fn leader(&self) -> Result<&Leader, Refusal> {
        match (&self.role, self.not_leading()) {
            (Role::Leading(leader), _) => Ok(leader),
            (_, reason) => Err(Refusal::NotLeading(reason.unwrap_or(NotLeading::NotYet))),
        }
    }

    /// Why it is not led here, if it is not.
    fn not_leading(&self) -> Option<NotLeading> {
        match &self.role {
            Role::Leading(_) => None,
            Role::Idle(reason) => Some(*reason),
            Role::Following(_) => Some(NotLeading::Following),
            Role::Promising(_) | Role::Fenced(_) => Some(NotLeading::Superseded),
        }
    }

    fn handle(&mut self, event: Event, out: &mut Vec<Action>) -> Result<(), Invariant> {
        match event {
            Event::Fence { epoch } => self.fence(epoch, out),
            Event::Promised { epoch, log } => self.promise_is_durable(epoch, log, out)?,
            Event::Follow { epoch, leader } => self.follow(epoch, leader, out),
            Event::Reopened { incarnation, suspect } => self.reopened(incarnation, suspect, out),
            Event::Lead { epoch, replicas, log } => self.begin_to_lead(epoch, &replicas, log, out)?,
            Event::Appended { .. }
            | Event::Duplicate { .. }
            | Event::Hello { .. }
            | Event::Acked { .. }
            | Event::Pushed { .. }
            | Event::Transfer { .. }
            | Event::Resign { .. }
            | Event::ReplicaSet { .. }
            | Event::MinInSync(_) => self.handle_leader(event, out)?,
            Event::Connected { .. }
            | Event::Welcomed { .. }
            | Event::Reconciled { .. }
            | Event::Adopted { .. }
            | Event::Received { .. } => self.handle_follower(event, out)?,
            Event::Disconnected { peer } => match &mut self.role {
                Role::Leading(leader) => leader.disconnected(peer),
                Role::Following(follower) if follower.leader == peer => follower.disconnected(out),
                _ => {}
            },
            Event::Counted { epoch, counted_end, durable_end } => {
                self.counted(epoch, counted_end, durable_end, out)?;
            }
            Event::LogStartRaised { log_start } => {
                let log_start = log_start.max(self.cursors.log_start());
                self.cursors = self.cursors.with_log_start(log_start).ok_or(Invariant::CursorsInOrder)?;
            }
            Event::LogFailed { epoch, durable_end } => {
                // What the failed round did make durable counts; the rest of what waits never will.
                self.counted(epoch, durable_end, durable_end, out)?;
                if self.current_epoch() == Some(epoch) {
                    self.end(NotLeading::StorageFailed, out);
                }
            }
            Event::Stop { reason } => {
                self.end(reason, out);
                self.role = Role::Idle(reason);
            }
            Event::LogSeen { epoch, log_start, log_end } => {
                let agrees = self.cursors.log_start() == log_start && self.cursors.log_end() == log_end;
                if self.epoch() == Some(epoch) && !agrees {
                    return Err(Invariant::LogAgrees);
                }
            }
            Event::Tick => {}
        }
        Ok(())
    }

    /// Checks what must hold between events while the partition is led; `before` are the cursors before the event.
    fn check(&self, before: PartitionCursors) -> Result<(), Invariant> {
        let Role::Leading(leader) = &self.role else { return Ok(()) };
        if self.last_epoch != Some(leader.epoch) || self.promised.is_some_and(|it| it > leader.epoch) {
            return Err(Invariant::GreatestEpochLeads);
        }
        // A leadership may begin below it, where the disk has lost what could be seen: that is reported by itself.
        let shrank = self.cursors.log_end() < before.high_watermark();
        if self.cursors.high_watermark() < before.high_watermark() && !shrank {
            return Err(Invariant::HighWatermarkGrows);
        }
        Ok(())
    }

    fn begin_to_lead(
        &mut self,
        epoch: LeaderEpoch,
        replicas: &[BrokerId],
        log: LogState,
        out: &mut Vec<Action>,
    ) -> Result<(), Invariant> {
        let is_old = self.last_epoch.is_some_and(|last| epoch <= last);
        if is_old || self.promised.is_some_and(|promised| epoch < promised) {
            return Ok(());
        }
        self.end(NotLeading::Superseded, out);
        // The epoch's entry is durable, and holds the promise with it.
        self.promised = Some(epoch);
        self.last_epoch = Some(epoch);
        self.role = Role::Idle(NotLeading::Contradiction); // until everything below has been found right
        let LogState { ends, history } = log;
        let mut replicas = Replicas::new(self.own, replicas, ends.counted_end, ends.durable_end)
            .ok_or(Invariant::LeaderInReplicaSet)?;
        replicas.set_min_in_sync(self.min_in_sync);
        if ends.counted_end.max(ends.durable_end) > ends.log_end {
            return Err(Invariant::CountedBelowLogEnd);
        }
        let before = self.cursors.high_watermark();
        self.take_cursors(&ends, out)?;
        if ends.log_end < before {
            out.push(Action::VisibleRecordsLost { from: ends.log_end, to: before });
        }
        let mut leader = Leader::new(epoch, replicas, history);
        leader.advance(&mut self.cursors, out)?;
        self.role = Role::Leading(Box::new(leader));
        Ok(())
    }

    /// Takes the log's cursors, and keeps of the high watermark what the log has. A log that was cut after a failure may end below it: the
    /// others have what was committed.
    pub(crate) fn take_cursors(
        &mut self,
        ends: &crate::LogEnds,
        out: &mut Vec<Action>,
    ) -> Result<(), Invariant> {
        let before = self.cursors.high_watermark();
        let kept = before.min(ends.log_end).max(ends.log_start);
        self.cursors =
            PartitionCursors::new(ends.log_start, kept, ends.log_end).ok_or(Invariant::CursorsInOrder)?;
        if kept > before {
            out.push(Action::HighWatermark(kept));
        }
        Ok(())
    }

    pub(crate) fn set_min_in_sync(&mut self, min_in_sync: u32) {
        self.min_in_sync = min_in_sync;
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
            Role::Following(follower) if follower.epoch == epoch => {
                follower.counted(counted, durable, &self.cursors, out);
                self.raise_to_committed(out)
            }
            _ => Ok(()),
        }
    }

    /// A follower's high watermark is what its leader knows to be committed, as far as it is here (rule R19).
    pub(crate) fn raise_to_committed(&mut self, out: &mut Vec<Action>) -> Result<(), Invariant> {
        let Role::Following(follower) = &self.role else { return Ok(()) };
        let committed = follower.committed();
        if committed > self.cursors.high_watermark() {
            self.cursors = self.cursors.with_high_watermark(committed).ok_or(Invariant::CursorsInOrder)?;
            out.push(Action::HighWatermark(committed));
        }
        Ok(())
    }

    /// Ends what the replica does, if it does anything: a leadership answers everything that waits.
    pub(crate) fn end(&mut self, reason: NotLeading, out: &mut Vec<Action>) {
        match std::mem::replace(&mut self.role, Role::Idle(reason)) {
            Role::Leading(leader) => leader.end(reason, out),
            Role::Following(follower) => out.push(Action::CloseStream { peer: follower.leader }),
            idle @ Role::Idle(_) => self.role = idle,
            Role::Promising(_) | Role::Fenced(_) => {}
        }
    }
}

/// An older epoch has not seen a change of leader, a newer one knows of a change that this broker does not know yet (KIP-320).
fn at_epoch(named: Option<LeaderEpoch>, current: LeaderEpoch) -> Result<LeaderEpoch, Refusal> {
    match named {
        Some(named) if named < current => Err(Refusal::Fenced { named, current }),
        Some(named) if named > current => Err(Refusal::UnknownEpoch { named, current }),
        _ => Ok(current),
    }
}

pub(crate) fn unknown(request: crate::RequestId, reason: NotLeading) -> Action {
    Action::Answer { request, result: Err(UnknownReason::LeadershipEnded(reason)) }
}
