//! The two ways to an epoch: the controller appoints a leader from reports (R1, R2, R3), or voters elect one (V2, V3).

use crate::{
    Action, Election, Rule, Spec,
    leader::voters,
    reassign,
    state::{Replica, Role, State, end_of},
};

/// What can happen in elections.
pub(crate) fn actions(spec: &Spec, state: &State, replica: usize, actions: &mut Vec<Action>) {
    let own = &state.replicas[replica];
    for epoch in own.promised.max(1)..=spec.bounds.epochs {
        match spec.bounds.election {
            Election::Controller => {
                if spec.rules.has(Rule::PromiseBeforeReport) || state.epoch(epoch).leader != 0 {
                    if may_report(state, own, epoch) {
                        actions.push(Action::Promise { replica, epoch });
                    }
                } else if epoch > own.promised && state.epoch(epoch).reports[replica] == 0 {
                    actions.push(Action::Report { replica, epoch });
                }
                reassign::appointments(spec, state, replica, epoch, actions);
                let leads = match spec.bounds.sets {
                    Some(_) => reassign::learns(state, replica, epoch),
                    None => is_appointed(spec, state, replica, epoch),
                };
                if leads {
                    actions.push(Action::Lead { replica, epoch });
                }
            }
            Election::Votes => {
                if may_promise(state, own, epoch) {
                    actions.push(Action::Promise { replica, epoch });
                }
                vote_actions(spec, state, replica, epoch, actions);
                if has_won(spec, state, replica, epoch) {
                    actions.push(Action::Lead { replica, epoch });
                }
            }
        }
    }
    let epoch = own.promised + 1;
    if spec.bounds.election == Election::Votes && epoch <= spec.bounds.epochs {
        let is_voter = voters(spec, state, replica) & (1 << replica) != 0;
        if is_voter {
            actions.push(Action::Stand { replica, epoch });
        }
    }
}

/// A fence reaches a replica that may still promise its epoch, or whose new incarnation has not reported for it.
///
/// All epochs may be fenced at any time: a controller that begins them in order, or one that begins some and never ends
/// them, does less.
fn may_report(state: &State, own: &Replica, epoch: u8) -> bool {
    epoch > own.promised || own.role == Role::Follows && state.epoch(epoch).leader == 0
}

/// The controller has E reports of this attempt, and this replica's, of this incarnation, is the greatest of them.
///
/// To appoint and to learn of it are one step. The reports are facts, so appointing later changes nothing; and a replica that
/// learned of it after a newer promise, or in another incarnation, would refuse (R3).
fn is_appointed(spec: &Spec, state: &State, replica: usize, epoch: u8) -> bool {
    let own = &state.replicas[replica];
    let said = state.epoch(epoch);
    let is_this_incarnation = match () {
        () if !spec.rules.has(Rule::PromiseBeforeReport) => {
            said.leader == 0 && !(own.promised == epoch && own.role == Role::Leads)
        }
        () if !spec.rules.has(Rule::OneIncarnationLeads) => {
            own.promised == epoch && own.role != Role::Leads && (said.leader == 0 || said.is_led_by(replica))
        }
        () => own.promised == epoch && own.role == Role::MayLead && said.leader == 0,
    };
    let report = said.reports[replica];
    if !is_this_incarnation || report == 0 {
        return false;
    }
    let is_beaten = |other: u8| match spec.rules.has(Rule::LastEpochThenEnd) {
        true => other <= report,
        false => end_of(other) <= end_of(report),
    };
    let first = if spec.rules.has(Rule::ReportsOfThisAttempt) { epoch } else { 1 };
    let beaten = (0..spec.bounds.replicas).filter(|other| {
        let mut reports = (first..=epoch).map(|epoch| state.epoch(epoch).reports[*other]);
        *other != replica && reports.any(|report| report != 0 && is_beaten(report))
    });
    let quorum = spec.bounds.replicas / 2 + 1;
    let needed = if spec.rules.has(Rule::EnoughReports) { spec.bounds.replicas - quorum + 1 } else { 1 };
    beaten.count() + 1 >= needed
}

