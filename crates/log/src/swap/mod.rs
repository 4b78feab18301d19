//! Putting one rewritten segment in the place of some neighbouring ones, so that a crash leaves the old or the new.
//!
//! 1. The new segment is written as `.log.cleaned` with both indexes next to it, all synced.
//! 2. It is renamed `.log.swap`, and the directory synced: from here on it is whole.
//! 3. The catalogue names it. That is the moment at which it counts.
//! 4. The old index files are removed, and the directory synced: none of them may be taken for the new segment's.
//! 5. It takes its name, and the directory is synced; the old segments go, its indexes take their names, and the
//!    directory is synced.
//!
//! Opening the log finishes a swap that the catalogue names and erases one that it does not; which of the two it
//! is, length and checksum say. Between 3 and 5 reads find the new segment under either name.
//!
//! Only segments below `settled_end` are replaced: then nothing in the journal can be written over a new one.
//! The caller keeps whatever else removes or replaces files of this log away from before [`Swap::commit`] until
//! after [`Log::apply_swap`]. Who reads an old segment meanwhile keeps it, or is led to the new one: see
//! [`SegmentFile::replacement`].

mod finish;
mod names;
mod writer;

use std::sync::Arc;

use corduroy_types::Offset;
use parking_lot::Mutex;

use crate::catalogue::CatalogueEntry;
use crate::disk::Disk;
use crate::error::LogError;
use crate::index::Indexes;
use crate::log::Log;
use crate::segment::{Sealed, SegmentFile};
use crate::shared::Shared;

pub(crate) use finish::{Leftovers, settle};
pub(crate) use names::Name;
pub(crate) use writer::SegmentWriter;

/// A segment that was written to take the place of others.
#[derive(Debug)]
pub(crate) struct NewSegment {
    pub(crate) entry: CatalogueEntry,
    indexes: Indexes,
}

/// One segment in the place of some neighbours, ready to be swapped in.
#[derive(Debug)]
#[must_use = "nothing is replaced until it is committed"]
pub struct Swap {
    shared: Arc<Shared>,
    old: Vec<Arc<Sealed>>,
    new: Arc<Sealed>,
    entry: CatalogueEntry,
}

impl Swap {
    /// `new` in the place of `old`, which are neighbours and end where it ends.
    pub(crate) fn new(shared: &Arc<Shared>, old: Vec<Arc<Sealed>>, new: NewSegment) -> Self {
        let NewSegment { entry, indexes } = new;
        let sealed = Sealed {
            file: SegmentFile::swapped_in(Arc::clone(&shared.dir), entry.base),
            end: entry.end,
            bytes: entry.bytes,
            max_timestamp: entry.max_timestamp,
            checksum: Some(entry.checksum),
            gaps: entry.gaps,
            lost: None,
            records: entry.records,
            index_checksum: entry.index_checksum,
            indexes: Mutex::new(Some(indexes)),
        };
        Self { shared: Arc::clone(shared), old, new: Arc::new(sealed), entry }
    }

    /// How many segments go.
    pub fn old_segments(&self) -> usize {
        self.old.len()
    }

    /// Bytes of the segments that go.
    pub fn old_bytes(&self) -> u64 {
        self.old.iter().map(|sealed| sealed.bytes).sum()
    }

    /// Bytes of the segment that comes.
    pub fn new_bytes(&self) -> u64 {
        self.entry.bytes
    }

    /// Makes the new segment the one that counts, after [`Log::may_swap`] allowed it. Then
    /// [`Log::apply_swap`], whatever else happens.
    ///
    /// # Errors
    /// The disk's. The old segments count on; if the state's rename was what failed, the next opening finds out, or
    /// the next swap in this log settles it first. So the swap can be given up, and the work done again later.
    pub fn commit(&self, disk: &dyn Disk) -> Result<(), LogError> {
        let (dir, state) = (&self.shared.dir, &self.shared.state);
        let write = || LogError::io("write", state.path());
        // If either of two catalogues may be on disk, neither may name a file that is about to be overwritten.
        state.settle(disk).map_err(write())?;
        let (from, to) = (Name::Cleaned.path(dir, self.entry.base), Name::Swap.path(dir, self.entry.base));
        disk.rename(&from, &to).map_err(LogError::io("rename", from))?;
        disk.sync_dir(dir).map_err(LogError::io("sync", &**dir))?;
        state.enter(disk, self.entry).map_err(write())
    }

    /// Whether it was made from this very log, and not from one that was opened in its place.
    pub fn is_of(&self, log: &Log) -> bool {
        Arc::ptr_eq(&self.shared, &log.shared)
    }

    /// Gives the new segment its name and removes the old ones. Opening the log does the same.
    ///
    /// # Errors
    /// The disk's. Reads go on. Repeat it, while it [is of](Swap::is_of) the log; the log must not be compacted again
    /// before this has succeeded.
    pub fn finish(&self, disk: &dyn Disk) -> Result<(), LogError> {
        let others: Vec<Offset> = self.old.iter().skip(1).map(|sealed| sealed.base()).collect();
        finish::finish(disk, &self.shared.dir, self.entry.base, &others)?;
        self.new.file.take_name();
        *self.new.indexes.lock() = None;
        Ok(())
    }

    /// Removes what was written for a swap that was not committed.
    pub fn discard(self, disk: &dyn Disk) {
        discard(disk, &self.shared.dir, self.entry.base);
    }
}

impl Log {
    /// Whether a swap still fits: the log has not stopped, and has all those segments, settled on disk.
    pub fn may_swap(&self, swap: &Swap) -> bool {
        let settled = swap.entry.end <= self.settled_end;
        self.failure.is_none() && settled && self.place_of(swap).is_some()
    }

    fn place_of(&self, swap: &Swap) -> Option<std::ops::Range<usize>> {
        let at = self.sealed.partition_point(|sealed| sealed.base() < swap.entry.base);
        let place = at..at + swap.old.len();
        let present = self.sealed.get(place.clone())?;
        present.iter().zip(&swap.old).all(|(a, b)| Arc::ptr_eq(a, b)).then_some(place)
    }

    /// Reads from the new segment from now on. The swap has been committed.
    ///
    /// Returns whether its segments were still there; where they were not, something has removed them in spite of
    /// the rule above, and the log should be reopened.
    pub fn apply_swap(&mut self, swap: &Swap) -> bool {
        let Some(place) = self.place_of(swap) else { return false };
        Arc::make_mut(&mut self.sealed).splice(place, [Arc::clone(&swap.new)]);
        for old in &swap.old {
            old.file.replace(&swap.new);
        }
        // What is in memory of them is what they were.
        self.tail.forget_below(swap.entry.end, self.cursors.written_end());
        self.shared.forget_damages(swap.entry.base, swap.entry.end);
        true
    }
}

/// Removes the files of an attempt. What cannot be removed is when the log is next opened.
fn discard(disk: &dyn Disk, dir: &std::path::Path, base: Offset) {
    for name in [Name::Cleaned, Name::CleanedIndex, Name::CleanedTimeIndex] {
        let _left_for_the_next_opening = disk.remove_file(&name.path(dir, base));
    }
}
