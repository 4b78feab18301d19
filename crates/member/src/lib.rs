//! What a member of a group sends and does next: the member's side of KIP-848 as a pure state machine. A client's consumer and the
//! broker's `Subscribe` both run it.
//!
//! There is one call at a time. A partition that is revoked counts as owned, and is reported so, until it is released; only then
//! may the coordinator give it to another member.
//!
//! Never: clock, file, socket, await.

use std::collections::BTreeSet;

/// Milliseconds on the caller's clock.
pub type Ms = u64;

/// The least time between two heartbeats.
const INTERVAL_MS_MIN: Ms = 50;
/// The longest that a heartbeat may ask for its answer to be held back. The coordinator sets a smaller limit.
pub const WAIT_MS_MAX: Ms = 30_000;

/// What to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request<P> {
    /// Join, owning nothing.
    Join {
        /// After it was removed from the group.
        again: bool,
    },
    /// Stay in the group.
    Stay {
        /// The member epoch.
        epoch: u32,
        /// What the member owns; `None` where the coordinator knows.
        owned: Option<BTreeSet<P>>,
        /// How long the answer may be held back.
        wait_ms: Ms,
    },
    /// Leave.
    Leave {
        /// A static member is expected back.
        for_restart: bool,
    },
}

/// What the coordinator answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeartbeatReply<P> {
    /// The member epoch.
    pub epoch: u32,
    /// When the next heartbeat is due.
    pub interval_ms: Ms,
    /// What the member may have, if that has changed.
    pub assignment: Option<BTreeSet<P>>,
}

/// What a failed call means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// It is not known whether it arrived: send it again after a while. The session goes on.
    Again,
    /// The member was removed from the group, and owns nothing any more.
    Removed,
    /// The member can not come back.
    Ended,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action<P> {
    /// The member has joined.
    Joined,
    /// Begin to read these.
    Assign(BTreeSet<P>),
    /// Release these, and call [`Member::released`] then.
    Revoke(BTreeSet<P>),
    /// These belong to other members already.
    Lost(BTreeSet<P>),
    /// The member is out of the group for good.
    Ended,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Joining { again: bool },
    Joined,
    Leaving { for_restart: bool },
    Ended,
}

/// A call that is not answered.
#[derive(Debug, Clone, Copy)]
struct InFlight {
    sent_at: Ms,
    reports_owned: bool,
}

/// A member of a group, as it sees itself. `P` names a partition.
#[derive(Debug)]
pub struct Member<P> {
    phase: Phase,
    epoch: u32,
    /// What it reads or has not released yet.
    owned: BTreeSet<P>,
    /// The part of `owned` that is to be released.
    revoking: BTreeSet<P>,
    /// The coordinator may not know `owned`.
    must_report: bool,
    in_flight: Option<InFlight>,
    due_at: Ms,
    interval_ms: Ms,
    wait_ms_max: Ms,
}

impl<P: Ord + Clone> Member<P> {
    /// A member that has not joined. `wait_ms_max` bounds the time between two heartbeats: a part of its session time-out.
    pub fn new(wait_ms_max: Ms) -> Self {
        Self {
            phase: Phase::Joining { again: false },
            epoch: 0,
            owned: BTreeSet::new(),
            revoking: BTreeSet::new(),
            must_report: false,
            in_flight: None,
            due_at: 0,
            interval_ms: INTERVAL_MS_MIN,
            wait_ms_max: wait_ms_max.clamp(INTERVAL_MS_MIN, WAIT_MS_MAX),
        }
    }

    /// When to send the next request; `None` while a call is not answered, and once the member has ended.
    pub fn due_at(&self) -> Option<Ms> {
        (self.in_flight.is_none() && self.phase != Phase::Ended).then_some(self.due_at)
    }

    /// What to send now.
    pub fn request(&mut self, now: Ms) -> Request<P> {
        let owned = (self.phase == Phase::Joined && self.must_report).then(|| self.owned.clone());
        self.in_flight = Some(InFlight { sent_at: now, reports_owned: owned.is_some() });
        match self.phase {
            Phase::Leaving { for_restart } => Request::Leave { for_restart },
            Phase::Joined => Request::Stay { epoch: self.epoch, owned, wait_ms: self.wait_ms() },
            Phase::Joining { again } => Request::Join { again },
            Phase::Ended => Request::Join { again: true },
        }
    }

