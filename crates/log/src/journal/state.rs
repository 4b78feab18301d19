//! The little that the journal remembers of each partition.

use std::collections::BTreeMap;

use corduroy_types::{EpochHistory, Offset};

use super::checkpoint::JournalPosition;
use super::entry::{self, Entry, NO_PARTITION, Of};
use super::file::{self, ENTRIES_AT, Id};
use super::replay::Piece;
use super::{PartitionKey, Promise};
use crate::mark::DurableMark;

/// What is remembered of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PartitionState {
    pub(super) mark: Option<DurableMark>,
    pub(super) history: EpochHistory,
    /// A cut that has begun.
    pub(super) cut: Option<Cut>,
    pub(super) promise: Option<Promise>,
    pub(super) suspect: bool,
}

/// What is being done to a log's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// They are cut to end there.
    To(Offset),
    /// They are removed, and the log begins there.
    Reset(Offset),
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
        Entry::CutBegun { to, history } => begin_cut(states, key, Cut::To(*to), history),
        Entry::ResetBegun { start, history } => begin_cut(states, key, Cut::Reset(*start), history),
        Entry::Promised(promise) => {
            let promised = &mut states.entry(key).or_default().promise;
            *promised = Some(promised.map_or(*promise, |before| before.then(*promise)));
        }
        Entry::Suspect(suspect) => states.entry(key).or_default().suspect = *suspect,
        Entry::CutDone => states.entry(key).or_default().cut = None,
        Entry::Dropped => drop(states.remove(&key)),
        Entry::Settled { .. }
        | Entry::StateEnd { .. }
        | Entry::Checkpointed { .. }
        | Entry::Filler { .. }
        | Entry::Carried { .. } => {}
    }
}

/// Marks hold no more, and the history is another; promise and suspicion stay.
fn begin_cut(states: &mut States, key: PartitionKey, cut: Cut, history: &EpochHistory) {
    let state = states.entry(key).or_default();
    (state.mark, state.cut) = (None, Some(cut));
    state.history.clone_from(history);
}

/// What is carried over into each generation, by log.
pub(super) type Carried = BTreeMap<PartitionKey, Vec<(Offset, Piece)>>;

/// The entries that carry one log's data over.
pub(super) fn carried_entries(
    carried: &Carried,
    key: PartitionKey,
) -> impl Iterator<Item = (PartitionKey, Entry)> + '_ {
    carried.get(&key).into_iter().flatten().map(move |(segment_base, piece)| {
        let Piece { position, end, bytes } = piece.clone();
        (key, Entry::Carried { segment_base: *segment_base, position, end, bytes })
    })
}

/// What a generation begins with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beginning<'a> {
    pub(super) states: &'a States,
    pub(super) carried: &'a Carried,
    /// Up to where data is checkpointed.
    pub(super) checkpointed: JournalPosition,
    pub(super) sector_bytes: u64,
}

impl Beginning<'_> {
    /// Its header, what is carried over, and two copies of everybody's state, which no sector holds parts of both of.
    pub(super) fn encode(&self, id: Id) -> Vec<u8> {
        let mut out = file::header(id);
        let of = Of { tag: id.tag(), commit: 0 };
        for (key, entry) in self.carried.keys().flat_map(|key| carried_entries(self.carried, *key)) {
            entry::encode(&mut out, of, key, &entry);
        }
        let carried_end = out.len() as u64;
        self.encode_copy(&mut out, of, carried_end);
        entry::fill_sector(&mut out, of, 0, self.sector_bytes);
        self.encode_copy(&mut out, of, carried_end);
        out
    }

    fn encode_copy(&self, out: &mut Vec<u8>, of: Of, carried_end: u64) {
        let from = out.len() as u64;
        for (key, entry) in self.copy() {
            entry::encode(out, of, key, &entry);
        }
        entry::encode(out, of, NO_PARTITION, &Entry::StateEnd { from, carried_end });
    }

    fn copy(&self) -> impl Iterator<Item = (PartitionKey, Entry)> + '_ {
        let states = self.states.iter().flat_map(|(key, state)| {
            let history = || state.history.clone();
            let begun = match state.cut {
                Some(Cut::To(to)) => Some(Entry::CutBegun { to, history: history() }),
                Some(Cut::Reset(start)) => Some(Entry::ResetBegun { start, history: history() }),
                None => (!state.history.is_empty()).then(|| Entry::History(history())),
            };
            let promised = state.promise.map(Entry::Promised);
            let suspect = state.suspect.then_some(Entry::Suspect(true));
            let entries = begun.into_iter().chain(state.mark.map(Entry::Mark)).chain(promised).chain(suspect);
            entries.map(|entry| (*key, entry))
        });
        let (generation, position) = self.checkpointed;
        states.chain([(NO_PARTITION, Entry::Checkpointed { generation, position })])
    }

    /// Bytes of all of it.
    pub(super) fn encoded_bytes(&self) -> u64 {
        let pieces = self.carried.values().flatten();
        let carried: u64 = pieces.map(|(_, piece)| entry::carried_entry_bytes(piece.bytes.len())).sum();
        let copy: u64 = self.copy().map(|(_, entry)| entry.encoded_bytes()).sum();
        let copy = copy + Entry::StateEnd { from: 0, carried_end: 0 }.encoded_bytes();
        let first = ENTRIES_AT + carried + copy;
        first + entry::filler_bytes(first, self.sector_bytes) + copy
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use corduroy_types::{PartitionIndex, TopicId};

    use super::*;

    #[test]
    fn a_beginning_is_as_long_as_it_says() {
        let key = |partition| PartitionKey {
            topic_id: TopicId::from_bytes([7; 16]),
            partition: PartitionIndex(partition),
        };
        let id = Id { version: file::VERSION, number: 3, salt: 0x0102_0304 };
        let cut = PartitionState {
            cut: Some(Cut::To(Offset::ZERO)),
            promise: Some(Promise::of_epoch(corduroy_types::LeaderEpoch::ZERO)),
            suspect: true,
            ..PartitionState::default()
        };
        for partitions in 0..40 {
            let states = (0..partitions).map(|partition| (key(partition), cut.clone())).collect();
            for pieces in 0..3_usize {
                let piece = Piece { position: 9, end: Offset::ZERO, bytes: Bytes::from(vec![1; pieces]) };
                let carried = BTreeMap::from([(key(1), vec![(Offset::ZERO, piece); pieces])]);
                for sector_bytes in [512, 4096] {
                    let (states, carried) = (&states, &carried);
                    let beginning = Beginning { states, carried, checkpointed: (1, 2), sector_bytes };
                    assert_eq!(beginning.encode(id).len() as u64, beginning.encoded_bytes());
                }
            }
        }
    }
}
