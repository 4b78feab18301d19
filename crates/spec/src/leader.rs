//! What a leader does: it begins its epoch, appends, and commits what a quorum holds (R4, R8, R13).

use crate::{
    Rule, Rules, Spec,
    log::{Entry, Record},
    state::{Role, State, Waiter},
};

/// Begins an epoch: the leader's entry is durable before anything else happens (R4).
pub(crate) fn lead(state: &mut State, replica: usize, epoch: u8, rules: Rules) {
    let own = &mut state.replicas[replica];
    own.promised = epoch;
    own.role = Role::Leads;
    own.unfinished_cut = None;
    // A resumed leadership, where R3 is removed, has its entry already.
    if own.history.last_epoch() != epoch {
        own.history.push(Entry { epoch, start: own.log.len() });
        if rules.has(Rule::LeadersEntryIsDurable) {
            own.durable_entries = own.history.len();
        }
    }
    let (history, log) = (own.history, own.log);
    let said = state.epoch_mut(epoch);
    let led_twice = said.leader != 0;
    said.leader = u8::try_from(replica + 1).unwrap_or(u8::MAX);
    (said.history, said.log) = (history, log);
    state.led_twice |= led_twice;
}

/// Appends a record and sends it: what was sent in this epoch grows by it.
pub(crate) fn append(state: &mut State, replica: usize, record: Record, waits: bool) {
    let own = &mut state.replicas[replica];
    if waits {
        own.waiter = Some(Waiter { offset: own.log.len(), epoch: record.epoch, value: record.value });
        state.waited = true;
    }
    own.log.push(record);
    let log = own.log;
    let said = state.epoch_mut(record.epoch);
    said.log = log;
    said.appends += 1;
    match record.changes() {
        Some(_) => state.changes += 1,
        None => state.records += 1,
    }
}

/// The voters in force on a replica, one bit each: changes count from the moment they are appended (V6).
///
/// In a partition they are the replica set of the epoch that the replica leads (R17).
pub(crate) fn voters(spec: &Spec, state: &State, replica: usize) -> u8 {
    let own = &state.replicas[replica];
    if spec.bounds.sets.is_some() {
        return state.epoch(own.promised).set;
    }
    let all = (1_u8 << spec.bounds.replicas) - 1;
    let in_force = match spec.rules.has(Rule::ChangeInForceWhenAppended) {
        true => own.log.len(),
        // A leader knows what is committed; another may not know it yet.
        false if own.role == Role::Leads => state.committed.len(),
        false => 0,
    };
    let changed = own.log.prefix(in_force).iter().filter_map(Record::changes);
    changed.fold(spec.bounds.voters.unwrap_or(all), |voters, changed| voters ^ (1 << changed))
}

/// The end that a quorum holds in the epoch that a replica leads: the Q-th greatest of what counts (R4).
pub(crate) fn quorum_end(state: &State, replica: usize, spec: &Spec) -> Option<u8> {
    let own = &state.replicas[replica];
    let voters = voters(spec, state, replica);
    let quorum = voters.count_ones() / 2 + 1;
    let ends = || {
        let members = (0..spec.bounds.replicas).filter(|member| voters & (1 << member) != 0);
        members.filter_map(|member| match member == replica {
            true if spec.rules.has(Rule::DurableCounts) => Some(own.durable_end),
            true => Some(own.log.len()),
            false => acknowledged(state, replica, member, spec.rules),
        })
    };
    let reached = |end: &u8| ends().filter(|other| other >= end).count() >= quorum as usize;
    ends().filter(reached).max().map(|end| end.min(own.log.len()))
}

/// What a leader believes that a follower holds.
fn acknowledged(state: &State, leader: usize, follower: usize, rules: Rules) -> Option<u8> {
    let epoch = state.replicas[leader].promised;
    if rules.has(Rule::ProgressIsForgotten) {
        return state.epoch(epoch).acks[follower].checked_sub(1);
    }
    let led = (1..=epoch).map(|epoch| state.epoch(epoch)).filter(|said| said.is_led_by(leader));
    led.filter_map(|said| said.acks[follower].checked_sub(1)).max()
}

/// Commits what a quorum holds, and answers what waits for it (R13).
pub(crate) fn advance(state: &mut State, replica: usize, spec: &Spec) {
    let own = state.replicas[replica];
    let Some(end) = (own.role == Role::Leads).then(|| quorum_end(state, replica, spec)).flatten() else {
        return;
    };
    state.commit(own.promised, own.log, end);
    if spec.bounds.sets.is_some() {
        state.active = state.active.max(own.promised);
    }
    if !spec.rules.has(Rule::NoCutAtHighWatermark) {
        let said = state.epoch_mut(own.promised);
        said.high_watermark = said.high_watermark.max(end);
        state.replicas[replica].high_watermark = end;
    }
    let is_answered = |waiter: &Waiter| {
        waiter.offset < end && (waiter.epoch == own.promised || !spec.rules.has(Rule::AnswerInItsEpoch))
    };
    if let Some(waiter) = own.waiter.filter(is_answered) {
        state.acknowledged = Some(waiter);
        state.replicas[replica].waiter = None;
    }
}
