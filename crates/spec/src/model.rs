//! The model itself: what can happen in a state, and what follows.

use stateright::Model;

use crate::{
    Action, Election, Rule, Spec, election,
    follower::{self, Step},
    leader,
    log::{History, Record},
    reassign,
    state::{Epoch, Role, State},
};

impl Spec {
    fn leader_actions(&self, state: &State, replica: usize, actions: &mut Vec<Action>) {
        let own = &state.replicas[replica];
        if own.role != Role::Leads {
            return;
        }
        let (epoch, offset) = (own.promised, own.log.len());
        if state.records < self.bounds.records {
            let record = Record { epoch, value: state.epoch(epoch).appends };
            actions.push(Action::Append { replica, offset, record, waits: false });
            if self.bounds.waits && !state.waited {
                actions.push(Action::Append { replica, offset, record, waits: true });
            }
        }
        if state.changes < self.bounds.changes {
            self.changes(state, replica, actions);
        }
    }

    /// A leader may add or remove a voter, one at a time, and only once its own entry is held (V6).
    fn changes(&self, state: &State, replica: usize, actions: &mut Vec<Action>) {
        let own = &state.replicas[replica];
        let (epoch, offset) = (own.promised, own.log.len());
        let held = leader::quorum_end(state, replica, self);
        let mut changes = own.log.iter().zip(0..).filter(|(record, _)| record.changes().is_some());
        let is_open = changes.any(|(_, offset)| held.is_none_or(|held| offset >= held));
        let is_early = held.is_none() && self.rules.has(Rule::ChangeAfterOwnEntry);
        if is_early || is_open && self.rules.has(Rule::OneChangeAtATime) {
            return;
        }
        let voters = leader::voters(self, state, replica);
        for (voter, _) in (0_u8..).zip(0..self.bounds.replicas) {
            if voters != 1 << voter {
                let record = Record::change(epoch, voter);
                actions.push(Action::Append { replica, offset, record, waits: false });
            }
        }
    }

    fn follower_actions(&self, state: &State, replica: usize, actions: &mut Vec<Action>) {
        let own = &state.replicas[replica];
        if own.promised == 0 || own.role == Role::Leads {
            return;
        }
        let said = state.epoch(own.promised);
        if said.leader == 0 || said.is_led_by(replica) {
            return;
        }
        if let Some(step) = follower::next_step(own, said, self.rules) {
            actions.push(match step {
                Step::Cut(to) => Action::Cut { replica, to },
                Step::Drop(keeps) => Action::Drop { replica, keeps },
                Step::Adopt(entry) => Action::Adopt { replica, entry },
                Step::Receive(offset, record) => Action::Receive { replica, offset, record },
            });
        }
        if !self.rules.has(Rule::DuplicateIsSkipped) && own.history.last() == said.history.last() {
            let again = (0..own.log.len()).map(|offset| Action::ReceiveAgain { replica, offset });
            actions.extend(again);
        }
        let known = said.high_watermark.min(own.durable_end);
        if own.history.last() == said.history.last() && own.high_watermark < known {
            actions.push(Action::Learn { replica });
        }
    }

    fn crashes(&self, state: &State, replica: usize, actions: &mut Vec<Action>) {
        if state.crashes >= self.bounds.crashes {
            return;
        }
        let own = &state.replicas[replica];
        actions.extend((own.durable_end..=own.log.len()).filter_map(|keeps| {
            let mut after = *state;
            self.crash(&mut after, replica, keeps);
            // A crash that changes nothing is none.
            (after.replicas[replica] != *own).then_some(Action::Crash { replica, keeps })
        }));
    }

    fn crash(&self, state: &mut State, replica: usize, keeps: u8) {
        let own = &mut state.replicas[replica];
        own.log.truncate(keeps);
        own.history.truncate(own.durable_entries);
        if !self.rules.has(Rule::HistoryIsEvidence) {
            own.history = History::guessed_from(own.log);
            own.durable_entries = own.history.len();
        }
        if !self.rules.has(Rule::VoteIsDurable) {
            own.vote = 0;
        }
        if !self.rules.has(Rule::PromiseIsDurable) {
            // All that is left is what the history shows.
            own.promised = own.history.last_epoch();
        }
        own.role = Role::Follows;
        own.unfinished_cut = None;
        own.high_watermark = 0;
        own.waiter = None;
        state.crashes += 1;
    }

    fn follow(&self, state: &mut State, replica: usize, step: Step) {
        let own = &mut state.replicas[replica];
        if self.rules.has(Rule::CandidateGivesUp) {
            own.role = Role::Follows;
        }
        follower::perform(own, step, self.rules);
    }

