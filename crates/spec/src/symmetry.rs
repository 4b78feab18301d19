//! States that differ only in the names of the replicas are one: no rule tells replicas apart.
//!
//! [`Reduced`] is the model that goes from one such class to the next, each shown by one state. A trace of it is put
//! back into names that stay the same from its first step to its last ([`Reduced::trace`]).

use stateright::{Model, Property};

use crate::{
    Action, Invariant, REPLICAS_MAX, Spec,
    log::{Log, Record},
    state::{Epoch, Replica, State},
};

/// The new name of each replica, by its old one.
type Names = [usize; REPLICAS_MAX];

/// All that a state says of one replica, so that replicas can be put in an order that does not depend on their names.
type Column = (Replica, [(bool, bool, u8, u8, u32); crate::EPOCHS_MAX]);

fn rename_record(record: Record, names: &Names) -> Record {
    match record.changes() {
        Some(voter) => {
            let renamed = u8::try_from(names[usize::from(voter)]).unwrap_or(voter);
            Record::change(record.epoch, renamed)
        }
        None => record,
    }
}

fn column(state: &State, replica: usize) -> Column {
    let own = state.replicas[replica];
    // What names another replica is kept only as far as it names this one.
    let vote = if own.vote == 0 { 0 } else { 1 + u8::from(usize::from(own.vote) == replica + 1) };
    let names = std::array::from_fn(|name| usize::from(name == replica));
    let log = own.log.map(|record| rename_record(record, &names));
    let said = |epoch: &Epoch| {
        let votes = epoch.votes[replica].count_ones();
        let is_appointed = usize::from(epoch.appointed) == replica + 1;
        (epoch.is_led_by(replica), is_appointed, epoch.reports[replica], epoch.acks[replica], votes)
    };
    (Replica { vote, log, ..own }, std::array::from_fn(|epoch| said(&state.epochs[epoch])))
}

/// Replicas of one class were in the same sets at first: only those may change names. A class is numbered by its first replica.
fn class(spec: &Spec, replica: usize) -> usize {
    let [first, second] = spec.bounds.sets.unwrap_or_default();
    let sets = [first, second, spec.bounds.voters.unwrap_or_default()];
    let of = |replica: usize| sets.map(|set| set >> replica & 1);
    (0..replica).find(|other| of(*other) == of(replica)).unwrap_or(replica)
}

/// The first replicas in order: the old name of each, by its new one. Where two have the same column but votes
/// tell them apart, two states may stay two that could be one: that costs time and hides nothing.
fn order(state: &State, spec: &Spec) -> Names {
    let mut order = std::array::from_fn(|name| name);
    let columns: [Column; REPLICAS_MAX] = std::array::from_fn(|replica| column(state, replica));
    let class = |replica: usize| class(spec, replica);
    order[..spec.bounds.replicas]
        .sort_by(|a, b| class(*a).cmp(&class(*b)).then_with(|| columns[*a].cmp(&columns[*b])));
    order
}

/// The same state, in which replica `order[i]` is called `i`.
fn renamed(state: &State, order: &Names) -> State {
    let mut names = [0; REPLICAS_MAX];
    for (new, old) in order.iter().enumerate() {
        names[*old] = new;
    }
    let new = |plus_one: u8| match usize::from(plus_one).checked_sub(1) {
        Some(old) => u8::try_from(names[old] + 1).unwrap_or(plus_one),
        None => 0,
    };
    let set = |set: u8| {
        let members = names.iter().enumerate().filter(|(old, _)| set & (1 << old) != 0);
        members.fold(0, |set, (_, new)| set | 1 << new)
    };
    let log = |log: Log| log.map(|record| rename_record(record, &names));
    let epoch = |said: &Epoch| Epoch {
        leader: new(said.leader),
        appointed: new(said.appointed),
        log: log(said.log),
        reports: order.map(|old| said.reports[old]),
        votes: order.map(|old| set(said.votes[old])),
        acks: order.map(|old| said.acks[old]),
        ..*said
    };
    let replica = |own: Replica| Replica { vote: new(own.vote), log: log(own.log), ..own };
    State {
        replicas: order.map(|old| replica(state.replicas[old])),
        epochs: std::array::from_fn(|index| epoch(&state.epochs[index])),
        committed: log(state.committed),
        ..*state
    }
}

/// A model whose states are classes of states.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reduced(pub(crate) Spec);

