//! Writing the state: one change at a time, and none of them undoing another.

use std::io;
use std::path::{Path, PathBuf};

use corduroy_types::Offset;
use parking_lot::Mutex;

use super::{Decoded, PartitionState, STATE_COPY, STATE_FILE, Stored};
use crate::catalogue::CatalogueEntry;
use crate::disk::{Disk, write_next_to};
use crate::journal::PartitionKey;

/// Writes both copies, one change at a time and none of them undoing another: the log start never goes back, and
/// a change of the catalogue leaves the log start alone.
#[derive(Debug)]
pub(crate) struct StateWriter {
    dir: PathBuf,
    path: PathBuf,
    partition: Option<PartitionKey>,
    written: Mutex<Written>,
}

#[derive(Debug)]
struct Written {
    /// What is durable; `None` while there is no file.
    state: Option<PartitionState>,
    /// The generation that both copies have, or are beyond by one at most.
    generation: u64,
    /// After a failed rename either of two states may be on disk, and the next change is written whatever it is.
    doubtful: bool,
}

impl StateWriter {
    pub(crate) fn new(dir: &Path, stored: Option<Stored>) -> Self {
        let written = match stored {
            // The other copy is one behind, or nothing that counts.
            Some(Stored { state, generation, doubtful, .. }) => Written {
                state: Some(state),
                generation: if doubtful { generation.saturating_sub(1) } else { generation },
                doubtful,
            },
            None => Written { state: None, generation: 0, doubtful: false },
        };
        let (path, partition) = (dir.join(STATE_FILE), PartitionKey::of_dir(dir));
        Self { dir: dir.to_path_buf(), path, partition, written: Mutex::new(written) }
    }

    /// Makes a log start of at least this one durable, and forgets the segments below it.
    pub(crate) fn raise_log_start(&self, disk: &dyn Disk, log_start: Offset) -> io::Result<()> {
        self.change(disk, |state| state.log_start = state.log_start.max(log_start))
    }

    /// Enters a sealed segment, in place of all those that it covers. This is the moment at which a segment
    /// counts as sealed, or a rewritten one as the one that counts.
    pub(crate) fn enter(&self, disk: &dyn Disk, entry: CatalogueEntry) -> io::Result<()> {
        self.change(disk, |state| state.catalogue.put(entry))
    }

    /// Forgets segments that reach beyond `end`, before their files are cut there.
    pub(crate) fn cut(&self, disk: &dyn Disk, end: Offset) -> io::Result<()> {
        let mut written = self.written.lock();
        if written.state.is_none() && !written.doubtful {
            return Ok(()); // the file must not come before the directory is durable
        }
        self.change_locked(&mut written, disk, |state| {
            state.catalogue.cut(end);
            // What is appended there next is neither compacted nor in doubt.
            state.compacted_end = state.compacted_end.min(end);
            state.doubtful_end = state.doubtful_end.min(end);
        })
    }

    /// Makes it durable that compaction has been through everything below `end`.
    pub(crate) fn raise_compacted_end(&self, disk: &dyn Disk, end: Offset) -> io::Result<()> {
        self.change(disk, |state| state.compacted_end = state.compacted_end.max(end))
    }

    /// Makes sure that what is on disk is what is known here, after a change whose end was not seen.
    pub(crate) fn settle(&self, disk: &dyn Disk) -> io::Result<()> {
        let mut written = self.written.lock();
        if written.doubtful { self.change_locked(&mut written, disk, |_| ()) } else { Ok(()) }
    }

    /// Any other change. The files are written only if it differs, and `change` must not lower the log start.
    pub(crate) fn change(&self, disk: &dyn Disk, change: impl FnOnce(&mut PartitionState)) -> io::Result<()> {
        let mut written = self.written.lock();
        self.change_locked(&mut written, disk, change)
    }

    fn change_locked(
        &self,
        written: &mut Written,
        disk: &dyn Disk,
        change: impl FnOnce(&mut PartitionState),
    ) -> io::Result<()> {
        let mut state = written.state.clone().unwrap_or_default();
        change(&mut state);
        state.catalogue.drop_below(state.log_start);
        if !written.doubtful && written.state.as_ref() == Some(&state) {
            return Ok(());
        }
        // Only after both copies have it: so they are never further apart than one.
        let generation = written.generation.saturating_add(1);
        let decoded = Decoded { state, generation, partition: self.partition };
        let bytes = decoded.encode();
        let paths = [self.path.clone(), self.dir.join(STATE_COPY)];
        let mut temporaries = Vec::with_capacity(paths.len());
        for path in paths {
            temporaries.push((write_next_to(disk, &path, bytes.clone())?, path));
        }
        written.doubtful = true;
        for (temporary, path) in temporaries {
            disk.rename(&temporary, &path)?;
        }
        disk.sync_dir(&self.dir)?;
        *written = Written { state: Some(decoded.state), generation, doubtful: false };
        Ok(())
    }

    /// Whether a segment that begins at `base` is entered as sealed.
    pub(crate) fn is_sealed(&self, base: Offset) -> bool {
        self.entry(base).is_some()
    }

    /// The entry of the segment that begins at `base`.
    pub(crate) fn entry(&self, base: Offset) -> Option<CatalogueEntry> {
        self.written.lock().state.as_ref().and_then(|state| state.catalogue.get(base).copied())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}
