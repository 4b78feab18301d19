//! How a voter stands, and how it votes for another one (rules V1 to V3).

use std::collections::BTreeSet;

use corduroy_types::{LeaderEpoch, MonotonicMs};

use super::{
    Action, Ballot, Candidacy, LogPosition, Message, Vote, VoteInvariant, Voter, VoterId,
    voter::{Heard, Role, Then},
};

impl Voter {
    /// Nothing was heard of a leader, or the last attempt came to nothing.
    pub(super) fn begin_attempt(
        &mut self,
        now: MonotonicMs,
        log: LogPosition,
        out: &mut Vec<Action>,
    ) -> Result<(), VoteInvariant> {
        self.role = Role::Waiting;
        self.draw_timeout(now);
        let votes = self.voters().is_some_and(|voters| voters.contains(self.own));
        let Some(epoch) = self.next_epoch().filter(|_| votes && self.is_log_whole) else { return Ok(()) };
        if !self.rules.asks_before {
            return self.stand(None, out);
        }
        self.attempt += 1;
        self.role = Role::Asking { epoch, yes: BTreeSet::new() };
        let candidacy = Candidacy { epoch, incarnation: self.incarnation, position: log };
        self.ask_others(Message::AskPreVote { attempt: self.attempt, candidacy }, out);
        self.pre_vote_given(self.own, out)
    }

    /// The epoch of the next candidature. `None` once the last epoch is used up.
    fn next_epoch(&self) -> Option<LeaderEpoch> {
        self.ballot.promised.max(self.seen).map_or(Some(LeaderEpoch::ZERO), Some)?.next()
    }

    fn ask_others(&self, message: Message, out: &mut Vec<Action>) {
        for to in self.voters().into_iter().flat_map(|voters| voters.iter()) {
            self.send(to, message, out);
        }
    }

    /// Another voter asks whether it would get the vote (rule V1). Nothing changes here.
    pub(super) fn pre_vote_asked(
        &self,
        now: MonotonicMs,
        log: LogPosition,
        (from, attempt): (VoterId, u64),
        candidacy: Candidacy,
        out: &mut Vec<Action>,
    ) {
        let would_vote = self.is_log_whole
            && Some(candidacy.epoch) > self.ballot.promised
            && candidacy.position >= log
            && !(self.rules.keeps_to_leader && self.knows_leader(now));
        let answer = Message::PreVoteAnswer {
            attempt,
            incarnation: candidacy.incarnation,
            is_yes: would_vote,
            promised: self.ballot.promised,
        };
        self.send(from, answer, out);
    }

    /// Whether a leader that has a quorum is here, or was heard within the least time-out.
    fn knows_leader(&self, now: MonotonicMs) -> bool {
        let is_recent = |at: MonotonicMs| now.0 < at.0.saturating_add(self.timing.timeout_ms);
        match &self.role {
            Role::Leading(leadership) => self.has_quorum(leadership, now),
            Role::Beginning { .. } => true,
            _ => self.leader_heard_at.is_some_and(is_recent),
        }
    }

    /// A voter would vote for this one.
    pub(super) fn pre_vote_given(
        &mut self,
        from: VoterId,
        out: &mut Vec<Action>,
    ) -> Result<(), VoteInvariant> {
        let Role::Asking { epoch, yes } = &mut self.role else { return Ok(()) };
        yes.insert(from);
        let (epoch, yes) = (*epoch, yes.clone());
        match self.is_quorum(&yes) {
            true => self.stand(Some(epoch), out),
            false => Ok(()),
        }
    }

    /// Only who is in the set in force counts (rule V6).
    fn is_quorum(&self, yes: &BTreeSet<VoterId>) -> bool {
        self.voters().is_some_and(|voters| voters.is_quorum(|id| yes.contains(&id)))
    }

    /// Promises the next epoch to itself; the others are asked once that is durable (rule V2).
    pub(super) fn stand(
        &mut self,
        asked: Option<LeaderEpoch>,
        out: &mut Vec<Action>,
    ) -> Result<(), VoteInvariant> {
        let votes = self.voters().is_some_and(|voters| voters.contains(self.own));
        let Some(epoch) = asked.or(self.next_epoch()).filter(|_| votes && self.is_log_whole) else {
            return Ok(());
        };
        let vote = Vote { candidate: self.own, incarnation: self.incarnation };
        self.persist(Ballot { promised: Some(epoch), vote: Some(vote) }, Then::Stand, out)
    }

    pub(super) fn ask_for_votes(&mut self, now: MonotonicMs, log: LogPosition, out: &mut Vec<Action>) {
        let Some(epoch) = self.ballot.promised else { return };
        self.draw_timeout(now);
        self.role = Role::Standing { epoch, yes: BTreeSet::new() };
        let candidacy = Candidacy { epoch, incarnation: self.incarnation, position: log };
        self.ask_others(Message::AskVote(candidacy), out);
        self.vote_given(
            now,
            self.own,
            Vote { candidate: self.own, incarnation: self.incarnation },
            epoch,
            out,
        );
    }

