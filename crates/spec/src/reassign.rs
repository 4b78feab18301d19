//! A partition whose replica set changes (R17): the set is fixed as long as an epoch lasts, and an election hears E replicas of
//! every set since the last one that became active.

use crate::{
    Action, Rule, Spec,
    state::{Role, State},
};

/// Whether what so many of a set's members do decides an election of it: E of them (R17).
fn is_heard(set: u8, heard: u8) -> bool {
    let quorum = set.count_ones() / 2 + 1;
    (set & heard).count_ones() > set.count_ones() - quorum
}

/// The sets that an election has to hear: those of the epochs since the last that became active.
fn open_sets(spec: &Spec, state: &State, next: u8) -> Vec<u8> {
    let first = spec.bounds.sets.map_or(0, |[first, _]| first);
    let appointed = (1..=spec.bounds.epochs).filter(|epoch| state.epoch(*epoch).appointed != 0);
    let sets = [(0, first)].into_iter().chain(appointed.map(|epoch| (epoch, state.epoch(epoch).set)));
    if !spec.rules.has(Rule::ReportsOfEverySet) {
        return vec![next];
    }
    if !spec.rules.has(Rule::OldSetsUntilActive) {
        return sets.last().map(|(_, set)| set).into_iter().collect();
    }
    sets.filter(|(epoch, _)| *epoch >= state.active).map(|(_, set)| set).collect()
}

/// The appointments that the controller can make. It makes them in the order of the epochs: each is a record of its log.
pub(crate) fn appointments(spec: &Spec, state: &State, replica: usize, epoch: u8, actions: &mut Vec<Action>) {
    let Some(sets) = spec.bounds.sets else { return };
    let said = state.epoch(epoch);
    let is_past = (epoch..=spec.bounds.epochs).any(|later| state.epoch(later).appointed != 0);
    let report = said.reports[replica];
    if is_past || report == 0 {
        return;
    }
    let reports = said.reports.iter().zip(0..spec.bounds.replicas);
    let beaten = reports.filter(|(other, _)| **other != 0 && **other <= report);
    let heard = beaten.fold(0, |heard, (_, other)| heard | 1 << other);
    for (set, index) in sets.into_iter().zip(0..) {
        let is_member = set & (1 << replica) != 0;
        let is_new = index == 0 || sets[0] != set;
        let mut open = open_sets(spec, state, set).into_iter();
        if is_member && is_new && open.all(|open| is_heard(open, heard)) {
            actions.push(Action::Appoint { replica, epoch, set });
        }
    }
}

/// The controller appoints a leader and its replica set.
pub(crate) fn appoint(state: &mut State, replica: usize, epoch: u8, set: u8) {
    let said = state.epoch_mut(epoch);
    said.appointed = u8::try_from(replica + 1).unwrap_or(u8::MAX);
    said.set = set;
}

/// Whether a replica learns of its appointment, in the incarnation that reported (R3).
pub(crate) fn learns(state: &State, replica: usize, epoch: u8) -> bool {
    let own = &state.replicas[replica];
    let said = state.epoch(epoch);
    let is_appointed = usize::from(said.appointed) == replica + 1;
    is_appointed && said.leader == 0 && own.promised == epoch && own.role == Role::MayLead
}
