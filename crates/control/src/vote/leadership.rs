//! What a leader of the metadata log does as a voter: it says that it leads, sees whether a quorum answers (V4), and changes the voters
//! (V6).

use std::collections::BTreeMap;

use corduroy_types::{LeaderEpoch, MonotonicMs};

use super::{
    Action, ChangeRefused, LogPosition, Message, StepDownReason, VoteInvariant, Voter, VoterChange, VoterId,
    Voters, voter::Role,
};

/// One leadership, from its durable entry until it ends.
#[derive(Debug)]
pub(super) struct Leadership {
    pub(super) epoch: LeaderEpoch,
    began_at: MonotonicMs,
    /// What each has answered.
    answered: BTreeMap<VoterId, Answered>,
    next_heartbeat: MonotonicMs,
    /// A quorum holds the epoch's entry.
    is_activated: bool,
    /// A record of voters that the shell was asked to append.
    appending: Option<Voters>,
    /// The set that the partition counts by.
    counted: Option<Voters>,
}

/// The last answer of a voter or observer.
#[derive(Clone, Copy, Debug)]
struct Answered {
    /// When the leader sent what it answers.
    sent_at: MonotonicMs,
    position: LogPosition,
}

impl Leadership {
    pub(super) const fn next_heartbeat(&self) -> MonotonicMs {
        self.next_heartbeat
    }

    /// When what was answered last was sent; those that voted have answered at the beginning.
    fn answered_at(&self, id: VoterId) -> MonotonicMs {
        self.answered.get(&id).map_or(self.began_at, |answered| answered.sent_at)
    }
}

impl Voter {
    /// The epoch's entry is durable.
    pub(super) fn begun(&mut self, now: MonotonicMs, epoch: LeaderEpoch) {
        let Role::Beginning { epoch: won } = self.role else { return };
        if won != epoch {
            return;
        }
        self.draw_timeout(now);
        self.following = None;
        self.role = Role::Leading(Leadership {
            epoch,
            began_at: now,
            answered: BTreeMap::new(),
            next_heartbeat: now,
            is_activated: false,
            appending: None,
            counted: self.voters().cloned(),
        });
    }

    /// The partition does not lead in this epoch, or no more.
    pub(super) fn ended(&mut self, now: MonotonicMs, epoch: LeaderEpoch) {
        let is_of = match &self.role {
            Role::Beginning { epoch: own } => *own == epoch,
            Role::Leading(leadership) => leadership.epoch == epoch,
            _ => false,
        };
        if is_of {
            self.role = Role::Waiting;
            self.draw_timeout(now);
        }
    }

    /// A quorum holds the entry. The first leader of a cluster writes down who votes, so that those who join learn it from the log (V8).
    pub(super) fn activated(&mut self, epoch: LeaderEpoch, out: &mut Vec<Action>) {
        let is_recorded = self.sets.is_recorded();
        let in_force = self.voters().cloned();
        let Role::Leading(leadership) = &mut self.role else { return };
        if leadership.epoch != epoch {
            return;
        }
        leadership.is_activated = true;
        if let Some(voters) = in_force.filter(|_| !is_recorded && leadership.appending.is_none()) {
            leadership.appending = Some(voters.clone());
            out.push(Action::AppendVoters { epoch, voters });
        }
    }

    /// Since when a quorum has been answering, this voter itself among them.
    fn quorum_answered_at(&self, leadership: &Leadership, now: MonotonicMs) -> MonotonicMs {
        let Some(voters) = self.voters() else { return leadership.began_at };
        let answered = |id| if id == self.own { now } else { leadership.answered_at(id) };
        let mut times: Vec<_> = voters.iter().map(answered).collect();
        times.sort_unstable();
        times.into_iter().rev().nth(voters.quorum() - 1).unwrap_or(leadership.began_at)
    }

    /// Whether a quorum has answered what was sent within the least time-out.
    pub(super) fn has_quorum(&self, leadership: &Leadership, now: MonotonicMs) -> bool {
        let answered_at = self.quorum_answered_at(leadership, now);
        now.0 < answered_at.0.saturating_add(self.timing.timeout_ms)
    }

    /// What time leads to: heartbeats, and the end of a leadership that has lost its quorum (V4).
    pub(super) fn lead_on(&mut self, now: MonotonicMs, out: &mut Vec<Action>) {
        let Role::Leading(leadership) = &self.role else { return };
        let answered_at = self.quorum_answered_at(leadership, now);
        let is_over = now.0 >= answered_at.0.saturating_add(self.timeout_ms);
        let heartbeat = Message::Heartbeat {
            epoch: leadership.epoch,
            incarnation: self.incarnation,
            sent_at: now,
            has_quorum: self.has_quorum(leadership, now),
        };
        if is_over && self.rules.checks_quorum {
            self.step_down(StepDownReason::NoQuorum, out);
            self.draw_timeout(now);
            return;
        }
        self.go_where_removed(out);
        let interval_ms = self.timing.heartbeat_ms();
        let Role::Leading(leadership) = &mut self.role else { return };
        if now < leadership.next_heartbeat {
            return;
        }
        leadership.next_heartbeat = MonotonicMs(now.0.saturating_add(interval_ms));
        let voters = self.voters().into_iter().flat_map(|voters| voters.iter());
        let observers = self.observers.iter().copied();
        let observers = observers.filter(|id| self.voters().is_none_or(|voters| !voters.contains(*id)));
        for to in voters.chain(observers) {
            self.send(to, heartbeat, out);
        }
    }

