//! The journal itself: where it is written next, what it remembers, what it plans. No I/O but at the start.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::checkpoint::{Pin, Pins, Place};
use super::commit::{Commit, Planned, Target};
use super::entry::{Entry, NO_PARTITION};
use super::file::{self, ENTRIES_AT, JOURNAL_DIR, Slot};
use super::replay::{Found, Replay};
use super::request::JournalRequest;
use super::state::{self, States};
use super::{JournalConfig, PartitionKey};
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::error::LogError;
use crate::log::Log;
use crate::mark::{DurableMark, Known};
use crate::round::Round;

/// The commit journal of one data directory. Whoever holds it serialises access; plans are performed without it.
#[derive(Debug)]
pub struct Journal {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) data_dir: PathBuf,
    pub(super) config: JournalConfig,
    pub(super) files: [Arc<dyn DiskFile>; 2],
    pub(super) file_ends: [u64; 2],
    pub(super) slot: Slot,
    pub(super) generation: u64,
    /// The greatest number tried: a generation that failed to begin may have left entries with it.
    pub(super) number: u64,
    pub(super) position: u64,
    /// Data before this place is checkpointed; and what the journal itself says about that.
    pub(super) checkpointed: Place,
    pub(super) checkpointed_written: Place,
    pub(super) states: States,
    /// Marks that are not in the journal yet.
    pub(super) marks: BTreeMap<PartitionKey, DurableMark>,
    pub(super) pins: Pins,
    pub(super) zeros: Bytes,
    pub(super) failed: Option<String>,
}

impl Journal {
    /// Reads the journal of a data directory and replays it into the segments; what is returned beside it says
    /// what is known about the logs, which are to be opened after this. Performs I/O.
    ///
    /// # Errors
    /// The disk's: nothing was lost, try again. [`LogError::NewerFormat`] for a newer version's journal.
    pub fn open(
        disk: &Arc<dyn Disk>,
        data_dir: &std::path::Path,
        config: JournalConfig,
    ) -> Result<(Self, Replay), LogError> {
        let replay = Replay::read(&**disk, data_dir)?;
        replay.perform(&**disk)?;
        Ok((Self::begin(disk, &replay, config)?, replay))
    }

    /// Begins a generation after a replay that was performed. Performs I/O. A crash in it leaves the older ones
    /// to be replayed again.
    ///
    /// # Errors
    /// The disk's; try again.
    pub fn begin(disk: &Arc<dyn Disk>, replay: &Replay, config: JournalConfig) -> Result<Self, LogError> {
        let dir = replay.data_dir.join(JOURNAL_DIR);
        let made = disk.create_dir_all(&dir).and_then(|()| disk.sync_dir(&replay.data_dir));
        made.map_err(LogError::io("create", &*dir))?;
        let [a, b] = Slot::BOTH.map(|slot| open_file(&**disk, replay, slot));
        let (a, b) = (a?, b?);
        let mut states = replay.states.clone();
        // The replay has finished the cuts.
        states.values_mut().for_each(|state| state.cut = None);
        let slot = replay.newest.map_or(Slot::A, Slot::other);
        let grow_bytes = usize::try_from(config.grow_bytes).unwrap_or(0);
        let mut journal = Self {
            disk: Arc::clone(disk),
            data_dir: replay.data_dir.clone(),
            config,
            files: [a.0, b.0],
            file_ends: [a.1, b.1],
            slot: slot.other(),
            generation: replay.number,
            number: replay.number,
            position: ENTRIES_AT,
            checkpointed: (0, 0),
            checkpointed_written: (0, 0),
            states,
            marks: BTreeMap::new(),
            pins: Pins::new(),
            zeros: Bytes::from(vec![0; grow_bytes]),
            failed: None,
        };
        journal.begin_generation()?;
        disk.sync_dir(&dir).map_err(LogError::io("sync", dir))?;
        Ok(journal)
    }

    /// Begins a generation after a failure, when all logs with data in the journal were reopened. Performs I/O.
    ///
    /// Returns whether the journal can be used again: not while a log has to be reopened before
    /// ([`Journal::reopened`]).
    ///
    /// # Errors
    /// The disk's; the journal stays failed, try again.
    pub fn restart(&mut self) -> Result<bool, LogError> {
        if self.failed.is_none() {
            return Ok(true);
        }
        if !self.pins.is_empty() {
            return Ok(false);
        }
        // No handle of before is used again: one whose sync has failed may refuse everything for good. The file in
        // use is what a crash would be replayed from until the other one is durable.
        let old = self.slot;
        self.empty(old.other())?;
        self.begin_generation()?;
        self.empty(old)?;
        self.failed = None;
        Ok(true)
    }

    /// Opens a file anew, without what is in it: after a failed sync not even its length is to be believed.
    fn empty(&mut self, slot: Slot) -> Result<(), LogError> {
        let path = file::path(&self.data_dir, slot);
        let file = self.disk.open(&path, OpenMode::Truncate).map_err(LogError::io("open", path))?;
        let [a, b] = &mut self.files;
        *(if slot == Slot::A { a } else { b }) = file;
        if let Some(file_end) = self.file_ends.get_mut(slot.index()) {
            *file_end = 0;
        }
        Ok(())
    }