impl Reduced {
    /// The same trace of the model itself.
    pub(crate) fn trace(self, reduced: &[Action]) -> Vec<Action> {
        let mut state = State::default();
        // The real name of each replica, by its name in the class.
        let mut names: Names = std::array::from_fn(|name| name);
        let mut trace = Vec::new();
        for action in reduced {
            trace.push(action.renamed(|replica| names[replica]));
            let Some(next) = self.0.next_state(&state, *action) else { break };
            let order = order(&next, &self.0);
            state = renamed(&next, &order);
            names = order.map(|old| names[old]);
        }
        trace
    }
}

impl Model for Reduced {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        self.0.init_states()
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.0.actions(state, actions);
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let next = self.0.next_state(state, action)?;
        Some(renamed(&next, &order(&next, &self.0)))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        use Invariant as I;
        let all = [
            Property::always(I::OneLeader.name(), |m: &Self, s: &State| I::OneLeader.holds(&m.0, s)),
            Property::always(I::OneRecord.name(), |m: &Self, s: &State| I::OneRecord.holds(&m.0, s)),
            Property::always(I::LogsMatch.name(), |m: &Self, s: &State| I::LogsMatch.holds(&m.0, s)),
            Property::always(I::LeaderIsComplete.name(), |m: &Self, s: &State| {
                I::LeaderIsComplete.holds(&m.0, s)
            }),
            Property::always(I::CommittedStays.name(), |m: &Self, s: &State| {
                I::CommittedStays.holds(&m.0, s)
            }),
            Property::always(I::CountedIsHeld.name(), |m: &Self, s: &State| I::CountedIsHeld.holds(&m.0, s)),
            Property::always(I::PromiseHolds.name(), |m: &Self, s: &State| I::PromiseHolds.holds(&m.0, s)),
            Property::always(I::AcknowledgedIsCommitted.name(), |m: &Self, s: &State| {
                I::AcknowledgedIsCommitted.holds(&m.0, s)
            }),
        ];
        let is_wanted = |property: &Property<Self>| self.0.aim.is_none_or(|aim| aim.name() == property.name);
        all.into_iter().filter(is_wanted).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashSet, VecDeque};

    use super::*;
    use crate::Bounds;

    /// The next replica of the same class takes the name, and the last of a class that of its first.
    fn rotated(spec: &Spec) -> Names {
        std::array::from_fn(|replica| {
            let of_class = |other: &usize| class(spec, *other) == class(spec, replica);
            let next = (replica + 1..spec.bounds.replicas).find(of_class);
            if replica < spec.bounds.replicas { next.unwrap_or(class(spec, replica)) } else { replica }
        })
    }

    /// What can happen, and what follows, is the same whatever the replicas are called.
    fn names_do_not_matter(bounds: Bounds) {
        let spec = Spec::new(bounds);
        let order = rotated(&spec);
        let new_name = |old: usize| order.iter().position(|it| *it == old).unwrap();
        let (mut seen, mut open) = (HashSet::new(), VecDeque::from([State::default()]));
        let (mut possible, mut possible_renamed) = (Vec::new(), Vec::new());
        while let Some(state) = open.pop_front().filter(|_| seen.len() < 20_000) {
            possible.clear();
            possible_renamed.clear();
            let other = renamed(&state, &order);
            spec.actions(&state, &mut possible);
            spec.actions(&other, &mut possible_renamed);
            assert_eq!(possible.len(), possible_renamed.len(), "{state:?}");
            for action in &possible {
                let same = action.renamed(new_name);
                assert!(possible_renamed.contains(&same), "{action}: {state:?}");
                let next = spec.next_state(&state, *action).unwrap();
                assert_eq!(
                    Some(renamed(&next, &order)),
                    spec.next_state(&other, same),
                    "{action}: {state:?}"
                );
                if seen.insert(next) {
                    open.push_back(next);
                }
            }
        }
        assert!(seen.len() > 1_000, "{bounds}: {}", seen.len());
    }

    #[test]
    fn no_rule_tells_replicas_apart() {
        names_do_not_matter(Bounds::partition(3, 2, 1));
        names_do_not_matter(Bounds::metadata(3, 1, 1));
        names_do_not_matter(Bounds::metadata(2, 1, 1).with_changes(2));
        names_do_not_matter(Bounds::metadata(2, 1, 1).with_changes(1).with_replicas(4).with_voters(3));
        for sets in [[0b001, 0b110], [0b001, 0b111], [0b0111, 0b1110]] {
            names_do_not_matter(Bounds::partition(3, 1, 1).with_sets(sets));
        }
    }
}
