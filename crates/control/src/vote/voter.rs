//! The state machine of one voter: what it keeps, and which part of it an event is for.

use std::collections::BTreeSet;

use corduroy_types::{Incarnation, LeaderEpoch, MonotonicMs};

use super::{
    Action, Ballot, Candidacy, Event, Generator, LogPosition, Message, StepDownReason, Vote, VoteInvariant,
    VoterId, VoterSets, Voters, leadership::Leadership, rules::Rules,
};

/// The time-outs of the votes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// T: without word from a leader, a voter stands after a time between T and 2 T (rule V5). Several round trips and a sync fit in.
    pub timeout_ms: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Self { timeout_ms: 300 }
    }
}

impl Timing {
    /// How often a leader says that it leads: four times within T, so that the loss of one message deposes no one.
    pub(crate) const fn heartbeat_ms(self) -> u64 {
        self.timeout_ms / 4
    }
}

/// A voter as a start of its broker finds it.
#[derive(Clone, Debug)]
pub struct Start {
    /// The broker, with the directory that holds its metadata log.
    pub own: VoterId,
    /// Which run of it this is.
    pub incarnation: Incarnation,
    /// What its journal holds; empty in an empty directory.
    pub ballot: Ballot,
    /// What its snapshot and its log hold. In an empty directory none is known, but for the first start of a cluster, which makes a set of
    /// one ([`VoterSets::founded`], rule V8).
    pub sets: VoterSets,
    /// The time-outs.
    pub timing: Timing,
}

/// One voter, or one that may become one: who may lead the metadata log, as far as this broker has a say in it.
///
/// A shell drives it together with the partition that is the metadata log. It calls [`Voter::step`] in the order in which things happen,
/// with the log's position at that moment, and performs what it returns in that order. Where the two meet:
///
/// | voter | partition |
/// |---|---|
/// | [`Action::Persist`] | `Fence`; its `Promise` is done once the ballot is durable; its `Report` is dropped |
/// | [`Action::BeginEpoch`] | `may_lead`, then `Lead` |
/// | [`Action::Follow`] | `Follow` |
/// | [`Action::StepDown`] | `Stop` |
/// | [`Action::SetReplicas`] | `ReplicaSet` |
/// | [`Event::PromiseNeeded`] | a `Promise` of an epoch that the ballot does not hold |
/// | [`Event::Activated`], [`Event::Committed`], [`Event::Ended`] | `Activated`, `HighWatermark`, `LeadershipEnded` |
///
/// So the ballot is the one durable promise of the metadata log, and the partition's own promise never lies above it.
#[derive(Debug)]
pub struct Voter {
    pub(super) own: VoterId,
    pub(super) incarnation: Incarnation,
    pub(super) timing: Timing,
    pub(super) rules: Rules,
    generator: Generator,
    /// As it will be once it is durable.
    pub(super) ballot: Ballot,
    /// The ballot is not durable yet, and this is to be done then.
    pub(super) persisting: Option<Then>,
    pub(super) sets: VoterSets,
    pub(super) role: Role,
    /// Whether the log takes appends.
    pub(super) is_log_whole: bool,
    /// Which leader the partition was last let follow.
    pub(super) following: Option<(LeaderEpoch, VoterId)>,
    /// When a leader that has a quorum was last heard.
    pub(super) leader_heard_at: Option<MonotonicMs>,
    /// The greatest epoch that another voter has promised, as far as known: the next candidature is for a greater one.
    pub(super) seen: Option<LeaderEpoch>,
    pub(super) observers: BTreeSet<VoterId>,
    /// Drawn for this attempt.
    pub(super) timeout_ms: u64,
    /// When the attempt, or the wait for a leader, ends.
    pub(super) deadline: MonotonicMs,
    pub(super) attempt: u64,
}

/// What follows once the ballot is durable.
#[derive(Clone, Copy, Debug)]
pub(super) enum Then {
    Nothing,
    /// Ask the others.
    Stand,
    /// Answer the candidate.
    Answer(VoterId, Candidacy),
    /// Follow, and answer the heartbeat.
    Follow(VoterId, Heard),
}

/// A heartbeat that was heard.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    pub(super) epoch: LeaderEpoch,
    pub(super) incarnation: Incarnation,
    pub(super) sent_at: MonotonicMs,
    pub(super) has_quorum: bool,
}

#[derive(Debug)]
pub(super) enum Role {
    /// It follows, or waits to hear a leader.
    Waiting,
    /// It has asked whether it would be voted for, and these say yes.
    Asking {
        epoch: LeaderEpoch,
        yes: BTreeSet<VoterId>,
    },
    /// It stands, and these have voted for it.
    Standing {
        epoch: LeaderEpoch,
        yes: BTreeSet<VoterId>,
    },
    /// It has won, and the epoch's entry is not durable yet.
    Beginning {
        epoch: LeaderEpoch,
    },
    Leading(Leadership),
}