    fn apply(&self, state: &mut State, action: Action) {
        match action {
            Action::Promise { replica, epoch } => election::promise(self, state, replica, epoch),
            Action::Report { replica, epoch } => {
                state.replicas[replica].sync();
                election::report(state, replica, epoch);
            }
            Action::Stand { replica, epoch } => election::stand(self, state, replica, epoch),
            Action::Vote { replica, epoch, candidate } => {
                election::vote(self, state, replica, epoch, candidate);
            }
            Action::Lead { replica, epoch } => leader::lead(state, replica, epoch, self.rules),
            Action::Appoint { replica, epoch, set } => reassign::appoint(state, replica, epoch, set),
            Action::Append { replica, record, waits, .. } => leader::append(state, replica, record, waits),
            Action::Sync { replica } => state.replicas[replica].sync(),
            Action::Cut { replica, to } => self.follow(state, replica, Step::Cut(to)),
            Action::Drop { replica, keeps } => self.follow(state, replica, Step::Drop(keeps)),
            Action::Adopt { replica, entry } => self.follow(state, replica, Step::Adopt(entry)),
            Action::Receive { replica, offset, record } => {
                self.follow(state, replica, Step::Receive(offset, record));
            }
            Action::ReceiveAgain { replica, offset } => {
                let record = state.epoch(state.replicas[replica].promised).log.get(offset);
                let own = &mut state.replicas[replica];
                own.cut(offset);
                if let Some(record) = record {
                    own.log.push(record);
                }
            }
            Action::Learn { replica } => {
                let known = state.epoch(state.replicas[replica].promised).high_watermark;
                let own = &mut state.replicas[replica];
                own.high_watermark = known.min(own.durable_end);
            }
            Action::Crash { replica, keeps } => self.crash(state, replica, keeps),
        }
    }

    /// What follows at once from a step: acknowledgements, and what they commit.
    fn settle(&self, state: &mut State) {
        for replica in 0..self.bounds.replicas {
            follower::acknowledge(state, replica, self.rules);
        }
        for replica in 0..self.bounds.replicas {
            leader::advance(state, replica, self);
        }
        if self.forgets && self.rules.forgets() {
            self.forget(state);
        }
    }

    /// Forgets what no replica can use any more, so that states which differ in nothing else are one.
    fn forget(&self, state: &mut State) {
        let members = &state.replicas[..self.bounds.replicas];
        let least = members.iter().map(|replica| replica.promised).min().unwrap_or(0);
        for epoch in 1..=self.bounds.epochs {
            let said = &mut state.epochs[usize::from(epoch) - 1];
            if epoch < least {
                // Everything of this epoch would be refused (R1).
                *said = match self.rules.has(Rule::ProgressIsForgotten) {
                    // The controller still knows the replica set (R17).
                    true => Epoch { appointed: said.appointed, set: said.set, ..Epoch::default() },
                    false => Epoch { leader: said.leader, acks: said.acks, ..Epoch::default() },
                };
                continue;
            }
            let is_current = |replica: usize| state.replicas[replica].promised == epoch;
            for replica in 0..self.bounds.replicas {
                // A candidate that promised more, or that crashed, never takes it up again (V3). Its request may
                // still arrive, but no vote helps it.
                let role = state.replicas[replica].role;
                if self.bounds.election == Election::Votes && !(is_current(replica) && role == Role::MayLead)
                {
                    said.votes[replica] = 0;
                }
            }
            let Some(leader) = usize::from(said.leader).checked_sub(1) else { continue };
            let leads = is_current(leader) && state.replicas[leader].role == Role::Leads;
            if !leads && self.rules.has(Rule::ProgressIsForgotten) {
                said.acks = Default::default();
            }
            if self.bounds.election == Election::Controller && self.rules.has(Rule::ReportsOfThisAttempt) {
                // The controller appoints one leader for an epoch, so the attempt is over.
                said.reports = Default::default();
                for replica in &mut state.replicas[..self.bounds.replicas] {
                    if replica.promised == epoch && replica.role == Role::MayLead {
                        replica.role = Role::Follows;
                    }
                }
            }
        }
    }
}

impl Model for Spec {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::default()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for replica in 0..self.bounds.replicas {
            election::actions(self, state, replica, actions);
            self.leader_actions(state, replica, actions);
            if state.replicas[replica].durable_end < state.replicas[replica].log.len() {
                actions.push(Action::Sync { replica });
            }
            self.follower_actions(state, replica, actions);
            self.crashes(state, replica, actions);
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = *state;
        self.apply(&mut next, action);
        self.settle(&mut next);
        Some(next)
    }
}
