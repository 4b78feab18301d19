//! What a member of a group says next and does next: decisions only, no clock, no call.
//!
//! The member's side of KIP-848. There is one call at a time. A partition that is told to be let go of counts as
//! owned, and is reported so, until it was let go of; only then may the coordinator give it to anybody else.

use std::collections::BTreeSet;

/// Milliseconds on the caller's clock.
pub(crate) type Ms = u64;

/// Milliseconds a member waits before it asks again where the broker told no interval.
const INTERVAL_LEAST_MS: Ms = 50;
/// The most that the broker holds an answer back.
const WAIT_MOST_MS: Ms = 30_000;

/// What to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Request<P> {
    /// Come in, with nothing; `again` after having been put out.
    Join { again: bool },
    /// Stay in.
    Stay {
        epoch: u32,
        /// What the member has, where that is to be said.
        owned: Option<BTreeSet<P>>,
        /// How long the answer may be held back.
        wait_ms: Ms,
    },
    /// Go.
    Leave { for_restart: bool },
}

/// What the coordinator answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer<P> {
    pub(crate) epoch: u32,
    pub(crate) interval_ms: Ms,
    pub(crate) assignment: Option<BTreeSet<P>>,
}

/// What a failed call means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Nothing is known of it: say it again, after a while. The session goes on.
    Again,
    /// The member is out of the group, and has nothing any more.
    Out,
    /// There is no coming back.
    End,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action<P> {
    /// The member is in.
    Joined,
    /// Begin to read these.
    Assign(BTreeSet<P>),
    /// Let go of these, and say when that is done.
    Revoke(BTreeSet<P>),
    /// These are gone already.
    Lost(BTreeSet<P>),
    /// The member is out, for good.
    Ended,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Joining { again: bool },
    In,
    Leaving { for_restart: bool },
    Ended,
}

/// A member of a group, as it sees itself.
#[derive(Debug)]
pub(crate) struct Member<P> {
    phase: Phase,
    epoch: u32,
    /// What it reads or has yet to let go of.
    owned: BTreeSet<P>,
    /// The part of `owned` to be let go of.
    going: BTreeSet<P>,
    /// The coordinator may not know `owned`.
    unsaid: bool,
    /// A call is on its way: when it was sent, and whether it says `owned`.
    calling: Option<(Ms, bool)>,
    due_at: Ms,
    interval_ms: Ms,
    longest_wait_ms: Ms,
}

impl<P: Ord + Clone> Member<P> {
    /// One that has yet to join. `longest_wait_ms` bounds how long it is silent: a share of its session time-out.
    pub(crate) fn new(longest_wait_ms: Ms) -> Self {
        Self {
            phase: Phase::Joining { again: false },
            epoch: 0,
            owned: BTreeSet::new(),
            going: BTreeSet::new(),
            unsaid: false,
            calling: None,
            due_at: 0,
            interval_ms: INTERVAL_LEAST_MS,
            longest_wait_ms: longest_wait_ms.clamp(INTERVAL_LEAST_MS, WAIT_MOST_MS),
        }
    }

    /// When to send something; `None` while a call is on its way, and when there is nothing to be said any more.
    pub(crate) fn due_at(&self) -> Option<Ms> {
        (self.calling.is_none() && self.phase != Phase::Ended).then_some(self.due_at)
    }

    /// What to send now.
    pub(crate) fn request(&mut self, now: Ms) -> Request<P> {
        let owned = (self.phase == Phase::In && self.unsaid).then(|| self.owned.clone());
        self.calling = Some((now, owned.is_some()));
        match self.phase {
            Phase::Leaving { for_restart } => Request::Leave { for_restart },
            Phase::In => Request::Stay { epoch: self.epoch, owned, wait_ms: self.wait_ms() },
            Phase::Joining { again } => Request::Join { again },
            Phase::Ended => Request::Join { again: true },
        }
    }