impl Voter {
    /// A voter that starts at `now`. It waits for a leader before it stands.
    pub fn new(now: MonotonicMs, start: Start, generator: Generator) -> Self {
        Self::with_rules(now, start, generator, Rules::ALL)
    }

    /// As [`Voter::new`], without some of the rules.
    pub(crate) fn with_rules(now: MonotonicMs, start: Start, generator: Generator, rules: Rules) -> Self {
        let Start { own, incarnation, ballot, sets, timing } = start;
        let mut voter = Self {
            own,
            incarnation,
            timing,
            rules,
            generator,
            ballot,
            persisting: None,
            sets,
            role: Role::Waiting,
            is_log_whole: true,
            following: None,
            leader_heard_at: None,
            seen: None,
            observers: BTreeSet::new(),
            timeout_ms: timing.timeout_ms,
            deadline: now,
            attempt: 0,
        };
        voter.draw_timeout(now);
        // The only voter has no leader to wait for.
        if voter.voters() == Some(&Voters::of_one(own)) {
            voter.deadline = now;
        }
        voter
    }

    /// Takes in what happened at `now`, while the log goes as far as `log`, and adds what is to be done to `out`.
    ///
    /// `log.last_epoch` is that of the durable history, `log.log_end` counts what is in memory too. An event that breaks a
    /// [`VoteInvariant`] ends a leadership, after an [`Action::Contradiction`].
    pub fn step(&mut self, now: MonotonicMs, log: LogPosition, event: Event, out: &mut Vec<Action>) {
        let stepped = self.handle(now, log, event, out).and_then(|()| self.settle(now, log, out));
        if let Err(invariant) = stepped {
            out.push(Action::Contradiction(invariant));
            self.step_down(StepDownReason::Contradiction, out);
        }
    }

    /// By when a step is due.
    pub fn next_deadline(&self) -> MonotonicMs {
        match &self.role {
            Role::Leading(leadership) => leadership.next_heartbeat(),
            _ => self.deadline,
        }
    }

    /// The epoch that is led in here, since its entry is durable.
    pub const fn leads(&self) -> Option<LeaderEpoch> {
        match &self.role {
            Role::Leading(leadership) => Some(leadership.epoch),
            _ => None,
        }
    }

    /// The ballot, as it will be once it is durable.
    pub const fn ballot(&self) -> Ballot {
        self.ballot
    }

    /// The set of voters in force; `None` where none is known.
    pub fn voters(&self) -> Option<&Voters> {
        match self.rules.in_force_when_appended {
            true => self.sets.in_force(),
            false => self.sets.committed(),
        }
    }

    fn handle(
        &mut self,
        now: MonotonicMs,
        log: LogPosition,
        event: Event,
        out: &mut Vec<Action>,
    ) -> Result<(), VoteInvariant> {
        match event {
            Event::Tick => {}
            Event::Received { from, message } => self.received(now, log, from, message, out)?,
            Event::Persisted { ballot } => self.persisted(now, log, ballot, out),
            Event::PromiseNeeded { epoch } => {
                if self.ballot.promised < Some(epoch) {
                    self.persist(Ballot { promised: Some(epoch), vote: None }, Then::Nothing, out)?;
                }
            }
            Event::Begun { epoch } => self.begun(now, epoch),
            Event::Activated { epoch } => self.activated(epoch, out),
            Event::Ended { epoch } => self.ended(now, epoch),
            Event::Committed { high_watermark } => {
                self.sets.commit(high_watermark);
                self.set_in_force(out);
            }
            Event::VotersAppended { offset, voters } => {
                self.sets.append(offset, voters)?;
                self.voters_appended(out);
            }
            Event::LogCut { log_end } => {
                if self.rules.restores_on_cut {
                    self.sets.cut(log_end);
                }
            }
            Event::LogFailed => {
                self.is_log_whole = false;
                self.give_up();
            }
            Event::Reopened { incarnation } => {
                self.incarnation = incarnation;
                self.is_log_whole = true;
                self.give_up();
                self.draw_timeout(now);
                // Whether the journal has the last ballot is not known: a promise that was made is kept.
                if self.persisting.is_some() {
                    out.push(Action::Persist { ballot: self.ballot });
                }
            }
            Event::Observers(observers) => self.observers = observers,
            Event::ChangeVoters(change) => self.change_voters(now, log, change, out),
            Event::Drain => self.drain(out),
        }
        Ok(())
    }