/// A voter hears from a leader, or from a candidate that it does not vote for.
fn may_promise(state: &State, own: &Replica, epoch: u8) -> bool {
    let said = state.epoch(epoch);
    let is_behind = |asked: &u8| *asked != 0 && *asked < own.position();
    epoch > own.promised && (said.leader != 0 || said.reports.iter().any(is_behind))
}

/// The votes that a replica can give in an epoch (V2).
fn vote_actions(spec: &Spec, state: &State, replica: usize, epoch: u8, actions: &mut Vec<Action>) {
    let own = &state.replicas[replica];
    let said = state.epoch(epoch);
    let has_forgotten = !spec.rules.has(Rule::VoteIsDurable) && own.vote == 0 && own.role == Role::Follows;
    if !(epoch > own.promised || has_forgotten) {
        return;
    }
    for candidate in (0..spec.bounds.replicas).filter(|candidate| *candidate != replica) {
        let asked = said.reports[candidate];
        let is_behind = asked < own.position() && spec.rules.has(Rule::VotersCompareLogs);
        if asked != 0 && !is_behind {
            actions.push(Action::Vote { replica, epoch, candidate });
        }
    }
}

/// A quorum of the voters that the candidate knows voted for it, in the incarnation that asked (V3).
fn has_won(spec: &Spec, state: &State, replica: usize, epoch: u8) -> bool {
    let own = &state.replicas[replica];
    let may_lead = match spec.rules.has(Rule::VotesForOneIncarnation) {
        true => own.role == Role::MayLead,
        false => own.role != Role::Leads,
    };
    let voters = voters(spec, state, replica);
    let votes = state.epoch(epoch).votes[replica] & voters;
    own.promised == epoch && may_lead && votes.count_ones() > voters.count_ones() / 2
}

/// A replica steps down, syncs its log, and promises durably (R1, R3).
fn step_down(spec: &Spec, own: &mut Replica, epoch: u8) {
    if spec.rules.has(Rule::SyncBeforeReport) {
        own.sync();
    }
    own.durable_entries = own.history.len();
    if spec.rules.has(Rule::AnswerInItsEpoch) {
        own.waiter = None;
    }
    own.unfinished_cut = None;
    if !spec.rules.has(Rule::NoCutAtHighWatermark) {
        own.unfinished_cut = Some(own.high_watermark).filter(|mark| *mark < own.log.len());
    }
    own.promised = epoch;
    own.vote = 0;
    own.role = Role::Follows;
}

/// A promise; the controller hears of it (R1).
pub(crate) fn promise(spec: &Spec, state: &mut State, replica: usize, epoch: u8) {
    let own = &mut state.replicas[replica];
    step_down(spec, own, epoch);
    if spec.bounds.election == Election::Controller && state.epoch(epoch).leader == 0 {
        state.replicas[replica].role = Role::MayLead;
        report(state, replica, epoch);
    }
}

/// A report, which is never taken back.
pub(crate) fn report(state: &mut State, replica: usize, epoch: u8) {
    state.epoch_mut(epoch).reports[replica] = state.replicas[replica].position();
}

/// A replica becomes a candidate and votes for itself (V2).
pub(crate) fn stand(spec: &Spec, state: &mut State, replica: usize, epoch: u8) {
    let own = &mut state.replicas[replica];
    step_down(spec, own, epoch);
    own.vote = u8::try_from(replica + 1).unwrap_or(u8::MAX);
    own.role = Role::MayLead;
    let position = own.position();
    let said = state.epoch_mut(epoch);
    said.reports[replica] = position;
    said.votes[replica] = 1 << replica;
}

/// A replica votes for another (V2).
pub(crate) fn vote(spec: &Spec, state: &mut State, replica: usize, epoch: u8, candidate: usize) {
    let own = &mut state.replicas[replica];
    step_down(spec, own, epoch);
    own.vote = u8::try_from(candidate + 1).unwrap_or(u8::MAX);
    state.epoch_mut(epoch).votes[candidate] |= 1 << replica;
}
