//! What a follower does to its log, one durable step after the other (R4, R7), and what it acknowledges (R5).

use crate::{
    Rule, Rules,
    log::{Entry, History, Record},
    state::{Epoch, Replica, State},
};

/// The next step of a follower: it follows from its own log and history and from its leader's, so a follower needs no plan
/// that it could lose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Cut(u8),
    Drop(u8),
    Adopt(Entry),
    Receive(u8, Record),
}

/// The first entry that the follower has and the leader lacks, if there is one; how many they have in common before; and the
/// leader's next entry.
fn branches(own: History, leader: History, rules: Rules) -> (Option<Entry>, u8, Option<Entry>) {
    let (own, leader) = (own.from_log_start(), leader.from_log_start());
    let common = own.common(leader);
    if rules.has(Rule::DeadBranchIsDropped) {
        return (own.get(common), common, leader.get(common));
    }
    // A follower that does not look for dead branches sees only what is newer.
    (None, common, leader.iter().find(|entry| entry.epoch > own.last_epoch()))
}

/// `agree` of the design, as separate steps in the order of R7: cut, drop, adopt; then the records.
pub(crate) fn next_step(own: &Replica, leader: &Epoch, rules: Rules) -> Option<Step> {
    if let Some(to) = own.unfinished_cut {
        return Some(Step::Cut(to));
    }
    let end = own.log.len();
    let (dead, common, next) = branches(own.history, leader.history, rules);
    if let Some(dead) = dead {
        if end > dead.start && rules.has(Rule::CutBeforeDrop) {
            return Some(Step::Cut(dead.start));
        }
        return Some(Step::Drop(common));
    }
    if let Some(next) = next.filter(|next| end >= next.start) {
        if own.durable_end < next.start && rules.has(Rule::LogBeforeEntry) {
            return None; // the log below the entry is synced first
        }
        let cuts = rules.has(Rule::CutBeforeAdopt) && rules.has(Rule::CutAtAdoption);
        return Some(if end > next.start && cuts { Step::Cut(next.start) } else { Step::Adopt(next) });
    }
    leader.log.get(end).map(|record| Step::Receive(end, record))
}

/// Performs a step. Where R7 is removed, the cut comes last.
pub(crate) fn perform(own: &mut Replica, step: Step, rules: Rules) {
    match step {
        Step::Cut(to) => {
            own.cut(to);
            own.unfinished_cut = None;
        }
        Step::Drop(keeps) => {
            if !rules.has(Rule::CutBeforeDrop) {
                let dead = own.history.from_log_start().get(keeps).map(|dead| dead.start);
                own.unfinished_cut = dead.filter(|start| *start < own.log.len());
            }
            own.history = own.history.from_log_start().prefix(keeps);
            own.durable_entries = keeps;
        }
        Step::Adopt(entry) => {
            if !rules.has(Rule::CutBeforeAdopt) {
                own.unfinished_cut = Some(entry.start).filter(|start| *start < own.log.len());
            }
            own.adopt(entry, rules);
        }
        Step::Receive(_, record) => own.log.push(record),
    }
}

/// What a follower acknowledges in the epoch it promised, if that counts (R4, R5, R8).
fn acknowledged(own: &Replica, leader: &Epoch, rules: Rules) -> Option<u8> {
    let end = if rules.has(Rule::DurableCounts) { own.durable_end } else { own.log.len() };
    let holds = own.history.last_epoch() == own.promised;
    let needs_entry = rules.has(Rule::EntryBeforeCount) && rules.has(Rule::EntryBeforeCountOfVoters);
    if !rules.has(Rule::VerifiedMatch) && (holds || !needs_entry) {
        return Some(end);
    }
    let (dead, _, next) = branches(own.history, leader.history, rules);
    let agrees = dead.is_none() && own.unfinished_cut.is_none();
    match next {
        _ if !agrees => None,
        _ if holds => Some(end),
        Some(next) if !needs_entry => Some(end.min(next.start)),
        _ => None,
    }
}

/// Sends the acknowledgement of a replica, if it follows.
pub(crate) fn acknowledge(state: &mut State, replica: usize, rules: Rules) {
    let own = state.replicas[replica];
    if own.promised == 0 {
        return;
    }
    let epoch = state.epoch_mut(own.promised);
    if epoch.leader == 0 || epoch.is_led_by(replica) {
        return;
    }
    if let Some(end) = acknowledged(&own, epoch, rules) {
        epoch.acks[replica] = epoch.acks[replica].max(end + 1);
    }
}

#[cfg(test)]
mod tests {
    use corduroy_partition::{LogView, agree};
    use corduroy_types::{EpochEntry, EpochHistory, LeaderEpoch, Offset};

    use super::*;

    const EPOCHS: u8 = 3;
    const END_MAX: u8 = 3;

    /// Every history of up to three epochs, with every log end that it can have.
    fn logs() -> Vec<(History, u8)> {
        let mut histories = vec![History::default()];
        for epoch in 1..=EPOCHS {
            let longer = histories.iter().flat_map(|history| {
                let first = history.last().map_or(0, |entry| entry.start);
                // The first entry begins the log: below it there is nothing.
                let last = if history.is_empty() { 0 } else { END_MAX };
                (first..=last).map(|start| {
                    let mut longer = *history;
                    longer.push(Entry { epoch, start });
                    longer
                })
            });
            histories.extend(longer.collect::<Vec<_>>());
        }
        let ends = |history: History| {
            let last = if history.is_empty() { 0 } else { END_MAX };
            history.last().map_or(0, |entry| entry.start)..=last
        };
        histories.iter().flat_map(|history| ends(*history).map(|end| (*history, end))).collect()
    }

    fn of_code(history: History) -> EpochHistory {
        let entries = history.iter().map(|entry| EpochEntry {
            epoch: LeaderEpoch::new(entry.epoch.into()).unwrap(),
            start: Offset::new(entry.start.into()).unwrap(),
        });
        EpochHistory::from_entries(entries).unwrap()
    }

    /// The steps until the next one is to receive a record.
    fn steps(own: (History, u8), leader: History) -> (History, u8) {
        let mut follower = Replica { history: own.0, ..Replica::default() };
        for offset in 0..own.1 {
            follower.log.push(Record { epoch: own.0.epoch_at(offset), value: offset });
        }
        follower.sync();
        let leader = Epoch { history: leader, ..Epoch::default() };
        while let Some(step) = next_step(&follower, &leader, Rules::all()) {
            perform(&mut follower, step, Rules::all());
        }
        (follower.history, follower.log.len())
    }

    #[test]
    fn the_steps_lead_to_where_the_code_agrees() {
        let mut compared = 0;
        for own in logs() {
            for (leader, leader_end) in logs().into_iter().filter(|(history, _)| !history.is_empty()) {
                let (ours, theirs) = (of_code(own.0), of_code(leader));
                let view = |end: u8, history| LogView {
                    log_start: Offset::ZERO,
                    log_end: Offset::new(end.into()).unwrap(),
                    history,
                };
                let agreement = agree(view(own.1, &ours), view(leader_end, &theirs));
                let (history, end) = steps(own, leader);
                assert_eq!(
                    of_code(history.from_log_start()),
                    agreement.history,
                    "{own:?} follows {leader:?}"
                );
                assert_eq!(u64::from(end), agreement.log_end.get(), "{own:?} follows {leader:?}");
                compared += 1;
            }
        }
        assert!(compared > 1_000, "{compared}");
    }
}
