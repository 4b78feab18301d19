//! What a journal says of one segment, for tools that check files and change none.

use std::ops::Range;

use corduroy_types::{EpochHistory, Offset};

use super::PartitionKey;
use super::replay::{Piece, Replay, Task};
use crate::mark::DurableMark;

impl Replay {
    /// The partitions that something is on record about.
    pub fn partitions(&self) -> impl Iterator<Item = PartitionKey> + '_ {
        self.states.keys().copied()
    }

    /// The durable mark of a partition that is on record.
    pub fn mark(&self, key: PartitionKey) -> Option<DurableMark> {
        self.states.get(&key).and_then(|state| state.mark)
    }

    /// The history of leader epochs of a partition that is on record.
    pub(crate) fn history(&self, key: PartitionKey) -> Option<&EpochHistory> {
        self.states.get(&key).map(|state| &state.history)
    }

    /// The parts of a segment that a start writes again from the journal, by position: in order, none touching the
    /// next.
    pub fn restored(&self, key: PartitionKey, segment_base: Offset) -> Vec<Range<u64>> {
        let mut parts: Vec<Range<u64>> = Vec::new();
        let mut pieces: Vec<&Piece> =
            self.tasks.iter().flat_map(|task| pieces_of(task, key, segment_base)).collect();
        pieces.sort_by_key(|piece| piece.position);
        for piece in pieces {
            let end = piece.position + piece.bytes.len() as u64;
            match parts.last_mut().filter(|last| last.end >= piece.position) {
                Some(last) => last.end = last.end.max(end),
                None => parts.push(piece.position..end),
            }
        }
        parts
    }
}

fn pieces_of(task: &Task, key: PartitionKey, segment_base: Offset) -> &[Piece] {
    match task {
        Task::Write { key: of, segment_base: base, pieces } if (*of, *base) == (key, segment_base) => pieces,
        Task::Cut { key: of, segments, .. } if *of == key => {
            let found = segments.iter().find(|(base, _)| *base == segment_base);
            found.map(|(_, pieces)| pieces.as_slice()).unwrap_or_default()
        }
        _ => &[],
    }
}