    /// The call was answered.
    pub fn answered(&mut self, now: Ms, answer: HeartbeatReply<P>) -> Vec<Action<P>> {
        let Some(InFlight { sent_at, reports_owned }) = self.in_flight.take() else { return Vec::new() };
        let mut actions = Vec::new();
        match self.phase {
            Phase::Ended => return actions,
            Phase::Leaving { .. } => {
                self.phase = Phase::Ended;
                actions.push(Action::Ended);
                return actions;
            }
            Phase::Joining { .. } => {
                self.phase = Phase::Joined;
                actions.push(Action::Joined);
            }
            Phase::Joined => {}
        }
        let is_new = std::mem::replace(&mut self.epoch, answer.epoch) != answer.epoch;
        self.interval_ms = answer.interval_ms.clamp(INTERVAL_MS_MIN, self.wait_ms_max);
        if reports_owned {
            self.must_report = false;
        }
        if let Some(assignment) = answer.assignment {
            self.take_assignment(assignment, &mut actions);
            // Reported in this epoch it also says that the member does not own what an answer that it never got gave to it and
            // took back.
            self.must_report = true;
        }
        // An answer that came early and changed nothing is no reason to send the next one early.
        let next_at = sent_at.saturating_add(self.interval_ms);
        let has_changed = self.revoking.is_empty() && (is_new || !actions.is_empty());
        self.due_at = if has_changed { now } else { next_at.max(now) };
        actions
    }

    /// The call failed; the next one is due after `again_in_ms`.
    pub fn failed(&mut self, now: Ms, failure: Failure, again_in_ms: Ms) -> Vec<Action<P>> {
        if self.in_flight.take().is_none() {
            return Vec::new();
        }
        self.must_report = true;
        self.due_at = now.saturating_add(again_in_ms);
        let is_leaving = matches!(self.phase, Phase::Leaving { .. });
        match failure {
            Failure::Again => Vec::new(),
            // A member that was removed has left.
            Failure::Removed if is_leaving => self.end(),
            Failure::Ended => self.end(),
            Failure::Removed => self.rejoin(),
        }
    }

    /// Another call than its own has learned that the member was removed from the group. It joins again at once.
    pub fn removed(&mut self, now: Ms) -> Vec<Action<P>> {
        if self.phase != Phase::Joined {
            return Vec::new();
        }
        self.send_at(now);
        self.rejoin()
    }

    /// These were released: other members get them as soon as the coordinator learns it. A call that is in flight is given up for
    /// that.
    pub fn released(&mut self, now: Ms, partitions: &BTreeSet<P>) {
        let before = self.owned.len();
        self.owned.retain(|partition| !(partitions.contains(partition) && self.revoking.contains(partition)));
        self.revoking.retain(|partition| !partitions.contains(partition));
        if self.owned.len() != before {
            self.send_at(now);
        }
    }

    /// Leaves as soon as possible, having released what it can.
    pub fn leave(&mut self, now: Ms, for_restart: bool) {
        match self.phase {
            Phase::Ended | Phase::Leaving { .. } => {}
            // A join that was not answered may have arrived.
            Phase::Joining { .. } | Phase::Joined => {
                self.phase = Phase::Leaving { for_restart };
                self.send_at(now);
            }
        }
    }

    /// Whether the member is in the group, as far as it knows.
    pub fn is_joined(&self) -> bool {
        self.phase == Phase::Joined
    }

    /// What it owns: what it reads, and what it has not released yet.
    pub fn owned(&self) -> &BTreeSet<P> {
        &self.owned
    }

    /// The member epoch; 0 while it is not in the group.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    fn send_at(&mut self, now: Ms) {
        self.must_report = true;
        self.in_flight = None;
        self.due_at = now;
    }

    fn take_assignment(&mut self, assignment: BTreeSet<P>, actions: &mut Vec<Action<P>>) {
        let is_taken = |p: &&P| !assignment.contains(*p) && !self.revoking.contains(*p);
        let taken: BTreeSet<P> = self.owned.iter().filter(is_taken).cloned().collect();
        let new: BTreeSet<P> = assignment.into_iter().filter(|p| !self.owned.contains(p)).collect();
        if !taken.is_empty() {
            self.revoking.extend(taken.iter().cloned());
            actions.push(Action::Revoke(taken));
        }
        if !new.is_empty() {
            self.owned.extend(new.iter().cloned());
            actions.push(Action::Assign(new));
        }
    }

    /// While it revokes, an answer is wanted at once: the coordinator may have more to say as soon as others release.
    fn wait_ms(&self) -> Ms {
        if self.revoking.is_empty() { self.interval_ms } else { 0 }
    }

    fn rejoin(&mut self) -> Vec<Action<P>> {
        self.phase = Phase::Joining { again: true };
        self.lose()
    }

    fn lose(&mut self) -> Vec<Action<P>> {
        self.epoch = 0;
        self.revoking.clear();
        let lost = std::mem::take(&mut self.owned);
        if lost.is_empty() { Vec::new() } else { vec![Action::Lost(lost)] }
    }

    fn end(&mut self) -> Vec<Action<P>> {
        self.phase = Phase::Ended;
        let mut actions = self.lose();
        actions.push(Action::Ended);
        actions
    }
}

#[cfg(test)]
mod tests;
