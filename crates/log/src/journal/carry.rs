//! Data of logs that cannot be reopened: it moves from generation to generation, so that it never holds up the others.

use std::collections::BTreeSet;

use corduroy_types::Offset;

use super::PartitionKey;
use super::checkpoint::{JournalPosition, Pin};
use super::plan::Journal;
use super::replay::{Piece, Replay, Rewrite};
use crate::error::LogError;
use crate::segment::SegmentFile;

impl Journal {
    /// Keeps the data of a log that has stopped, and could not be reopened, in memory and in each generation that begins
    /// from now on: until [`Journal::reopened`]. Without it the file that holds that data could not be used again, and
    /// the other one would grow for as long as the log stays stopped.
    ///
    /// `rewrite` was read after the log had stopped; `durable_end` is the log's. Doing it again changes nothing.
    pub fn carry(&mut self, key: PartitionKey, rewrite: &Rewrite, durable_end: Offset) {
        if self.carried.contains_key(&key) {
            return;
        }
        let mut kept: Vec<(Offset, Piece)> = Vec::new();
        for (segment_base, piece) in rewrite.of(key).filter(|(_, piece)| piece.end <= durable_end) {
            kept.push((segment_base, piece.compact()));
        }
        let mut held = false;
        for (_, pin) in self.pins.iter_mut().filter(|((of, _), _)| *of == key) {
            (pin.carried, pin.stopped, held) = (true, true, true);
        }
        if held {
            self.carried.insert(key, kept);
        }
    }

    /// The data of these logs, if the journal has all of it in memory: for each of them it was asked to
    /// [carry](Journal::carry) it, or holds none. Else read it with [`Rewrite::read`].
    pub fn carried(&self, keys: &[PartitionKey]) -> Option<Rewrite> {
        let waits = |key: &PartitionKey| self.pins.iter().any(|((of, _), pin)| of == key && !pin.carried);
        if keys.iter().any(waits) {
            return None;
        }
        let kept = keys.iter().filter_map(|key| Some((*key, self.carried.get(key)?.clone())));
        Some(Rewrite::kept(&self.data_dir, kept))
    }

    /// Logs whose data is carried from generation to generation, and bytes of it.
    pub fn carried_bytes(&self) -> (usize, u64) {
        let pieces = self.carried.values().flatten();
        (self.carried.len(), pieces.map(|(_, piece)| piece.bytes.len() as u64).sum())
    }

    /// Logs to be carried whose data is in the file that is not in use. It is written to the one in use next.
    pub(super) fn carried_in_other(&self) -> Vec<PartitionKey> {
        if self.carried.is_empty() {
            return Vec::new();
        }
        let pins = self.pins.iter().filter(|(_, pin)| pin.carried && pin.oldest.0 < self.generation);
        let mut keys: Vec<_> = pins.map(|((key, _), _)| *key).collect();
        keys.dedup();
        keys
    }

    /// Carries the data of every log that is not reopened. Performs I/O.
    pub(super) fn carry_all(&mut self) -> Result<(), LogError> {
        let waiting = self.pins.iter().filter(|(_, pin)| !pin.carried);
        let keys: BTreeSet<_> = waiting.map(|((key, _), _)| *key).collect();
        if keys.is_empty() {
            return Ok(());
        }
        let rewrite = Rewrite::read(&*self.disk, &self.data_dir)?;
        for key in keys {
            let marks = [self.marks.get(&key).copied(), self.states.get(&key).and_then(|state| state.mark)];
            // What was never acknowledged is given up: it must not be written over what takes its offsets.
            let durable_end = marks.into_iter().flatten().map(|mark| mark.offset).max();
            self.carry(key, &rewrite, durable_end.unwrap_or(Offset::ZERO));
        }
        Ok(())
    }

    /// Carries what could not be replayed.
    pub(super) fn carry_unfinished(&mut self, replay: &Replay, unfinished: &BTreeSet<PartitionKey>) {
        for (key, segment_base, piece) in replay.pieces_of(unfinished) {
            let new_file = || SegmentFile::new(key.dir(&self.data_dir).into(), segment_base);
            let pin = || Pin { stopped: true, carried: true, ..Pin::new(&new_file(), (0, 0)) };
            self.pins.entry((key, segment_base)).or_insert_with(pin);
            self.carried.entry(key).or_default().push((segment_base, piece.compact()));
        }
    }

    /// Whether the journal holds data of this log that is not known to be in its segments.
    pub fn holds(&self, key: PartitionKey) -> bool {
        self.pins.keys().any(|(of, _)| *of == key)
    }

    /// The data of these logs is durable in a generation now.
    pub(super) fn carried_to(&mut self, keys: &[PartitionKey], place: JournalPosition) {
        for ((key, _), pin) in &mut self.pins {
            if pin.carried && keys.contains(key) {
                (pin.oldest, pin.newest) = (place, place);
            }
        }
    }
}