    /// Another voter asks for the vote (rule V2).
    pub(super) fn vote_asked(
        &mut self,
        now: MonotonicMs,
        log: LogPosition,
        from: VoterId,
        candidacy: Candidacy,
        out: &mut Vec<Action>,
    ) -> Result<(), VoteInvariant> {
        if !self.is_log_whole {
            return Ok(());
        }
        let vote = Vote { candidate: from, incarnation: candidacy.incarnation };
        let votes_again = !self.rules.votes_once && self.ballot.promised == Some(candidacy.epoch);
        if Some(candidacy.epoch) > self.ballot.promised || votes_again {
            let is_behind = candidacy.position < log && self.rules.compares_logs;
            if !is_behind {
                self.draw_timeout(now);
            }
            let ballot = Ballot { promised: Some(candidacy.epoch), vote: (!is_behind).then_some(vote) };
            self.persist(ballot, Then::Answer(from, candidacy), out)?;
            if !self.rules.persists_first {
                self.answer_vote(log, from, candidacy, out);
            }
        } else if self.persisting.is_none() {
            // The same candidature again, or one that comes too late. What is durable says which.
            self.answer_vote(log, from, candidacy, out);
        }
        Ok(())
    }

    /// Says what the durable ballot holds.
    pub(super) fn answer_vote(
        &self,
        log: LogPosition,
        candidate: VoterId,
        candidacy: Candidacy,
        out: &mut Vec<Action>,
    ) {
        let vote = Vote { candidate, incarnation: candidacy.incarnation };
        let is_behind = candidacy.position < log && self.rules.compares_logs;
        let is_voted = self.ballot.promised == Some(candidacy.epoch) && self.ballot.vote == Some(vote);
        let answer = Message::VoteAnswer {
            epoch: candidacy.epoch,
            incarnation: candidacy.incarnation,
            is_yes: is_voted && !is_behind,
            promised: self.ballot.promised,
        };
        self.send(candidate, answer, out);
    }

    /// A voter has voted for this one. With a quorum the epoch is won, by this incarnation (rule V3).
    pub(super) fn vote_given(
        &mut self,
        now: MonotonicMs,
        from: VoterId,
        vote: Vote,
        epoch: LeaderEpoch,
        out: &mut Vec<Action>,
    ) {
        if vote.incarnation != self.incarnation && self.rules.counts_own_incarnation {
            return;
        }
        if !self.rules.counts_own_incarnation {
            self.take_up_old_candidature(vote, epoch);
        }
        let Role::Standing { epoch: standing, yes } = &mut self.role else { return };
        if *standing != epoch {
            return;
        }
        yes.insert(from);
        let yes = yes.clone();
        if let Some(voters) = self.voters().filter(|_| self.is_quorum(&yes)).cloned() {
            self.role = Role::Beginning { epoch };
            self.leader_heard_at = Some(now);
            out.push(Action::BeginEpoch { epoch, incarnation: self.incarnation, voters });
        }
    }

    /// What rule V3 forbids: votes for an earlier run count, for the candidature that its ballot holds.
    fn take_up_old_candidature(&mut self, vote: Vote, epoch: LeaderEpoch) {
        let is_own = self.ballot.vote.is_some_and(|durable| durable.candidate == self.own);
        if is_own && self.ballot.promised == Some(epoch) && vote.incarnation < self.incarnation {
            let waits = matches!(self.role, Role::Waiting | Role::Asking { .. }) && self.persisting.is_none();
            if waits {
                self.role = Role::Standing { epoch, yes: BTreeSet::from([self.own]) };
            }
        }
    }

    /// A leader says that it leads.
    pub(super) fn heartbeat(
        &mut self,
        now: MonotonicMs,
        log: LogPosition,
        from: VoterId,
        heard: Heard,
        out: &mut Vec<Action>,
    ) -> Result<(), VoteInvariant> {
        let Heard { epoch, .. } = heard;
        if Some(epoch) < self.ballot.promised {
            self.answer_heartbeat(log, from, heard, out);
            return Ok(());
        }
        if let Role::Beginning { epoch: own } = self.role
            && own == epoch
        {
            return Err(VoteInvariant::OneLeaderPerEpoch);
        }
        if self.leads() == Some(epoch) {
            return Err(VoteInvariant::OneLeaderPerEpoch);
        }
        if Some(epoch) > self.ballot.promised {
            let ballot = Ballot { promised: Some(epoch), vote: None };
            return self.persist(ballot, Then::Follow(from, heard), out);
        }
        if self.persisting.is_some() {
            // It is the one that got the vote, or that is promised already: it is followed once that is durable.
            self.persisting = Some(Then::Follow(from, heard));
            return Ok(());
        }
        self.follow(now, log, from, heard, out);
        Ok(())
    }

    /// Follows the leader of the epoch that is promised durably, and answers it.
    pub(super) fn follow(
        &mut self,
        now: MonotonicMs,
        log: LogPosition,
        leader: VoterId,
        heard: Heard,
        out: &mut Vec<Action>,
    ) {
        // One that stands in the epoch has lost it.
        if heard.has_quorum || matches!(self.role, Role::Standing { .. }) {
            self.role = Role::Waiting;
        }
        if heard.has_quorum {
            self.leader_heard_at = Some(now);
            self.deadline = MonotonicMs(now.0.saturating_add(self.timeout_ms));
        }
        if self.following != Some((heard.epoch, leader)) && self.is_log_whole {
            self.following = Some((heard.epoch, leader));
            out.push(Action::Follow { epoch: heard.epoch, leader });
        }
        self.answer_heartbeat(log, leader, heard, out);
    }

    fn answer_heartbeat(&self, log: LogPosition, to: VoterId, heard: Heard, out: &mut Vec<Action>) {
        let Heard { epoch, incarnation, sent_at, .. } = heard;
        let promised = self.ballot.promised.filter(|_| self.persisting.is_none());
        self.send(to, Message::HeartbeatAnswer { epoch, incarnation, sent_at, promised, position: log }, out);
    }
}
