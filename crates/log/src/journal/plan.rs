//! The journal itself: where it is written next, what it remembers, what it plans. No I/O.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::checkpoint::{JournalPosition, Pin, Pins};
use super::commit::{Commit, Planned, Target};
use super::entry::{Entry, NO_PARTITION};
use super::file::{self, Id, SECTOR_BYTES, Slot};
use super::request::JournalRequest;
use super::state::{self, Beginning, Carried, States};
use super::{JournalConfig, PartitionKey, Promise};
use crate::disk::{Disk, DiskFile};
use crate::log::Log;
use crate::mark::{DurableMark, Known};
use crate::round::Round;

/// The commit journal of one data directory. Its owner serialises access; plans are performed without it.
#[derive(Debug)]
pub struct Journal {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) data_dir: PathBuf,
    pub(super) config: JournalConfig,
    pub(super) files: [Arc<dyn DiskFile>; 2],
    pub(super) file_ends: [u64; 2],
    pub(super) slot: Slot,
    pub(super) generation: u64,
    /// The tag of the present generation's entries.
    pub(super) tag: u64,
    /// The greatest number tried: a generation that failed to begin may have left entries with it.
    pub(super) number: u64,
    pub(super) position: u64,
    /// Data before this place is checkpointed; and what the journal itself says about that.
    pub(super) checkpointed: JournalPosition,
    pub(super) checkpointed_written: JournalPosition,
    pub(super) states: States,
    /// Marks that are not in the journal yet.
    pub(super) marks: BTreeMap<PartitionKey, DurableMark>,
    pub(super) pins: Pins,
    /// Data of stopped logs that each generation begins with, until they are reopened.
    pub(super) carried: Carried,
    pub(super) zeros: Bytes,
    pub(super) failed: Option<String>,
}

impl Journal {
    pub(super) fn next_id(&mut self) -> Id {
        self.number += 1;
        Id { version: file::VERSION, number: self.number, salt: fresh_salt() }
    }

