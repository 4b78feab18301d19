//! The little that the journal remembers of each partition.

use std::collections::BTreeMap;

use corduroy_types::Offset;

use super::PartitionKey;
use super::entry::{self, Entry, NO_PARTITION};
use crate::epochs::EpochHistory;
use crate::mark::DurableMark;

/// What is remembered of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PartitionState {
    pub(super) mark: Option<DurableMark>,
    pub(super) history: EpochHistory,
    /// A cut that has begun: where to.
    pub(super) cut: Option<Offset>,
}

/// All partitions' state.
pub(super) type States = BTreeMap<PartitionKey, PartitionState>;

/// Takes an entry that has become durable, or was read back, into the state.
pub(super) fn apply(states: &mut States, key: PartitionKey, entry: &Entry) {
    match entry {
        Entry::Data { mark, .. } | Entry::Mark(mark) => states.entry(key).or_default().mark = Some(*mark),
        Entry::EpochBegun(begun) => {
            // What was written had been checked; an entry that does not fit says nothing that can be used.
            let _does_not_fit = states.entry(key).or_default().history.push(*begun);
        }
        Entry::History(history) => states.entry(key).or_default().history.clone_from(history),
        Entry::CutBegun { to, history } => {
            let state = PartitionState { mark: None, history: history.clone(), cut: Some(*to) };
            states.insert(key, state);
        }
        Entry::CutDone => states.entry(key).or_default().cut = None,
        Entry::Dropped => drop(states.remove(&key)),
        Entry::Settled { .. } | Entry::StateEnd | Entry::Checkpointed { .. } => {}
    }
}

/// Appends what a generation begins with: everybody's state, up to where data is checkpointed, and the end of
/// that.
pub(super) fn encode_all(out: &mut Vec<u8>, generation: u64, states: &States, checkpointed: (u64, u64)) {
    for (key, state) in states {
        match state.cut {
            Some(to) => {
                let cut = Entry::CutBegun { to, history: state.history.clone() };
                entry::encode(out, generation, *key, &cut);
            }
            None if !state.history.is_empty() => {
                entry::encode(out, generation, *key, &Entry::History(state.history.clone()));
            }
            None => {}
        }
        if let Some(mark) = state.mark {
            entry::encode(out, generation, *key, &Entry::Mark(mark));
        }
    }
    let (up_to, position) = checkpointed;
    let checkpointed = Entry::Checkpointed { generation: up_to, position };
    entry::encode(out, generation, NO_PARTITION, &checkpointed);
    entry::encode(out, generation, NO_PARTITION, &Entry::StateEnd);
}