    /// The call was answered.
    pub(crate) fn answered(&mut self, now: Ms, answer: Answer<P>) -> Vec<Action<P>> {
        let Some((sent_at, said)) = self.calling.take() else { return Vec::new() };
        let mut actions = Vec::new();
        match self.phase {
            Phase::Ended => return actions,
            Phase::Leaving { .. } => {
                self.phase = Phase::Ended;
                actions.push(Action::Ended);
                return actions;
            }
            Phase::Joining { .. } => {
                self.phase = Phase::In;
                actions.push(Action::Joined);
            }
            Phase::In => {}
        }
        let is_new = std::mem::replace(&mut self.epoch, answer.epoch) != answer.epoch;
        self.interval_ms = answer.interval_ms.clamp(INTERVAL_LEAST_MS, self.longest_wait_ms);
        if said {
            self.unsaid = false;
        }
        if let Some(assignment) = answer.assignment {
            self.take(assignment, &mut actions);
            // Said at this epoch it also tells that the member does not have what it was given and then denied in
            // answers that it never got.
            self.unsaid = true;
        }
        // An answer that came early and brought nothing is no reason to hurry.
        let next_at = sent_at.saturating_add(self.interval_ms);
        let news = self.going.is_empty() && (is_new || !actions.is_empty());
        self.due_at = if news { now } else { next_at.max(now) };
        actions
    }

    /// The call failed; `again_in_ms` is how long to wait before the next.
    pub(crate) fn failed(&mut self, now: Ms, failure: Failure, again_in_ms: Ms) -> Vec<Action<P>> {
        if self.calling.take().is_none() {
            return Vec::new();
        }
        self.unsaid = true;
        self.due_at = now.saturating_add(again_in_ms);
        let leaving = matches!(self.phase, Phase::Leaving { .. });
        match failure {
            Failure::Again => Vec::new(),
            // Who is out has left.
            Failure::Out if leaving => self.end(),
            Failure::End => self.end(),
            Failure::Out => {
                self.phase = Phase::Joining { again: true };
                self.lose()
            }
        }
    }

    /// These were let go of: they are somebody else's as soon as the coordinator hears of it.
    pub(crate) fn released(&mut self, now: Ms, partitions: &BTreeSet<P>) {
        let before = self.owned.len();
        self.owned.retain(|partition| !(partitions.contains(partition) && self.going.contains(partition)));
        self.going.retain(|partition| !partitions.contains(partition));
        if self.owned.len() != before {
            self.say(now);
        }
    }

    /// Go as soon as possible; whatever the member has it has let go of already.
    pub(crate) fn leave(&mut self, now: Ms, for_restart: bool) -> Vec<Action<P>> {
        match self.phase {
            Phase::Ended | Phase::Leaving { .. } => Vec::new(),
            // Nobody may have heard of it, but perhaps somebody has.
            Phase::Joining { .. } | Phase::In => {
                self.phase = Phase::Leaving { for_restart };
                self.say(now);
                Vec::new()
            }
        }
    }

    /// Whether the member is in, as far as it knows.
    #[cfg(test)]
    pub(crate) fn owned(&self) -> &BTreeSet<P> {
        &self.owned
    }

    pub(crate) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Something is to be said at once: a call that is on its way is given up for it.
    fn say(&mut self, now: Ms) {
        self.unsaid = true;
        self.calling = None;
        self.due_at = now;
    }

    fn take(&mut self, assignment: BTreeSet<P>, actions: &mut Vec<Action<P>>) {
        let going: BTreeSet<P> = self
            .owned
            .iter()
            .filter(|p| !assignment.contains(p) && !self.going.contains(p))
            .cloned()
            .collect();
        let new: BTreeSet<P> = assignment.into_iter().filter(|p| !self.owned.contains(p)).collect();
        if !going.is_empty() {
            self.going.extend(going.iter().cloned());
            actions.push(Action::Revoke(going));
        }
        if !new.is_empty() {
            self.owned.extend(new.iter().cloned());
            actions.push(Action::Assign(new));
        }
    }

    fn wait_ms(&self) -> Ms {
        if self.going.is_empty() { self.interval_ms } else { 0 }
    }

    fn lose(&mut self) -> Vec<Action<P>> {
        self.epoch = 0;
        self.going.clear();
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
#[path = "member_tests.rs"]
mod tests;