    pub(super) fn beginning(&self, checkpointed: JournalPosition) -> Beginning<'_> {
        let (states, carried, sector_bytes) = (&self.states, &self.carried, self.sector_bytes());
        Beginning { states, carried, checkpointed, sector_bytes }
    }

    /// What a failing disk may lose at once. Small files, as in tests, have less room for copies far apart.
    fn sector_bytes(&self) -> u64 {
        const LARGE: u64 = 4096;
        if self.config.file_bytes < 64 * LARGE { SECTOR_BYTES } else { LARGE }
    }

    pub(super) fn file(&self, slot: Slot) -> Arc<dyn DiskFile> {
        let [a, b] = &self.files;
        Arc::clone(if slot == Slot::A { a } else { b })
    }

    pub(super) fn file_end(&self, slot: Slot) -> u64 {
        self.file_ends.get(slot.index()).copied().unwrap_or(0)
    }

    pub(super) fn enter(&mut self, slot: Slot, id: Id, position: u64) {
        (self.slot, self.generation, self.tag, self.position) = (slot, id.number, id.tag(), position);
    }

    pub(super) fn note_written(&mut self, slot: Slot, end: u64) {
        if let Some(file_end) = self.file_ends.get_mut(slot.index()) {
            *file_end = end.max(*file_end);
        }
    }

    /// Plans one commit of these rounds, which are of different logs, and of these requests. `flush_marks` says
    /// that durable marks have waited long enough for something to ride along with.
    ///
    /// One commit at a time: the next is planned when this one was given to [`Journal::finish`].
    pub fn plan(
        &mut self,
        rounds: Vec<(PartitionKey, Round)>,
        requests: Vec<JournalRequest>,
        flush_marks: bool,
    ) -> Commit {
        let seals = rounds.iter().any(|(_, round)| round.settles().is_some());
        let mut commit = Commit {
            rounds: rounds.into_iter().map(|(key, round)| Planned::new(key, round)).collect(),
            requests,
            entries: Vec::new(),
            journal: None,
            syncs: Vec::new(),
            refused: self.failed.clone(),
        };
        if commit.refused.is_some() {
            return commit;
        }
        let must_write = flush_marks && self.has_unwritten_state() || !commit.requests.is_empty() || seals;
        let wants_data = self.chooses_journal(&commit);
        if must_write || wants_data {
            self.place(&mut commit, wants_data);
        }
        commit.plan_syncs();
        commit
    }

    /// Whether the batches of a commit are better written to the journal than synced where they belong.
    fn chooses_journal(&self, commit: &Commit) -> bool {
        let eligible = commit.rounds.iter().filter(|planned| planned.round.journal_data().is_some());
        let (segments, bytes) =
            eligible.fold((0, 0), |(segments, bytes), planned| (segments + 1, bytes + planned.round.bytes()));
        segments >= self.config.segments_min.max(1)
            && bytes <= self.config.segment_bytes_max.saturating_mul(segments as u64)
    }

    /// Finds the commit a place: behind the last, or at the beginning of a new generation. Batches for which there
    /// is no room before a checkpoint are synced where they belong; what must be written is, whatever room there
    /// is.
    fn place(&mut self, commit: &mut Commit, wants_data: bool) {
        if self.position >= self.config.file_bytes / 2 {
            // The other file is free only once this one says that nothing of it is needed.
            self.note_checkpointed();
        }
        let mut carries = self.carried_in_other();
        commit.entries = self.unwritten_state(&carries);
        let sector_bytes = self.sector_bytes();
        let state_bytes: u64 = commit.state_bytes(sector_bytes);
        let data_bytes = if wants_data { commit.data_bytes() } else { 0 };
        let (file_bytes, bytes) = (self.config.file_bytes, state_bytes + data_bytes);
        let mut data_fits = self.position + bytes <= file_bytes;
        let head_bytes = self.beginning(self.checkpointed).encoded_bytes();
        let begins = !data_fits && self.other_is_free() && {
            data_fits = head_bytes + bytes <= file_bytes;
            // Where a new generation gives no room, only after as much again: each costs the whole state.
            data_fits || self.position + state_bytes > file_bytes.max(2 * head_bytes)
        };
        let (slot, id, head) = if begins {
            let id = self.next_id();
            let head = self.beginning(self.checkpointed).encode(id);
            carries = self.carried.keys().copied().collect();
            (self.slot.other(), id, Some(head))
        } else {
            (self.slot, Id::of_tag(file::VERSION, self.tag), None)
        };
        let position = head.as_ref().map_or(self.position, |head| head.len() as u64);
        data_fits &= position + bytes <= file_bytes;
        if wants_data && data_fits {
            for planned in &mut commit.rounds {
                planned.journaled = planned.round.journal_data().is_some();
            }
        }
        let place = (id.number, position);
        for planned in commit.rounds.iter().filter(|planned| planned.journaled) {
            if let Some(data) = planned.round.journal_data() {
                let pin = || Pin::new(data.file, place);
                let pin = self.pins.entry((planned.key, data.file.base)).or_insert_with(pin);
                pin.newest = place;
            }
        }
        commit.journal = Some(Target {
            file: self.file(slot),
            slot,
            id,
            sector_bytes,
            carries,
            place,
            position: if head.is_some() { 0 } else { position },
            head,
            file_end: self.file_end(slot),
            zeros: self.zeros.clone(),
            end: position,
            result: Mutex::new(None),
        });
    }

    /// Whether the file not in use holds nothing that replay would need, and the journal says so.
    pub(super) fn other_is_free(&self) -> bool {
        self.checkpointed_written.0 >= self.generation
            && self.pins.values().all(|pin| pin.oldest.0 >= self.generation)
    }

    /// What rides along with the next write.
    fn unwritten_state(&self, carries: &[PartitionKey]) -> Vec<(PartitionKey, Entry)> {
        let marks = self.marks.iter().map(|(key, mark)| (*key, Entry::Mark(*mark)));
        let (generation, position) = self.checkpointed;
        let checkpointed = (self.checkpointed > self.checkpointed_written)
            .then_some((NO_PARTITION, Entry::Checkpointed { generation, position }));
        let carried = carries.iter().flat_map(|key| state::carried_entries(&self.carried, *key));
        marks.chain(checkpointed).chain(carried).collect()
    }

    /// Whether there are durable marks, or a checkpoint, that the journal does not say yet. They should be written
    /// within 100 ms, with [`Journal::plan`].
    pub fn has_unwritten_state(&self) -> bool {
        !self.marks.is_empty()
            || self.checkpointed > self.checkpointed_written
            || !self.carried_in_other().is_empty()
    }

    /// Data before the oldest that still waits is checkpointed.
    pub(super) fn note_checkpointed(&mut self) {
        let waiting = self.pins.values().map(|pin| pin.oldest).min();
        let place = waiting.unwrap_or((self.generation, self.position));
        self.checkpointed = self.checkpointed.max(place);
    }

    /// Why the journal has failed, if it has. Every log of the data directory has to be stopped
    /// ([`crate::Log::journal_failed`]) and reopened then, and after that the journal restarted.
    pub fn failure(&self) -> Option<&str> {
        self.failed.as_deref()
    }

    /// What is known about a log that is to be opened. `clean` says whether it was closed well.
    pub fn known(&self, key: PartitionKey, clean: bool) -> Known {
        let state = self.states.get(&key);
        Known {
            clean,
            named: false,
            mark: state.and_then(|state| state.mark),
            history: state.map(|state| state.history.clone()).unwrap_or_default(),
        }
    }

    /// What the replica has promised: at least the last epoch of its history, since the entry of that was made durable.
    pub fn promise(&self, key: PartitionKey) -> Option<Promise> {
        let state = self.states.get(&key)?;
        let begun = state.history.last().map(|entry| Promise::of_epoch(entry.epoch));
        match (state.promise, begun) {
            (Some(promise), Some(begun)) => Some(promise.then(begun)),
            (promise, begun) => promise.or(begun),
        }
    }

    /// Whether the replica may have lost what it once acknowledged, so that its report does not count in an election (rule
    /// R14).
    pub fn is_suspect(&self, key: PartitionKey) -> bool {
        self.states.get(&key).is_some_and(|state| state.suspect)
    }

    /// Takes what a log knows of itself that was just opened, before anything is committed for it: how far recovery
    /// has found it sound and synced it, and its history without what lies below its start.
    pub fn opened(&mut self, key: PartitionKey, log: &Log) {
        let mark = log.durable_mark();
        let state = self.states.get(&key);
        // At the very beginning of a log, too: without a mark, what a first write leaves torn looks like damage.
        if state.and_then(|state| state.mark) != Some(mark) {
            self.marks.insert(key, mark);
        }
        if let Some(state) = self.states.get_mut(&key).filter(|_| !log.history().is_empty()) {
            state.history.clone_from(log.history());
        }
    }

    /// What has to be durable before the log that [`Truncation::perform`](crate::Truncation::perform) returned is appended to, in
    /// place of the one that was cut. Its mark is made durable with it, since none of the old log holds.
    pub fn end_cut(&mut self, key: PartitionKey, log: &Log) -> JournalRequest {
        self.opened(key, log);
        JournalRequest::EndCut(key)
    }

    /// The partitions that something is known about.
    pub fn partitions(&self) -> impl Iterator<Item = PartitionKey> + '_ {
        self.states.keys().copied()
    }

    /// Bytes of the file in use that are taken.
    pub fn used_bytes(&self) -> u64 {
        self.position
    }

    /// Segments with data that is not checkpointed.
    pub fn unsynced_segments(&self) -> usize {
        self.pins.len()
    }

    pub(super) fn position(&self) -> u64 {
        self.position
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn config(&self) -> &JournalConfig {
        &self.config
    }

    pub(super) fn pins(&self) -> &Pins {
        &self.pins
    }

    pub(super) fn pins_mut(&mut self) -> &mut Pins {
        &mut self.pins
    }
}

fn fresh_salt() -> u32 {
    let drawn = RandomState::new().build_hasher().finish();
    u32::try_from(drawn >> 32).unwrap_or(0)
}