    /// A leader that removed itself goes once that is committed (V6).
    fn go_where_removed(&mut self, out: &mut Vec<Action>) {
        let votes = self.voters().is_some_and(|voters| voters.contains(self.own));
        if !votes && !self.sets.has_open_change() {
            self.step_down(StepDownReason::Removed, out);
        }
    }

    /// A voter or observer has answered.
    pub(super) fn heartbeat_answered(
        &mut self,
        from: VoterId,
        epoch: LeaderEpoch,
        sent_at: MonotonicMs,
        position: LogPosition,
        out: &mut Vec<Action>,
    ) -> Result<(), VoteInvariant> {
        let seen = self.seen;
        let Role::Leading(leadership) = &mut self.role else { return Ok(()) };
        if leadership.epoch != epoch {
            return Ok(());
        }
        let answered = leadership.answered.entry(from).or_insert(Answered { sent_at, position });
        if sent_at >= answered.sent_at {
            *answered = Answered { sent_at, position };
        }
        // A voter has promised a newer epoch, and takes nothing of this one. The leader takes it in by leading in a newer one itself.
        if seen > Some(epoch) {
            return self.stand(None, out);
        }
        Ok(())
    }

    /// Changes the voters, or says why not (V6).
    pub(super) fn change_voters(
        &mut self,
        now: MonotonicMs,
        log: LogPosition,
        change: VoterChange,
        out: &mut Vec<Action>,
    ) {
        let changed = self.check_change(now, log, change);
        match (changed, &mut self.role) {
            (Ok(voters), Role::Leading(leadership)) => {
                leadership.appending = Some(voters.clone());
                out.push(Action::AppendVoters { epoch: leadership.epoch, voters });
            }
            (Ok(_), _) => out.push(Action::RefuseChange(ChangeRefused::NotLeading)),
            (Err(refused), _) => out.push(Action::RefuseChange(refused)),
        }
    }

    fn check_change(
        &self,
        now: MonotonicMs,
        log: LogPosition,
        change: VoterChange,
    ) -> Result<Voters, ChangeRefused> {
        let Role::Leading(leadership) = &self.role else { return Err(ChangeRefused::NotLeading) };
        if !leadership.is_activated && self.rules.changes_once_activated {
            return Err(ChangeRefused::NotActivated);
        }
        let is_open = self.sets.has_open_change() || leadership.appending.is_some();
        if is_open && self.rules.changes_one_at_a_time {
            return Err(ChangeRefused::ChangeOpen);
        }
        let voters = self.voters().ok_or(ChangeRefused::NotLeading)?.after(change)?;
        if let VoterChange::Add(id) = change {
            let is_recent =
                |answered: &Answered| now.0 < answered.sent_at.0.saturating_add(self.timing.timeout_ms);
            let has_epoch = |answered: &Answered| answered.position.last_epoch == log.last_epoch;
            let follows = leadership
                .answered
                .get(&id)
                .is_some_and(|answered| is_recent(answered) && has_epoch(answered));
            if !follows {
                return Err(ChangeRefused::NotFollowing { broker: id.broker });
            }
        }
        Ok(voters)
    }

    /// A set is in the log.
    pub(super) fn voters_appended(&mut self, out: &mut Vec<Action>) {
        if let Role::Leading(leadership) = &mut self.role {
            leadership.appending = None;
        }
        self.set_in_force(out);
    }

    /// Lets the partition count by the set in force.
    pub(super) fn set_in_force(&mut self, out: &mut Vec<Action>) {
        let Some(voters) = self.voters().cloned() else { return };
        let Role::Leading(leadership) = &mut self.role else { return };
        if leadership.counted.as_ref() != Some(&voters) {
            leadership.counted = Some(voters.clone());
            out.push(Action::SetReplicas { epoch: leadership.epoch, voters });
        }
    }

    /// Asks the voter that is furthest along to stand at once (V5). One that is behind would not be voted for.
    pub(super) fn drain(&self, out: &mut Vec<Action>) {
        let Role::Leading(leadership) = &self.role else { return };
        let position = |id| leadership.answered.get(&id).map(|answered| answered.position);
        let others = self.voters().into_iter().flat_map(|voters| voters.iter()).filter(|id| *id != self.own);
        let furthest = others.filter_map(|id| Some((position(id)?, id))).max();
        if let Some((_, to)) = furthest {
            self.send(to, Message::StandNow { epoch: leadership.epoch }, out);
        }
    }
}