    /// Writes and syncs the beginning of a generation in the file that is not in use. No data before it counts.
    fn begin_generation(&mut self) -> Result<(), LogError> {
        self.number += 1;
        let (slot, number) = (self.slot.other(), self.number);
        let place = (number, ENTRIES_AT);
        let head = self.head(number, place);
        let end = head.len() as u64;
        let file = self.file(slot);
        let path = file::path(&self.data_dir, slot);
        let written = file.write_at(&[Bytes::from(head)], 0).and_then(|()| file.sync());
        written.map_err(LogError::io("write", path))?;
        self.enter(slot, number, end);
        self.note_written(slot, end);
        (self.checkpointed, self.checkpointed_written) = (place, place);
        Ok(())
    }

    fn head(&self, number: u64, checkpointed: Place) -> Vec<u8> {
        let mut head = file::header(number);
        state::encode_all(&mut head, number, &self.states, checkpointed);
        head
    }

    fn file(&self, slot: Slot) -> Arc<dyn DiskFile> {
        let [a, b] = &self.files;
        Arc::clone(if slot == Slot::A { a } else { b })
    }

    fn file_end(&self, slot: Slot) -> u64 {
        self.file_ends.get(slot.index()).copied().unwrap_or(0)
    }

    pub(super) fn enter(&mut self, slot: Slot, generation: u64, position: u64) {
        (self.slot, self.generation, self.position) = (slot, generation, position);
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
        commit.entries = self.unwritten_state();
        let state_bytes: u64 = commit.state_bytes();
        let data_bytes = if wants_data { commit.data_bytes() } else { 0 };
        let (file_bytes, bytes) = (self.config.file_bytes, state_bytes + data_bytes);
        let mut data_fits = self.position + bytes <= file_bytes;
        let next =
            (!data_fits && self.other_is_free()).then(|| self.head(self.number + 1, self.checkpointed));
        let head = next.filter(|head| {
            let head_bytes = head.len() as u64;
            data_fits = head_bytes + bytes <= file_bytes;
            // Where a new generation gives no room, only after as much again: each costs the whole state.
            data_fits || self.position + state_bytes > file_bytes.max(2 * head_bytes)
        });
        let (slot, generation, position) = match &head {
            None => (self.slot, self.generation, self.position),
            Some(head) => {
                self.number += 1;
                (self.slot.other(), self.number, head.len() as u64)
            }
        };
        data_fits &= position + bytes <= file_bytes;
        if wants_data && data_fits {
            for planned in &mut commit.rounds {
                planned.journaled = planned.round.journal_data().is_some();
            }
        }
        let place = (generation, position);
        for planned in commit.rounds.iter().filter(|planned| planned.journaled) {
            if let Some(data) = planned.round.journal_data() {
                let pin =
                    || Pin { file: Arc::clone(data.file), oldest: place, newest: place, stopped: false };
                let pin = self.pins.entry((planned.key, data.file.base)).or_insert_with(pin);
                pin.newest = place;
            }
        }
        commit.journal = Some(Target {
            file: self.file(slot),
            slot,
            generation,
            position: if head.is_some() { 0 } else { position },
            head,
            file_end: self.file_end(slot),
            zeros: self.zeros.clone(),
            end: position,
            result: Mutex::new(None),
        });
    }

    /// Whether the file not in use holds nothing that replay would need.
    fn other_is_free(&self) -> bool {
        self.pins.values().all(|pin| pin.oldest.0 >= self.generation)
    }

    /// What rides along with the next write.
    fn unwritten_state(&self) -> Vec<(PartitionKey, Entry)> {
        let marks = self.marks.iter().map(|(key, mark)| (*key, Entry::Mark(*mark)));
        let (generation, position) = self.checkpointed;
        let checkpointed = (self.checkpointed > self.checkpointed_written)
            .then_some((NO_PARTITION, Entry::Checkpointed { generation, position }));
        marks.chain(checkpointed).collect()
    }

    /// Whether there are durable marks, or a checkpoint, that the journal does not say yet. They should be written
    /// within 100 ms, with [`Journal::plan`].
    pub fn has_unwritten_state(&self) -> bool {
        !self.marks.is_empty() || self.checkpointed > self.checkpointed_written
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
            mark: state.and_then(|state| state.mark),
            history: state.map(|state| state.history.clone()).unwrap_or_default(),
        }
    }

    /// Takes what a log knows of itself that was just opened, before anything is committed for it: how far recovery
    /// has found it sound and synced it, and its history without what lies below its start.
    pub fn opened(&mut self, key: PartitionKey, log: &Log) {
        let mark = log.durable_mark();
        let state = self.states.get(&key);
        // At the beginning of a segment there may be no file yet.
        if mark.position > 0 && state.and_then(|state| state.mark) != Some(mark) {
            self.marks.insert(key, mark);
        }
        if let Some(state) = self.states.get_mut(&key).filter(|_| !log.history().is_empty()) {
            state.history.clone_from(log.history());
        }
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

/// Opens one of the files, emptied where nobody knows what is in it. Also returns its length.
fn open_file(disk: &dyn Disk, replay: &Replay, slot: Slot) -> Result<(Arc<dyn DiskFile>, u64), LogError> {
    let path = file::path(&replay.data_dir, slot);
    let Found { bytes, readable } = replay.files.get(slot.index()).copied().unwrap_or_default();
    let (mode, bytes) = if readable { (OpenMode::ReadWrite, bytes) } else { (OpenMode::Truncate, 0) };
    let file = disk.open(&path, mode).map_err(LogError::io("open", path))?;
    Ok((file, bytes))
}