    fn received(
        &mut self,
        now: MonotonicMs,
        log: LogPosition,
        from: VoterId,
        message: Message,
        out: &mut Vec<Action>,
    ) -> Result<(), VoteInvariant> {
        match message {
            Message::AskPreVote { attempt, candidacy } => {
                self.pre_vote_asked(now, log, (from, attempt), candidacy, out);
            }
            Message::PreVoteAnswer { attempt, incarnation, is_yes, promised } => {
                self.note_promise(from, promised);
                if attempt == self.attempt && incarnation == self.incarnation && is_yes {
                    self.pre_vote_given(from, out)?;
                }
            }
            Message::AskVote(candidacy) => self.vote_asked(now, log, from, candidacy, out)?,
            Message::VoteAnswer { epoch, incarnation, is_yes, promised } => {
                self.note_promise(from, promised);
                if is_yes {
                    self.vote_given(now, from, Vote { candidate: self.own, incarnation }, epoch, out);
                }
            }
            Message::Heartbeat { epoch, incarnation, sent_at, has_quorum } => {
                self.heartbeat(now, log, from, Heard { epoch, incarnation, sent_at, has_quorum }, out)?;
            }
            Message::HeartbeatAnswer { epoch, incarnation, sent_at, promised, position } => {
                self.note_promise(from, promised);
                if incarnation == self.incarnation {
                    self.heartbeat_answered(from, epoch, sent_at, position, out)?;
                }
            }
            Message::StandNow { epoch } => {
                if self.following == Some((epoch, from)) && self.ballot.promised == Some(epoch) {
                    self.stand(None, out)?;
                }
            }
        }
        Ok(())
    }

    /// What time leads to.
    fn settle(
        &mut self,
        now: MonotonicMs,
        log: LogPosition,
        out: &mut Vec<Action>,
    ) -> Result<(), VoteInvariant> {
        match &self.role {
            Role::Leading(_) => self.lead_on(now, out),
            // The entry is being written, or the ballot: what hangs there is the disk.
            Role::Beginning { .. } => {}
            _ if self.persisting.is_some() || now < self.deadline => {}
            Role::Waiting | Role::Asking { .. } | Role::Standing { .. } => {
                self.begin_attempt(now, log, out)?;
            }
        }
        Ok(())
    }

    /// The next wait, or attempt, lasts between T and 2 T (rule V5).
    pub(super) fn draw_timeout(&mut self, now: MonotonicMs) {
        let least = self.timing.timeout_ms;
        let drawn = if self.rules.draws_time_outs { self.generator.below(least) } else { 0 };
        self.timeout_ms = least.saturating_add(drawn);
        self.deadline = MonotonicMs(now.0.saturating_add(self.timeout_ms));
    }

    /// Has a greater promise, and with it perhaps a vote, made durable. Whatever was done in an older epoch ends here.
    pub(super) fn persist(
        &mut self,
        ballot: Ballot,
        then: Then,
        out: &mut Vec<Action>,
    ) -> Result<(), VoteInvariant> {
        let is_again = ballot.promised == self.ballot.promised && self.rules.votes_once;
        if ballot.promised < self.ballot.promised || is_again {
            return Err(VoteInvariant::PromiseGrows);
        }
        self.ballot = ballot;
        self.persisting = Some(then);
        self.role = Role::Waiting;
        out.push(Action::Persist { ballot });
        Ok(())
    }

    fn persisted(&mut self, now: MonotonicMs, log: LogPosition, ballot: Ballot, out: &mut Vec<Action>) {
        if ballot != self.ballot {
            return; // a later one is on its way
        }
        match self.persisting.take() {
            Some(Then::Stand) => self.ask_for_votes(now, log, out),
            Some(Then::Answer(candidate, candidacy)) => self.answer_vote(log, candidate, candidacy, out),
            Some(Then::Follow(leader, heard)) => self.follow(now, log, leader, heard, out),
            Some(Then::Nothing) | None => {}
        }
    }

    /// A candidature or leadership is void: the log is another one now (rule V3).
    fn give_up(&mut self) {
        self.role = Role::Waiting;
        self.persisting = self.persisting.take().map(|_| Then::Nothing);
        self.following = None;
    }

    pub(super) fn step_down(&mut self, reason: StepDownReason, out: &mut Vec<Action>) {
        if let Role::Leading(Leadership { epoch, .. }) | Role::Beginning { epoch } = self.role {
            out.push(Action::StepDown { epoch, reason });
        }
        self.role = Role::Waiting;
    }

    /// Another voter has promised this.
    fn note_promise(&mut self, from: VoterId, promised: Option<LeaderEpoch>) {
        if self.voters().is_some_and(|voters| voters.contains(from)) {
            self.seen = self.seen.max(promised);
        }
    }

    pub(super) fn send(&self, to: VoterId, message: Message, out: &mut Vec<Action>) {
        if to != self.own {
            out.push(Action::Send { to, message });
        }
    }
}
