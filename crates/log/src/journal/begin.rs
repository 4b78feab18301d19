//! Beginning generations outside commits: at the start, and after the journal has failed. Performs I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use super::checkpoint::Pins;
use super::file::{self, ENTRIES_AT, Id, JOURNAL_DIR, Slot};
use super::plan::Journal;
use super::replay::Replay;
use super::state::Carried;
use super::{JournalConfig, PartitionKey};
use crate::disk::{Disk, DiskFile, OpenMode, replace_file};
use crate::error::LogError;

impl Journal {
    /// Reads the journal of a data directory and replays it into the segments; what is returned with it says
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
        Self::begin_without(disk, replay, &BTreeSet::new(), config)
    }

    /// As [`Journal::begin`], where the tasks of some logs failed: their data, and cuts that were begun, are kept. Those
    /// logs must not be opened before [`Replay::perform_of`] has succeeded for them, with what [`Replay::read`] finds
    /// then; after that give them to [`Journal::reopened`] and end their cuts ([`EndCut`](super::JournalRequest::EndCut)).
    ///
    /// # Errors
    /// The disk's; try again.
    pub fn begin_without(
        disk: &Arc<dyn Disk>,
        replay: &Replay,
        unfinished: &BTreeSet<PartitionKey>,
        config: JournalConfig,
    ) -> Result<Self, LogError> {
        let dir = replay.data_dir.join(JOURNAL_DIR);
        // The names of both files, too: one is about to be emptied.
        let synced = || disk.sync_dir(&replay.data_dir).and_then(|()| disk.sync_dir(&dir));
        let made = disk.create_dir_all(&dir).and_then(|()| synced());
        made.map_err(LogError::io("create", &*dir))?;
        let slot = replay.newest.as_ref().map_or(Slot::A, |newest| newest.slot.other());
        let mut states = replay.states.clone();
        // The replay has finished the other cuts.
        let finished = states.iter_mut().filter(|(key, _)| !unfinished.contains(key));
        finished.for_each(|(_, state)| state.cut = None);
        if unfinished.is_empty() {
            replay.give_up_older(&**disk)?;
        }
        // The one that is filled again may hold what the others need until its new contents are durable.
        let refilled = |of| of == slot && unfinished.is_empty();
        let [a, b] = Slot::BOTH.map(|of| open_file(&**disk, replay, of, refilled(of)));
        let (a, b) = (a?, b?);
        let grow_bytes = usize::try_from(config.grow_bytes).unwrap_or(0);
        let mut journal = Self {
            disk: Arc::clone(disk),
            data_dir: replay.data_dir.clone(),
            config,
            files: [a.0, b.0],
            file_ends: [a.1, b.1],
            slot: slot.other(),
            generation: replay.number,
            tag: 0,
            number: replay.number,
            position: ENTRIES_AT,
            checkpointed: (0, 0),
            checkpointed_written: (0, 0),
            states,
            marks: BTreeMap::new(),
            pins: Pins::new(),
            carried: Carried::new(),
            zeros: Bytes::from(vec![0; grow_bytes]),
            failed: None,
        };
        journal.carry_unfinished(replay, unfinished);
        if unfinished.is_empty() {
            journal.begin_generation()?;
            journal.take_room();
        } else {
            journal.replace_other()?;
        }
        disk.sync_dir(&dir).map_err(LogError::io("sync", dir))?;
        Ok(journal)
    }

    /// Begins a generation after a failure. Performs I/O. What was written of logs that are not reopened yet
    /// ([`Journal::reopened`]) is carried over into it.
    ///
    /// # Errors
    /// The disk's; the journal stays failed, try again.
    pub fn restart(&mut self) -> Result<(), LogError> {
        if self.failed.is_none() {
            return Ok(());
        }
        // An earlier try may have put a file in place, and not have made its name durable.
        let dir = self.data_dir.join(JOURNAL_DIR);
        self.disk.sync_dir(&dir).map_err(LogError::io("sync", dir))?;
        self.carry_all()?;
        // No handle of before is used again: one whose sync has failed may refuse everything for good. The file in
        // use is what a crash would be replayed from until the other one is durable.
        let old = self.slot;
        // Nor is what the other one holds given up before: the one in use may say that it is needed, and cannot be written any
        // more. Only where the disk has no other room, and all that it holds is in the segments.
        match self.replace_other() {
            Err(error) if self.carried.is_empty() && error.is_disk_full() => {
                self.empty(old.other())?;
                self.begin_generation()?;
            }
            replaced => replaced?,
        }
        self.empty(old)?;
        self.failed = None;
        Ok(())
    }

    /// Opens a file again, without what is in it: after a failed sync not even its length is to be believed.
    fn empty(&mut self, slot: Slot) -> Result<(), LogError> {
        let path = file::path(&self.data_dir, slot);
        let file = self.disk.open(&path, OpenMode::Truncate).map_err(LogError::io("open", path))?;
        self.set_file(slot, file);
        Ok(())
    }

    /// Writes and syncs the beginning of a generation in the file that is not in use. No data before it counts.
    fn begin_generation(&mut self) -> Result<(), LogError> {
        let id = self.next_id();
        let (slot, place) = (self.slot.other(), (id.number, ENTRIES_AT));
        let head = self.beginning(place).encode(id);
        let end = head.len() as u64;
        let file = self.file(slot);
        let path = file::path(&self.data_dir, slot);
        let written = file.write_at(&[Bytes::from(head)], 0).and_then(|()| file.sync());
        written.map_err(LogError::io("write", path))?;
        self.begun(id, end);
        Ok(())
    }

    /// As [`Self::begin_generation`], in a new file that takes the place of the one that is not in use.
    fn replace_other(&mut self) -> Result<(), LogError> {
        let id = self.next_id();
        let slot = self.slot.other();
        let head = self.beginning((id.number, ENTRIES_AT)).encode(id);
        let end = head.len() as u64;
        let path = file::path(&self.data_dir, slot);
        replace_file(&*self.disk, &path, head.into()).map_err(LogError::io("write", &*path))?;
        let file = self.disk.open(&path, OpenMode::ReadWrite).map_err(LogError::io("open", path))?;
        self.set_file(slot, file);
        self.begun(id, end);
        Ok(())
    }

    /// A generation was begun outside commits, in the file that was not in use.
    fn begun(&mut self, id: Id, end: u64) {
        let (slot, place) = (self.slot.other(), (id.number, ENTRIES_AT));
        self.enter(slot, id, end);
        self.note_written(slot, end);
        let keys: Vec<_> = self.carried.keys().copied().collect();
        self.carried_to(&keys, place);
        (self.checkpointed, self.checkpointed_written) = (place, place);
    }

    pub(super) fn set_file(&mut self, slot: Slot, file: Arc<dyn DiskFile>) {
        let [a, b] = &mut self.files;
        *(if slot == Slot::A { a } else { b }) = file;
        if let Some(file_end) = self.file_ends.get_mut(slot.index()) {
            *file_end = 0;
        }
    }
}

/// Opens one of the files; one that is to be filled again is emptied before, so that nothing of an older filling, which
/// may have been torn, is ever taken for a part of a newer one. Also returns its length.
fn open_file(
    disk: &dyn Disk,
    replay: &Replay,
    slot: Slot,
    refilled: bool,
) -> Result<(Arc<dyn DiskFile>, u64), LogError> {
    let path = file::path(&replay.data_dir, slot);
    let bytes = replay.files.get(slot.index()).copied().flatten().filter(|_| !refilled);
    let mode = if bytes.is_some() { OpenMode::ReadWrite } else { OpenMode::Truncate };
    let file = disk.open(&path, mode).map_err(LogError::io("open", &*path))?;
    if refilled {
        file.sync().map_err(LogError::io("sync", path))?;
    }
    Ok((file, bytes.unwrap_or(0)))
}
